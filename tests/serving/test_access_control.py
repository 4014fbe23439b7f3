import pytest

from Classes.common.errors import ConfigurationError
from Classes.serving import access_control
from Classes.serving.api_errors import ApiError
from tests.support import graphs

KEY = "0123456789abcdef"


def load(folder, *settings, environment=None):
    return access_control.load_keys(graphs.configuration(folder, *settings), environment or {})


def key_file(folder, content=KEY + "\nsecond line\n", mode=0o600):
    path = folder / "key"
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_loopback_addresses_need_no_key(tmp_path, address):
    keys = load(tmp_path, f"IP={address}")

    assert not keys
    assert keys.identify({}) == ""


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "192.168.1.7", "::", "fe80::1", "host.example.org", "127.lab.example.org"]
)
def test_other_addresses_need_a_key(tmp_path, address):
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, f"IP={address}")

    assert error.value.code == "no_api_key"


def test_allow_without_api_key(tmp_path):
    assert not load(tmp_path, "IP=0.0.0.0", "AllowWithoutApiKey=true")


def test_a_configured_key_also_applies_to_loopback_addresses(tmp_path):
    assert load(tmp_path, environment={"ALL_API_KEY": KEY}).identify({"X-API-Key": KEY}) == ""


def test_the_key_is_the_first_line_of_the_file(tmp_path):
    settings = ("IP=0.0.0.0", f"ApiKeyFile={key_file(tmp_path)}")

    assert load(tmp_path, *settings).identify({"X-API-Key": KEY}) == ""
    from_environment = load(tmp_path, *settings, environment={"ALL_API_KEY": "f" * 20})
    assert from_environment.identify({"X-API-Key": "f" * 20}) == ""
    assert rejected(from_environment, KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
@pytest.mark.parametrize("setting", ["ApiKeyFile", "ApiKeysFile"])
def test_a_key_file_readable_by_others_is_rejected(tmp_path, setting, mode):
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, f"{setting}={key_file(tmp_path, mode=mode)}")

    assert error.value.code == "secret_is_public"


@pytest.mark.parametrize("setting", ["ApiKeyFile", "ApiKeysFile"])
def test_a_missing_key_file(tmp_path, setting):
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, f"{setting}=nowhere")

    assert error.value.code == "secret_unreadable"


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 15, "with a space in it", "ünïcödé-ünïcödé-ü", "new\nline-new-line-xx"]
)
def test_invalid_keys(tmp_path, key):
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, environment={"ALL_API_KEY": key})

    assert error.value.code == "invalid_api_key"


def rejected(keys, key):
    with pytest.raises(ApiError) as error:
        keys.identify({"X-API-Key": key})
    return error.value.code == "unauthorized"


def test_keys_with_names(tmp_path):
    content = f"# wards\nward-3  {'a' * 20}\n\nlab@night\t{'b' * 20}\n"
    path = key_file(tmp_path, content)

    keys = load(tmp_path, "IP=0.0.0.0", f"ApiKeysFile={path}")

    assert keys.identify({"X-API-Key": "a" * 20}) == "ward-3"
    assert keys.identify({"Authorization": f"Bearer {'b' * 20}"}) == "lab@night"
    assert rejected(keys, "a" * 19)
    assert rejected(keys, "ward-3")
    assert rejected(keys, "")


def test_a_key_without_a_name_beside_keys_with_names(tmp_path):
    path = key_file(tmp_path, f"ward-3 {'a' * 20}\n")

    keys = load(tmp_path, f"ApiKeysFile={path}", environment={"ALL_API_KEY": KEY})

    assert keys.identify({"X-API-Key": KEY}) == ""
    assert keys.identify({"X-API-Key": "a" * 20}) == "ward-3"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# only a comment\n",
        f"{'a' * 20}\n",
        "ward-3 short\n",
        f"ward 3 {'a' * 20}\n",
        f"-ward {'a' * 20}\n",
        f"{'w' * 65} {'a' * 20}\n",
        f"ward-3 {'a' * 20}\nward-3 {'b' * 20}\n",
        f"ward-3 {'a' * 20}\nward-4 {'a' * 20}\n",
    ],
)
def test_unusable_files_of_named_keys(tmp_path, content):
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, f"ApiKeysFile={key_file(tmp_path, content)}")

    assert error.value.code == "invalid_api_key"


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def wait_after(rate, client, images=1):
    try:
        rate.consume(client, images)
    except ApiError as error:
        assert error.code == "too_many_requests"
        return error.retry_after
    return None


def test_the_rate_limit_applies_per_client():
    clock = Clock()
    rate = access_control.TokenBucketLimiter(6, clock)

    assert [wait_after(rate, "a") for _ in range(7)] == [None] * 6 + [10]
    assert wait_after(rate, "b") is None
    clock.seconds = 9.5
    assert wait_after(rate, "a") == 1
    clock.seconds = 10
    assert wait_after(rate, "a") is None
    assert wait_after(rate, "a") == 10


def test_a_bucket_never_exceeds_its_size():
    clock = Clock()
    rate = access_control.TokenBucketLimiter(6, clock)
    wait_after(rate, "a")
    clock.seconds = 3600

    assert [wait_after(rate, "a") for _ in range(7)].count(None) == 6


def test_a_batch_counts_each_image():
    rate = access_control.TokenBucketLimiter(6, Clock())

    assert wait_after(rate, "a", 4) is None
    assert wait_after(rate, "a", 4) == 20
    assert wait_after(rate, "a", 2) is None


def test_a_request_larger_than_the_bucket_empties_it():
    rate = access_control.TokenBucketLimiter(6, Clock())

    assert wait_after(rate, "a", 100) is None
    assert wait_after(rate, "a") == 10


def test_zero_means_no_limit():
    assert not any(wait_after(access_control.TokenBucketLimiter(0), "a") for _ in range(1000))


def test_a_flood_of_addresses_does_not_reset_known_clients(monkeypatch):
    monkeypatch.setattr(access_control, "MAX_CLIENTS", 3)
    clock = Clock()
    rate = access_control.TokenBucketLimiter(2, clock)
    assert [wait_after(rate, "192.0.2.1") for _ in range(3)] == [None, None, 30]

    flood = [wait_after(rate, f"198.51.100.{number}") for number in range(200)]

    # Two clients have their own buckets, and all others share one with two images.
    assert flood.count(None) == 4
    assert wait_after(rate, "192.0.2.1") == 30
    clock.seconds = 60
    assert wait_after(rate, "203.0.113.9") is None
    assert wait_after(rate, "203.0.113.10") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:0DB8:0:0:1:2:3:4", True),
        ("2001:db8:0:0::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1", "fe80::2", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_which_addresses_count_as_one_client(one, other, same):
    rate = access_control.TokenBucketLimiter(1, Clock())
    assert wait_after(rate, one) is None

    assert (wait_after(rate, other) is not None) == same


def test_images_already_counted_are_not_counted_twice():
    rate = access_control.TokenBucketLimiter(6, Clock())
    rate.consume("192.0.2.1")

    assert wait_after_batch(rate, 7) is None
    assert wait_after(rate, "192.0.2.1") == 10


def test_a_rejected_batch_counts_nothing():
    rate = access_control.TokenBucketLimiter(6, Clock())
    rate.consume("192.0.2.1", 4)
    rate.consume("192.0.2.1")

    assert wait_after_batch(rate, 3) == 10
    rate.consume("192.0.2.1", 2)


def wait_after_batch(rate, images):
    try:
        rate.consume("192.0.2.1", images, already_counted=1)
    except ApiError as error:
        return error.retry_after
    return None
