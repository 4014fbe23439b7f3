import io

import pytest

from Classes.common.errors import EngineError
from Classes.serving.api_errors import ERROR_CODES
from tests.support import graphs, services

ENDPOINTS = ("/Inference", "/v1/classify", "/v1/batch", "/v1/heatmap")


class InverseBackend(services.FakeBackend):
    """Says the opposite of the fake backend."""

    name = "OpenVINO GPU"

    def classify(self, batch):
        return super().classify(batch)[:, ::-1]


@pytest.fixture
def client(tmp_path):
    """Two models that say the opposite of each other."""
    card = graphs.write(tmp_path / "Other", content=b"other", positive="0")
    found = services.client(tmp_path, others=[("Other", card, InverseBackend())])
    yield found
    found.service.close()


@pytest.fixture
def without_own(tmp_path):
    """A server whose own model is not trained yet."""
    card = graphs.write(tmp_path / "Other", content=b"other")
    found = services.client(
        tmp_path,
        others=[("Other", card, services.FakeBackend())],
        unavailable={"ALLGraph": "There is no trained model yet."},
    )
    yield found
    found.service.close()


def post(client, address, content=None):
    content = services.image(192, 40) if content is None else content
    if address.startswith("/v1/batch"):
        return client.post(address, data={"file": [(io.BytesIO(content), "a.png")]})
    return client.post(address, data=content)


def code(response):
    return (response.status_code, response.json["code"])


def test_the_first_model_answers_if_the_request_names_none(client):
    for query in ("", "?model=", "?model=ALLGraph"):
        answer = post(client, f"/v1/classify{query}").json

        assert (answer["class"], answer["model_name"], answer["engine"]) == ("1", "ALLGraph", "OpenVINO CPU")


@pytest.mark.parametrize("address", ["/Inference", "/v1/classify", "/v1/batch"])
def test_a_request_chooses_a_model(client, address):
    answer = post(client, f"{address}?model=Other").json

    other = client.service.models.find("Other")
    assert (answer["model_name"], answer["model"]) == ("Other", other.card.graph_sha256)
    assert answer["engine"] == "OpenVINO GPU"
    [result] = answer.get("results", [answer])
    assert result["probabilities"] == pytest.approx({"0": graphs.RED[192], "1": 1 - graphs.RED[192]}, abs=1e-6)
    assert result["detected"] is True


@pytest.mark.parametrize("address", ENDPOINTS)
def test_a_name_that_the_server_does_not_have(client, address):
    response = post(client, f"{address}?model=allgraph")

    assert code(response) == (404, "unknown_model")
    assert "ALLGraph, Other" in response.json["message"]
    assert ("Response" in response.json) == (address == "/Inference")


@pytest.mark.parametrize("path", ["/v1/model", "/health/ready"])
def test_the_other_addresses_with_a_model(client, path):
    assert client.get(f"{path}?model=Other").status_code == 200
    assert code(client.get(f"{path}?model=nope")) == (404, "unknown_model")


def test_the_list_of_models(client):
    answer = client.get("/v1/models").json

    assert answer["default"] == "ALLGraph"
    assert [each["name"] for each in answer["models"]] == ["ALLGraph", "Other"]
    own, other = answer["models"]
    assert (own["default"], other["default"]) == (True, False)
    assert (own["positive"], other["positive"]) == (["1"], ["0"])
    assert (own["detects"], own["classes"], own["input_size"]) == ("ALL", ["0", "1"], 299)
    assert other["engine"] == "OpenVINO GPU"
    assert own["model"] != other["model"]
    assert own["ready"] is own["available"] is True
    assert own["metrics"] is None


def test_the_list_has_the_headline_of_the_metrics(tmp_path):
    rate = {"value": 0.9, "interval": [0.8, 0.95], "of": [9, 10], "note": None}
    several = {"macro_f1": {**rate, "value": 0.75}, "accuracy": {**rate, "value": 0.5}}
    metrics = {"split": "validation", "images": 10, "accuracy": rate, "certainty": {"after": {"ece": 0.02}}}
    metrics |= {"multiclass": several}
    client = services.client(tmp_path, card=graphs.write(tmp_path / "Model", content=b"", metrics=metrics))

    [own] = client.get("/v1/models").json["models"]

    assert own["metrics"]["accuracy"] == {"value": 0.9, "interval": [0.8, 0.95]}
    assert (own["metrics"]["of"], own["metrics"]["images"], own["metrics"]["ece"]) == ("disease", 10, 0.02)
    assert own["metrics"]["macro_f1"]["value"] == 0.75
    assert "sensitivity" not in own["metrics"]
    client.service.close()


def test_each_model_has_its_own_readiness(client):
    other = client.service.models.find("Other")
    other.backend.error = EngineError("no answer")

    assert code(post(client, "/v1/classify?model=Other")) == (503, "engine_failed")
    assert client.get("/health/ready").status_code == 200
    assert code(client.get("/health/ready?model=Other")) == (503, "not_ready")
    assert [each["ready"] for each in client.get("/v1/models").json["models"]] == [True, False]
    assert 'all_model_ready{model="Other"} 0.0' in client.get("/metrics").text
    assert post(client, "/v1/classify").status_code == 200
    other.backend.error = None
    assert client.get("/health/ready?model=Other").status_code == 200


def test_metrics_count_by_model(client):
    post(client, "/v1/classify?model=Other")
    post(client, "/v1/classify")
    post(client, "/v1/classify")

    text = client.get("/metrics").text
    assert 'all_inference_seconds_count{model="Other"} 1.0' in text
    assert 'all_inference_seconds_count{model="ALLGraph"} 2.0' in text


def test_an_unknown_model_is_an_error_before_the_rate_limit_counts(tmp_path):
    client = services.client(tmp_path, "RateLimitPerMinute=1")

    assert code(post(client, "/v1/classify?model=nope"))[1] == "unknown_model"
    assert post(client, "/v1/classify").status_code == 200
    client.service.close()


@pytest.mark.parametrize("address", ENDPOINTS)
def test_without_an_own_model_a_request_must_name_one(without_own, address):
    response = post(without_own, address)

    # Not 503: sending the image again would not help.
    assert code(response) == (404, "no_model")
    assert "There is no trained model yet." in response.json["message"]
    assert "Other" in response.json["message"]


def test_without_an_own_model_the_others_work(without_own):
    assert post(without_own, "/v1/classify?model=Other").json["model_name"] == "Other"
    assert without_own.get("/health/ready").status_code == 200
    info = without_own.get("/v1/info").json
    assert info["default_model"] is None
    listed = without_own.get("/v1/models").json
    assert listed["default"] is None
    assert [(each["name"], each["available"]) for each in listed["models"]] == [("Other", True), ("ALLGraph", False)]
    assert listed["models"][1]["reason"] == "There is no trained model yet."


def test_every_code_is_documented():
    assert ERROR_CODES["unknown_model"][0] == ERROR_CODES["no_model"][0] == 404
