import pytest

from Classes.serving import access_control, page_routes
from tests.support import services


@pytest.fixture
def client(tmp_path, monkeypatch):
    web = tmp_path / "Web"
    web.mkdir()
    for name in ("index.html", "docs.html", "app.js", "style.css"):
        (web / name).write_text(f"content of {name}")
    (web / ".hidden.js").write_text("no part of the page")
    (tmp_path / "secret.html").write_text("outside")
    monkeypatch.setattr(page_routes, "STATIC_FOLDER", web)
    found = services.client(tmp_path, keys=access_control.ApiKeys({"": b"k" * 16}))
    yield found
    found.service.close()


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/", "index.html", "text/html"),
        ("/docs", "docs.html", "text/html"),
        ("/app.js", "app.js", "text/javascript"),
        ("/style.css", "style.css", "text/css"),
    ],
)
def test_the_page_and_its_files_need_no_key(client, path, name, kind):
    with client.get(path) as response:
        assert response.status_code == 200
        assert response.get_data(as_text=True) == f"content of {name}"
        assert response.mimetype == kind
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_head_requests(client):
    with client.head("/") as response:
        assert (response.status_code, response.get_data()) == (200, b"")


def test_unchanged_files_are_not_sent_again(client):
    with client.get("/app.js") as first:
        tag = first.headers["ETag"]
    with client.get("/app.js", headers={"If-None-Match": tag}) as again:
        assert (again.status_code, again.get_data()) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/.hidden.js", "/secret.html", "/../secret.html", "/%2e%2e/secret.html", "/..%2fsecret.html", "/app.js/"]
)
def test_nothing_else_is_served(client, path):
    response = client.get(path)

    assert response.status_code == 404
    assert response.get_json()["code"] == "not_found"


def test_pages_do_not_accept_post(client):
    response = client.post("/", data=b"x")

    assert response.status_code == 405
    assert response.get_json()["code"] == "method_not_allowed"
