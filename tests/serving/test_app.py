import io

import numpy
import pytest

from Classes import Helpers
from Classes.common.errors import EngineError
from Classes.imaging import color_stats
from Classes.inference import model_card
from Classes.serving import access_control
from tests.support import graphs, services, smears

KEY = b"0123456789abcdef0123"


def form(*contents, field="file", name="a.png"):
    return {field: [(io.BytesIO(content), name) for content in contents]}


# Legacy endpoint


def test_the_legacy_endpoint_accepts_an_image_as_the_body(client):
    response = client.post("/Inference", data=services.image(192), headers={"Content-Type": "image/jpeg"})

    answer = response.get_json()
    assert response.status_code == 200
    assert answer["Response"] == "OK"
    assert answer["Classification"] == "ALL detected"
    assert answer["aClassification"] == "1"
    assert answer["Confidence"] == "0.8808"
    assert answer["Message"] == f"ALL detected with a confidence of 0.8808 in {answer['seconds']}"


def test_the_legacy_endpoint_accepts_an_image_in_a_form(client):
    response = client.post("/Inference", data=form(services.image(96)))

    answer = response.get_json()
    assert (answer["Classification"], answer["aClassification"]) == ("ALL not detected", "0")
    assert answer["Message"].startswith("ALL not detected with a LOW confidence of 0.7311 in ")


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "text/plain", "multipart/mixed", "nonsense"])
def test_the_content_type_is_ignored(client, kind):
    headers = {"Content-Type": kind} if kind else {}

    assert client.post("/Inference", data=services.image(192), headers=headers).get_json()["Response"] == "OK"


def test_the_legacy_endpoint_also_returns_the_new_fields(client):
    answer = client.post("/Inference", data=services.image(96)).get_json()

    assert answer["probabilities"] == pytest.approx({"0": 1 - graphs.RED[96], "1": graphs.RED[96]}, abs=1e-6)
    assert answer["low_confidence"] is True
    assert answer["uncertain"] is False
    assert answer["seconds"] >= 0
    assert answer["engine"] == "OpenVINO CPU"
    assert answer["model"] == client.service.models.default.card.graph_sha256
    assert answer["notice"] == Helpers.DISCLAIMER
    assert answer["image"] == {"format": "png", "width": 300, "height": 300}
    assert len({name.lower() for name in answer}) == len(answer), "some readers take names that differ in case for one"


def test_the_legacy_endpoint_reports_uncertain_results(tmp_path):
    card = graphs.write(tmp_path / "Model", content=b"no graph", uncertain=[0.2, 0.6])
    client = services.client(tmp_path, card=model_card.load_model_card(card))
    try:
        answers = [client.post("/Inference", data=services.image(value)).get_json() for value in (64, 96, 192)]
    finally:
        client.service.close()

    assert [answer["uncertain"] for answer in answers] == [False, True, False]
    assert answers[1]["Message"].startswith("ALL not detected with a LOW confidence of 0.7311 in ")


def test_errors_of_the_legacy_endpoint_have_the_legacy_fields(client):
    body = services.assert_error(client.post("/Inference", data=b"<html>"), "not_an_image")

    assert body["Response"] == "Error"
    assert body["Message"] == body["message"]


# One image and several


def test_one_image(client):
    answer = client.post("/v1/classify", data=services.image(160, 80, "JPEG")).get_json()

    assert (answer["verdict"], answer["class"], answer["detected"]) == ("ALL detected", "1", True)
    assert answer["confidence"] == pytest.approx(graphs.RED[160], abs=2e-2)
    assert answer["image"] == {"format": "jpg", "width": 80, "height": 80}
    assert "heat_map" not in answer


@pytest.mark.parametrize("endpoint", ["/Inference", "/v1/classify"])
@pytest.mark.parametrize(
    ("red", "outcome", "reasons"), [(64, "negative", []), (192, "positive", []), (160, "review", ["low_confidence"])]
)
def test_outcome_and_reasons(client, endpoint, red, outcome, reasons):
    answer = client.post(endpoint, data=services.image(red)).get_json()

    assert (answer["outcome"], answer["reasons"]) == (outcome, reasons)


def test_a_batch_returns_results_and_errors_in_order(client):
    sent = form(services.image(192), b"no image", services.image(64), b"", services.image(192)[:100])

    answer = client.post("/v1/batch", data=sent).get_json()

    results = answer["results"]
    assert [each["index"] for each in results] == [0, 1, 2, 3, 4]
    assert [each.get("class") for each in results] == ["1", None, "0", None, None]
    codes = [each.get("error", {}).get("code") for each in results]
    assert codes == [None, "not_an_image", None, "empty", "damaged_image"]
    assert answer["failed"] == 3
    assert results[0]["confidence"] == 0.8808
    assert results[2]["confidence"] == 0.8808
    assert [each.get("outcome") for each in results] == ["positive", None, "negative", None, None]


