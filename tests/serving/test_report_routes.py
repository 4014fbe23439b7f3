import base64
import gzip

import pytest

from Classes.common import html
from Classes.serving import access_control
from tests.support import services

KEY = b"0123456789abcdef0123"


@pytest.fixture
def client(tmp_path):
    """A server with a report and a key."""
    found = services.client(tmp_path, keys=access_control.ApiKeys({"": KEY}))
    folder = found.service.configuration.path("ReportDir")
    folder.mkdir(parents=True)
    for name in ("Report.html", "Data.html", "Data.json", "FieldValidation.html"):
        (folder / name).write_text(f"<p>{name}")
    yield found
    found.service.close()


def basic(key):
    return {"Authorization": "Basic " + base64.b64encode(b"anyone:" + key).decode()}


@pytest.mark.parametrize(
    ("path", "name"),
    [("/report", "Report.html"), ("/Data.html", "Data.html"), ("/FieldValidation.html", "FieldValidation.html")],
)
@pytest.mark.parametrize("headers", [basic(KEY), {"X-API-Key": KEY.decode()}])
def test_the_report_is_shown_to_whoever_has_the_key(client, path, name, headers):
    response = client.get(path, headers=headers)

    assert response.status_code == 200
    assert response.get_data(as_text=True) == f"<p>{name}"
    assert response.mimetype == "text/html"
    assert response.headers["Cache-Control"] == "no-store"
    policy = response.headers["Content-Security-Policy"]
    assert f"script-src {html.script_hash(html.page_script())};" in policy


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip, br", "gzip"), ("identity", None), ("gzip;q=0", None)])
def test_the_report_is_compressed_if_the_browser_accepts_it(client, accepted, encoding):
    response = client.get("/report", headers={**basic(KEY), "Accept-Encoding": accepted})

    content = gzip.decompress(response.data) if encoding else response.data
    assert content == b"<p>Report.html"
    assert response.headers.get("Content-Encoding") == encoding
    assert response.content_length == len(response.data)
    assert "Accept-Encoding" in response.headers["Vary"]


@pytest.mark.parametrize("headers", [{}, basic(b"wrong"), {"Authorization": "Basic !"}, {"X-API-Key": "wrong"}])
def test_without_the_key_the_browser_asks_for_it(client, headers):
    response = client.get("/report", headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert "Report.html" not in response.get_data(as_text=True)


def test_basic_authentication_opens_nothing_but_the_report(client):
    assert client.get("/v1/model", headers=basic(KEY)).status_code == 401
    assert client.get("/Data.json", headers=basic(KEY)).status_code == 404


def test_the_page_links_to_a_report_only_if_there_is_one(client):
    assert 'href="report"' in client.get("/").get_data(as_text=True)
    (client.service.configuration.path("ReportDir") / "Report.html").unlink()

    assert 'href="report"' not in client.get("/").get_data(as_text=True)
    response = client.get("/report", headers=basic(KEY))
    assert (response.status_code, response.get_json()["code"]) == (404, "not_found")
