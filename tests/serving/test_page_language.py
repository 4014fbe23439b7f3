"""The page is in the reader's language, and the API is English whatever the reader and the system ask for."""

import json
import re

import pytest

from Classes.common import translation
from Classes.serving import access_control
from tests.support import servers, services

SPANISH = {"Accept-Language": "es-ES,es;q=0.9"}


@pytest.fixture
def client(tmp_path):
    found = services.client(tmp_path, keys=access_control.ApiKeys({"": b"k" * 16}))
    yield found
    found.service.close()


@pytest.fixture
def spanish_system(monkeypatch):
    monkeypatch.setenv("LC_ALL", "es_ES.UTF-8")
    translation.set_language("es")
    yield
    translation.set_language("en")


def language_of(response):
    return re.search(r'<html lang="(\w+)">', response.get_data(as_text=True))[1]


@pytest.mark.parametrize("path", ["/", "/docs", "/history"])
def test_a_page_is_in_the_language_of_the_browser(client, path):
    english, spanish = client.get(path), client.get(path, headers=SPANISH)

    assert (language_of(english), language_of(spanish)) == ("en", "es")
    assert spanish.headers["Content-Language"] == "es"
    assert {"Accept-Language", "Cookie"} <= set(spanish.vary)
    assert "Solo para investigación" in spanish.get_data(as_text=True)


def test_a_choice_in_the_menu_counts_more_than_the_browser_and_is_kept(client):
    response = client.get("/?language=en", headers=SPANISH)

    assert language_of(response) == "en"
    assert "HttpOnly" in response.headers["Set-Cookie"]
    assert language_of(client.get("/", headers=SPANISH)) == "en"


def test_an_unknown_choice_is_ignored(client):
    response = client.get("/?language=../../secret", headers=SPANISH)

    assert language_of(response) == "es"
    assert "Set-Cookie" not in response.headers


def test_a_browser_without_an_available_language_gets_that_of_the_server(tmp_path):
    client = services.client(tmp_path, "Language=es")
    try:
        assert language_of(client.get("/", headers={"Accept-Language": "de"})) == "es"
        assert language_of(client.get("/", headers={"Accept-Language": "en"})) == "en"
    finally:
        client.service.close()


def test_an_unchanged_page_is_not_sent_again(client):
    tag = client.get("/").headers["ETag"]

    assert client.get("/", headers={"If-None-Match": tag}).status_code == 304
    assert client.get("/", headers={"If-None-Match": tag, **SPANISH}).status_code == 200


def test_the_page_brings_the_translations_of_its_scripts(client):
    text = client.get("/", headers=SPANISH).get_data(as_text=True)
    [content] = re.findall(r'<script type="application/json" id="messages">(.*?)</script>', text, re.DOTALL)

    found = json.loads(content)
    assert found["plural"][:3] == "101"
    assert isinstance(found["texts"], dict)


REQUESTS = [
    ("GET", "/openapi.json", None),
    ("GET", "/v1/model", None),
    ("GET", "/missing", None),
    ("POST", "/", b""),
    ("POST", "/v1/classify", services.image(192)),
    ("POST", "/v1/classify", b"not an image"),
    ("POST", "/v1/classify", services.image(192)[:200]),
    ("POST", "/Inference", services.image(80)),
    ("POST", "/Inference", b""),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
@pytest.mark.parametrize("key", ["k" * 16, "wrong"])
def test_the_api_is_english(client, spanish_system, method, path, body, key):
    def send(headers):
        response = client.open(path, method=method, data=body, headers={"X-API-Key": key, **headers})
        # What differs from one request to the next.
        text = re.sub(r'"(request_id|seconds)": ?[^,}]+| in [\d.e-]+"', "", response.get_data(as_text=True))
        return response.status_code, text

    spanish = send(SPANISH)
    translation.set_language("en")

    assert spanish == send({})


@pytest.mark.slow
def test_a_server_on_a_spanish_system(tmp_path):
    with servers.running(tmp_path, LC_ALL="es_ES.UTF-8") as server:
        status, answer = servers.request(server.port, body=b"not an image", **SPANISH)[:2]
        failed = servers.run(tmp_path, f"Port={server.port}", LC_ALL="es_ES.UTF-8")

    # The API is English, the pages and the terminal are not.
    assert (status, answer["code"]) == (415, "not_an_image")
    assert answer["message"].startswith("the image: not a supported image")
    assert "la dirección ya está en uso" in failed.stderr