def test_an_image_has_the_same_result_alone_and_in_a_batch(client):
    alone = client.post("/v1/classify", data=services.image(160)).get_json()
    together = client.post("/v1/batch", data=form(services.image(64), services.image(160))).get_json()["results"][1]

    assert together["probabilities"] == alone["probabilities"]
    assert together["sha256"] == alone["sha256"]


def test_more_images_than_allowed(tmp_path):
    client = services.client(tmp_path, "MaxBatch=2")

    services.assert_error(client.post("/v1/batch", data=form(*[services.image(64, 20)] * 3)), "too_many_images")
    assert len(client.post("/v1/batch", data=form(*[services.image(64, 20)] * 2)).get_json()["results"]) == 2
    client.service.close()


def test_a_file_name_cannot_forge_a_line(client):
    answer = client.post("/v1/batch", data=form(services.image(64, 20), name="a\x1b[2J" + "b" * 400)).get_json()

    assert answer["results"][0]["name"].startswith("a\\x1b[2Jb")
    assert len(answer["results"][0]["name"]) == 255


# Invalid requests


@pytest.mark.parametrize("address", ["/Inference", "/v1/classify"])
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"<html></html>", "not_an_image"),
        (b"PK\x03\x04" + bytes(100), "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not_an_image"),
        (bytes(5000), "not_an_image"),
        (services.image(64)[:60], "damaged_image"),
    ],
)
def test_content_that_is_not_an_image(client, address, content, code):
    services.assert_error(client.post(address, data=content), code)
    services.assert_error(client.post(address, data=form(content)), code)


def test_images_beyond_the_limits(tmp_path):
    client = services.client(tmp_path, "MaxSide=100", "MaxPixels=5000")

    services.assert_error(client.post("/v1/classify", data=services.image(64, 101)), "image_too_large")
    services.assert_error(client.post("/v1/classify", data=services.image(64, 90)), "image_too_large")
    assert client.post("/v1/classify", data=services.image(64, 70)).status_code == 200
    client.service.close()


@pytest.mark.parametrize("data", [lambda: b"x" * 2049, lambda: form(b"x" * 2049)])
def test_a_body_beyond_the_limit(tmp_path, data):
    client = services.client(tmp_path, "MaxBody=2048")

    services.assert_error(client.post("/v1/classify", data=data()), "body_too_large")
    client.service.close()


def test_a_form_without_the_field(client):
    response = client.post("/v1/classify", data=form(services.image(64), field="image"))

    assert "file" in services.assert_error(response, "empty")["message"]
    services.assert_error(client.post("/v1/batch", data=services.image(64)), "empty")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=x", 'multipart/form-data; boundary="']
)
@pytest.mark.parametrize(
    "body", [b"", b"--x", b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n", b"\xff" * 300]
)
def test_a_broken_form(client, kind, body):
    for address in ("/Inference", "/v1/batch"):
        response = client.post(address, data=body, headers={"Content-Type": kind})

        assert response.status_code == 400
        assert response.get_json()["code"] in ("empty", "bad_request")


def test_a_form_of_very_many_fields(client):
    data = {f"field{number}": "x" for number in range(100)}

    services.assert_error(client.post("/v1/classify", data=data, content_type="multipart/form-data"), "body_too_large")


@pytest.mark.parametrize(
    "path", ["/nope", "/v1//classify", "/Inference/", "/v1/../etc/passwd", "/%00", "/v1/classify%0a"]
)
def test_unknown_paths(client, path):
    services.assert_error(client.get(path), "not_found")


@pytest.mark.parametrize("path", ["//Inference", "///v1/classify", "//"])
def test_leading_slashes_are_part_of_the_path(client, path):
    environment = {"PATH_INFO": path, "REQUEST_METHOD": "POST"}

    body = services.assert_error(client.open(environ_overrides=environment, data=services.image(64)), "not_found")

    assert body["message"].startswith(f"{path}: ")


def test_a_method_that_is_not_allowed(client):
    response = client.get("/Inference")

    services.assert_error(response, "method_not_allowed")
    assert "POST" in response.headers["Allow"]
    services.assert_error(client.delete("/v1/model"), "method_not_allowed")


def test_an_unexpected_exception_is_reported_without_details(client, monkeypatch, caplog):
    monkeypatch.setattr(client.service.models.default.predictor, "predict", lambda *_: 1 / 0)

    body = services.assert_error(client.post("/v1/classify", data=services.image(64)), "internal_error")

    assert "division" not in str(body)
    assert "ZeroDivisionError" in caplog.text
    assert body["request_id"] in caplog.text


# Request ids and headers


@pytest.mark.parametrize("sent", ["a", "A-b_9", "x" * 64])
def test_a_valid_request_id_is_kept(client, sent):
    assert client.get("/health/live", headers={"X-Request-ID": sent}).headers["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a;b", "é", "../a"])
