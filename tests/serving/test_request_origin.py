import pytest

from Classes import Helpers
from Classes.common.errors import ConfigurationError
from Classes.serving import request_origin
from tests.support import graphs, services

ADDRESSES = [
    ("POST", "/Inference"),
    ("POST", "/v1/classify"),
    ("POST", "/v1/batch"),
    ("GET", "/v1/model"),
    ("GET", "/metrics"),
    ("GET", "/health/ready"),
    ("GET", "/openapi.json"),
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/app.js"),
    ("OPTIONS", "/v1/classify"),
    ("GET", "/nope"),
]
OWN = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Return a function that sends a request and returns its error code, or "ok"."""
    client = services.client(tmp_path_factory.mktemp("service"), 'AllowedOrigins=["https://lab.example.org"]')

    def send(headers, method="GET", path="/v1/model", data=None):
        headers = {"Host": "127.0.0.1:8080", **headers}
        with client.open(path, method=method, headers=headers, data=data) as response:
            return "ok" if response.status_code == 200 else response.get_json()["code"]

    yield send
    client.service.close()


def outcome(folder, *settings, environ=None, **headers):
    client = services.client(folder, *settings)
    try:
        response = client.get("/v1/model", headers=headers, environ_overrides=environ)
        return "ok" if response.status_code == 200 else response.get_json()["code"]
    finally:
        client.service.close()


# Host header


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_a_foreign_host_is_rejected_at_every_endpoint(ask, method, path):
    assert ask({"Host": "evil.example.net"}, method, path, services.image(64, 20)) == "host_not_allowed"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8080",
        "localhost.",
        "localhost.:1",
        "127.0.0.1",
        "127.0.0.1.:9000",
        "127.8.9.10",
        "[::1]",
        "[::1]:8080",
        "[0:0:0:0:0:0:0:1]:8080",
        "[::ffff:127.0.0.1]",
        "localhost:",
    ],
)
def test_host_names_of_this_machine(ask, host):
    assert ask({"Host": host}) == "ok"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example.net:8080",
        "localhost.evil.example.net",
        "127.0.0.1.evil.example.net",
        "127.lab.example.org",
        "evil.example.net#localhost",
        "user@localhost",
        "localhost, evil.example.net",
        "localhost:80:80",
        "localhost:port",
        "localhost..",
        "192.168.1.7",
        "0.0.0.0",
        "[::2]",
        "[::1",
        "::1",
        "[fe80::1%25eth0]",
    ],
)
def test_host_names_of_other_machines(ask, host):
    assert ask({"Host": host}) == "host_not_allowed"


@pytest.mark.parametrize(
    ("settings", "host", "expected"),
    [
        (["IP=192.168.1.7", "AllowWithoutApiKey=true"], "192.168.1.7:8080", "ok"),
        (["IP=2001:db8::7", "AllowWithoutApiKey=true"], "[2001:DB8:0::7]:8080", "ok"),
        (["IP=192.168.1.7", "AllowWithoutApiKey=true"], "evil.example.net", "host_not_allowed"),
        # A server on all interfaces accepts every IP address; DNS rebinding cannot use one.
        (["IP=0.0.0.0", "AllowWithoutApiKey=true"], "192.168.1.8:8080", "ok"),
        (["IP=::", "AllowWithoutApiKey=true"], "[2001:db8::8]", "ok"),
        (["IP=0.0.0.0", "AllowWithoutApiKey=true"], "evil.example.net", "host_not_allowed"),
        (["IP=lab-server", "AllowWithoutApiKey=true"], "lab-server:8080", "ok"),
        (["IP=lab-server", "AllowWithoutApiKey=true"], "192.168.1.8", "ok"),
        (["Domain=[::1"], "evil.example.net", "host_not_allowed"),
        (["Domain=Lab.example.org"], "lab.example.org.", "ok"),
        (["Domain=https://lab.example.org:8443/"], "lab.example.org:8443", "ok"),
        (["Domain=lab.example.org"], "www.lab.example.org", "host_not_allowed"),
        (['AllowedHosts=["one.example.org", "münchen.example.org"]'], "ONE.example.org:1", "ok"),
        (['AllowedHosts=["one.example.org", "münchen.example.org"]'], "xn--mnchen-3ya.example.org", "ok"),
        (['AllowedHosts=["[2001:db8::9]"]'], "[2001:db8::9]:80", "ok"),
    ],
)
def test_configured_host_names(tmp_path, settings, host, expected):
    assert outcome(tmp_path, *settings, Host=host) == expected


def test_the_host_header_may_be_missing(tmp_path):
    client = services.client(tmp_path)
    found = []

    def without_host(environ, start_response):
        del environ["HTTP_HOST"]
        return carry(environ, start_response)

    carry, client.application.wsgi_app = client.application.wsgi_app, without_host
    found = client.get("/v1/model").status_code
    client.service.close()

    assert found == 200


@pytest.mark.parametrize("name", ["*", "https://lab.example.org", "lab.example.org:80", "a b", ""])
def test_invalid_allowed_hosts(name):
    with pytest.raises(ConfigurationError):
        Helpers.load_config(None, [f'AllowedHosts=["{name}"]'])


# Origin of web pages


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example.net"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}],
)
def test_a_foreign_origin_is_rejected_at_every_endpoint(ask, method, path, headers):
    assert ask(headers, method, path, services.image(64, 20)) == "origin_not_allowed"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://127.0.0.1.evil.example.net:8080"},
        {"Origin": "http://evil.example.net/127.0.0.1:8080"},
        {"Origin": "file://127.0.0.1:8080"},
        {"Origin": f"{OWN} http://evil.example.net"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "Cross-Site"},
        {"Sec-Fetch-Site": "nonsense"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example.net"},
    ],
)
def test_foreign_origins(ask, headers):
    assert ask(headers) == "origin_not_allowed"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": OWN},
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://LOCALHOST", "Host": "localhost:80"},
        {"Origin": "http://[0:0::1]:8080", "Host": "[::1]:8080"},
        {"Origin": "https://localhost", "Host": "localhost"},
        {"Origin": "https://lab.example.org", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_allowed_origins(ask, headers):
    assert ask(headers) == "ok"


@pytest.mark.parametrize(("path", "expected"), [("/", "ok"), ("/docs", "ok"), ("/v1/model", "origin_not_allowed")])
def test_other_sites_may_only_link_to_pages(ask, path, expected):
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    assert ask(followed, path=path) == expected
    assert ask({**followed, "Sec-Fetch-Dest": "iframe"}, path=path) == "origin_not_allowed"


def test_images_from_a_foreign_origin_are_not_stored(tmp_path):
    class Captured:
        kept = 0

        def add(self, *_):
            self.kept += 1

        def close(self):
            pass

    captured = Captured()
    client = services.client(tmp_path, upload_store=captured)
    headers = {"Host": "127.0.0.1:8080", "Origin": "http://evil.example.net", "Content-Type": "text/plain"}
    client.post("/v1/classify", data=services.image(64, 20), headers=headers)
    client.service.close()

    assert captured.kept == 0


# Proxies


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ("", "192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1", "198.51.100.1", "198.51.100.1"),
        ("192.0.2.1", "192.0.2.2", "198.51.100.1", "192.0.2.2"),
        # The client may have written everything before the proxy's entry.
        ("192.0.2.1", "192.0.2.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("192.0.2.0/24, 10.0.0.0/8", "192.0.2.77", "203.0.113.9, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("10.0.0.1/8", "10.9.9.9", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("192.0.2.1", "::ffff:192.0.2.1", "198.51.100.1", "198.51.100.1"),
        ("", "::ffff:192.0.2.1", "", "192.0.2.1"),
        ("2001:db8::/32", "2001:db8::5", '"[2001:dead::7]:4711"', "2001:dead::7"),
        ("192.0.2.1", "192.0.2.1", "198.51.100.1:4711", "198.51.100.1"),
        ("192.0.2.1", "192.0.2.1", "unknown", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1", "", "192.0.2.1"),
    ],
)
def test_the_client_behind_proxies(proxies, peer, forwarded, client):
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}

    request_origin.TrustedProxies(proxies).apply_forwarded_headers(environ)

    assert environ["REMOTE_ADDR"] == client


@pytest.mark.parametrize(("peer", "expected"), [("192.0.2.1", "ok"), ("192.0.2.2", "host_not_allowed")])
def test_behind_a_proxy_the_forwarded_host_is_checked(tmp_path, peer, expected):
    settings = ["TrustedProxy=192.0.2.1", "Domain=lab.example.org"]
    headers = {"Host": "all-servers", "X-Forwarded-Host": "lab.example.org", "X-Forwarded-Proto": "https"}

    assert outcome(tmp_path, *settings, environ={"REMOTE_ADDR": peer}, **headers) == expected


def test_a_foreign_host_is_rejected_behind_a_proxy(tmp_path):
    settings = ["TrustedProxy=192.0.2.1", "Domain=lab.example.org"]
    headers = {"Host": "lab.example.org", "X-Forwarded-Host": "evil.example.net"}

    assert outcome(tmp_path, *settings, environ={"REMOTE_ADDR": "192.0.2.1"}, **headers) == "host_not_allowed"


def test_the_page_works_behind_a_proxy(tmp_path):
    settings = ["TrustedProxy=192.0.2.1", "Domain=lab.example.org"]
    headers = {"Host": "lab.example.org", "Origin": "https://lab.example.org", "Sec-Fetch-Site": "same-origin"}

    assert outcome(tmp_path, *settings, environ={"REMOTE_ADDR": "192.0.2.1"}, **headers) == "ok"


@pytest.mark.parametrize("text", ["*", "proxy.example.org", "10.0.0.0/8/8", "10.0.0.1 10.0.0.2"])
def test_invalid_trusted_proxies(text):
    with pytest.raises(ConfigurationError):
        Helpers.load_config(None, [f"TrustedProxy={text}"])


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.0/33", "10.0.0.256", "1:2"])
def test_trusted_proxies_that_are_no_network_or_every_network(tmp_path, text):
    with pytest.raises(ConfigurationError) as error:
        request_origin.TrustedProxies(graphs.configuration(tmp_path, f"TrustedProxy={text}")["TrustedProxy"])

    assert error.value.code == "trusted_proxy"
