import pytest

from Classes.common.errors import ConfigurationError
from Classes.serving import access_control
from Classes.serving.api_errors import ApiError
from tests.support import graphs

KEY = "0123456789abcdef"


def key_file(folder, content=KEY + "\nsecond line\n", mode=0o600):
    path = folder / "key"
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_loopback_addresses_need_no_key(tmp_path, address):
    assert access_control.load_key(graphs.configuration(tmp_path, f"IP={address}"), {}) is None


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "192.168.1.7", "::", "fe80::1", "host.example.org", "127.lab.example.org"]
)
def test_other_addresses_need_a_key(tmp_path, address):
    with pytest.raises(ConfigurationError) as error:
        access_control.load_key(graphs.configuration(tmp_path, f"IP={address}"), {})

    assert error.value.code == "no_api_key"


def test_allow_without_api_key(tmp_path):
    assert access_control.load_key(graphs.configuration(tmp_path, "IP=0.0.0.0", "AllowWithoutApiKey=true"), {}) is None


def test_a_configured_key_also_applies_to_loopback_addresses(tmp_path):
    assert access_control.load_key(graphs.configuration(tmp_path), {"ALL_API_KEY": KEY}) == KEY.encode()


def test_the_key_is_the_first_line_of_the_file(tmp_path):
    configuration = graphs.configuration(tmp_path, "IP=0.0.0.0", f"ApiKeyFile={key_file(tmp_path)}")

    assert access_control.load_key(configuration, {}) == KEY.encode()
    assert access_control.load_key(configuration, {"ALL_API_KEY": "f" * 20}) == b"f" * 20


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_file_readable_by_others_is_rejected(tmp_path, mode):
    configuration = graphs.configuration(tmp_path, f"ApiKeyFile={key_file(tmp_path, mode=mode)}")

    with pytest.raises(ConfigurationError) as error:
        access_control.load_key(configuration, {})

    assert error.value.code == "secret_is_public"


def test_a_missing_key_file(tmp_path):
    with pytest.raises(ConfigurationError) as error:
        access_control.load_key(graphs.configuration(tmp_path, "ApiKeyFile=nowhere"), {})

    assert error.value.code == "secret_unreadable"


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 15, "with a space in it", "ünïcödé-ünïcödé-ü", "new\nline-new-line-xx"]
)
def test_invalid_keys(tmp_path, key):
    with pytest.raises(ConfigurationError) as error:
        access_control.load_key(graphs.configuration(tmp_path), {"ALL_API_KEY": key})

    assert error.value.code == "invalid_api_key"


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def wait_after(rate, caller, images=1):
    try:
        rate.consume(caller, images)
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
