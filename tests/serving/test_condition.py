"""What a server says about a model of another condition than ALL, and of several conditions at once."""

import re

import pytest

from Classes.common import conditions
from Classes.inference import model_card
from tests.support import graphs, services


def write(folder, condition):
    graphs.write(folder, content=b"", condition=condition.to_json())
    return model_card.load_model_card(folder / "ALLGraph.json")


@pytest.fixture
def client(tmp_path):
    client = services.client(tmp_path, card=write(tmp_path / "Model", conditions.AML))
    yield client
    client.service.close()


def test_answers_name_the_condition_of_the_model(client):
    found = client.post("/Inference", data=services.image(250)).get_json()

    assert (found["Classification"], found["verdict"], found["outcome"]) == ("AML detected", "AML detected", "positive")
    assert found["Message"].startswith("AML detected with a confidence of ")
    assert client.post("/Inference", data=services.image(10)).get_json()["Classification"] == "AML not detected"
    assert 'verdict="AML detected"' in client.get("/metrics").get_data(as_text=True)


def test_the_server_describes_the_condition(client):
    info = client.get("/v1/info").get_json()
    [model] = client.get("/v1/models").get_json()["models"]

    assert info["condition"] == model["condition"] == conditions.AML.to_json()
    assert model["detects"] == "AML"


def test_the_document_of_the_api_names_the_condition(client):
    document = client.get("/openapi.json").get_data(as_text=True)

    assert "AML detection" in document and "AML detected" in document
    assert not re.findall(r"\bALL\b|ALLGraph|Lymphoblastic", document)


def test_each_model_names_its_own_condition(tmp_path):
    other = ("Other", write(tmp_path / "Other", conditions.AML), services.FakeBackend())
    client = services.client(tmp_path, others=[other])

    answers = [
        client.post(address, data=services.image(250)).get_json()
        for address in ("/Inference", "/Inference?model=Other")
    ]

    assert [answer["verdict"] for answer in answers] == ["ALL detected", "AML detected"]
    assert [each["detects"] for each in client.get("/v1/models").get_json()["models"]] == ["ALL", "AML"]
    assert client.get("/v1/info").get_json()["condition"]["short"] == "ALL"
    client.service.close()