def test_an_invalid_request_id_is_replaced(client, sent):
    found = client.get("/health/live", headers={"X-Request-ID": sent}).headers["X-Request-ID"]

    assert found != sent
    assert len(found) == 32


@pytest.mark.parametrize("path", ["/health/live", "/openapi.json", "/nope", "/Inference"])
def test_every_response_has_the_security_headers(client, path):
    headers = client.get(path).headers

    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Server" not in headers


def test_only_allowed_origins_may_read_responses(tmp_path):
    client = services.client(tmp_path, 'AllowedOrigins=["https://lab.example.org"]')

    listed = client.get("/v1/model", headers={"Origin": "https://lab.example.org"}).headers
    other = client.get("/v1/model", headers={"Origin": "https://evil.example.org"}).headers
    before = client.options("/v1/classify", headers={"Origin": "https://lab.example.org"}).headers

    assert listed["Access-Control-Allow-Origin"] == "https://lab.example.org"
    assert "Access-Control-Allow-Origin" not in other
    assert listed["Vary"] == other["Vary"] == "Origin"
    assert "X-API-Key" in before["Access-Control-Allow-Headers"]
    client.service.close()


# API key


@pytest.mark.parametrize("path", ["/Inference", "/v1/classify", "/v1/batch"])
def test_without_the_key_nothing_is_classified(tmp_path, path):
    client = services.client(tmp_path, keys=access_control.ApiKeys({"": KEY}))

    response = client.post(path, data=services.image(64))

    services.assert_error(response, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    client.service.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-API-Key": KEY.decode()}, 200),
        ({"Authorization": f"Bearer {KEY.decode()}"}, 200),
        ({"Authorization": f"bearer  {KEY.decode()}"}, 200),
        ({"Authorization": f"Basic {KEY.decode()}"}, 401),
        ({"X-API-Key": KEY.decode()[:-1]}, 401),
        ({"X-API-Key": KEY.decode() + "x"}, 401),
        ({"X-API-Key": "é"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({}, 401),
    ],
)
def test_the_key(tmp_path, headers, status):
    client = services.client(tmp_path, keys=access_control.ApiKeys({"": KEY}))

    assert client.get("/v1/model", headers=headers).status_code == status
    assert client.get("/metrics", headers=headers).status_code == status
    assert client.get("/health/ready", headers=headers).status_code == 200
    client.service.close()


# Readiness


def test_ready_only_after_the_first_inference(tmp_path):
    engine = services.FakeBackend()
    engine.error = EngineError("no answer")
    client = services.client(tmp_path, backend=engine, warm=False)

    assert client.get("/health/live").status_code == 200
    services.assert_error(client.get("/health/ready"), "not_ready")
    engine.error = None
    assert client.get("/health/ready").get_json() == {"status": "ok"}
    client.service.close()


def test_a_failed_device_gives_an_error_and_makes_the_server_not_ready_until_it_recovers(client):
    client.service.models.default.backend.error = EngineError("device result invalid: [nan, nan]")

    response = client.post("/v1/classify", data=services.image(64))

    services.assert_error(response, "engine_failed")
    assert int(response.headers["Retry-After"]) > 0
    services.assert_error(client.get("/health/ready"), "not_ready")
    client.service.models.default.backend.error = None
    assert client.get("/health/ready").status_code == 200


def test_a_stopping_server_is_not_ready_but_answers(client):
    client.service.stop()

    services.assert_error(client.get("/health/ready"), "not_ready")
    assert client.get("/health/live").status_code == 200
    assert client.post("/v1/classify", data=services.image(64)).status_code == 200


# Different colors


def test_an_image_with_different_colors_gets_a_remark_and_is_counted(tmp_path):
    known = [color_stats.color_features(graphs.red(value, size=299)) for value in (64, 65, 191, 192)]
    card = graphs.write(tmp_path / "Model", content=b"no graph", colours=color_stats.fit_reference(known))
    client = services.client(tmp_path, card=model_card.load_model_card(card))
    try:
        usual, strange = (
            client.post("/v1/classify", data=services.image(value)).get_json()["remark"] for value in (192, 120)
        )
        historic = client.post("/Inference", data=services.image(120)).get_json()["remark"]
        metrics = client.get("/metrics").get_data(as_text=True)
    finally:
        client.service.close()

    assert usual is None
    assert isinstance(strange, str)
    assert historic == strange
    assert 'all_images_outside_total{model="ALLGraph"} 2.0' in metrics


def test_a_blank_image_is_an_error_at_every_endpoint(client):
    blank = smears.png(numpy.full((80, 80, 3), 255, "uint8"))

    for address in ("/Inference", "/v1/classify"):
        body = services.assert_error(client.post(address, data=blank), "no_content")
        assert "verdict" not in body and "Classification" not in body
    results = client.post("/v1/batch", data=form(blank, services.image(64))).get_json()["results"]
    assert results[0]["error"]["code"] == "no_content" and "verdict" not in results[0]
    assert results[1]["class"] == "0"
