import io

import PIL.Image
import pytest

from Classes.serving import access_control, page_routes
from tests.support import services


@pytest.fixture
def client(tmp_path):
    found = services.client(tmp_path, keys=access_control.ApiKeys({"": b"k" * 16}))
    yield found
    found.service.close()


def test_practice_images_of_both_classes_need_no_key(client):
    examples = client.get("/v1/examples").get_json()["examples"]

    labels = [each["name"].rpartition("_")[2] for each in examples]
    assert {"0.jpg", "1.jpg"} <= set(labels)
    for each in examples:
        assert each["name"].startswith("Synthetic_")
        with client.get("/" + each["url"]) as response:
            assert response.mimetype == "image/jpeg"
            assert PIL.Image.open(io.BytesIO(response.data)).size == (300, 300)


def test_without_practice_images_the_list_is_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(page_routes, "EXAMPLES_FOLDER", tmp_path / "missing")
    client = services.client(tmp_path)

    assert client.get("/v1/examples").get_json() == {"examples": []}
    client.service.close()


def test_other_files_of_the_folder_are_not_served(client):
    assert client.get("/examples/").status_code == 404
    assert client.get("/examples/..%2fALLGraph.json").status_code == 404
