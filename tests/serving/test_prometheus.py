import json

import prometheus_client.parser
import pytest

from Classes.serving import access_log
from tests.support import graphs, services

OWN = {"model": "ALLGraph"}


@pytest.fixture
def client(tmp_path):
    found = services.client(tmp_path, "ServerWorkers=2", "MaxQueued=16")
    yield found
    found.service.close()


def read_metrics(client):
    """{(name, labels as sorted pairs): value}."""
    text = client.get("/metrics").get_data(as_text=True)
    families = prometheus_client.parser.text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def labels(**pairs):
    return tuple(sorted(pairs.items()))


def test_requests_are_counted_by_endpoint_and_outcome(client):
    for content in (services.image(192, 40), services.image(64, 40), b"no image"):
        client.post("/v1/classify", data=content)
    client.get("/made/up")
    client.get("/another")

    found = read_metrics(client)

    assert found["all_requests_total", labels(address="/v1/classify", outcome="ok")] == 2
    assert found["all_requests_total", labels(address="/v1/classify", outcome="not_an_image")] == 1
    assert found["all_requests_total", labels(address="other", outcome="not_found")] == 2
    assert found["all_request_seconds_count", labels(address="/v1/classify")] == 3


def test_predictions_scores_and_image_properties_are_counted(client):
    # Brightness is a third of the red, plus that of 150 blue in 1/36 of the image, whose central 0.875 is used.
    for red, side in ((192, 40), (160, 600), (64, 40)):
        client.post("/Inference", data=services.image(red, side))

    found = read_metrics(client)

    assert found["all_verdicts_total", labels(verdict="ALL detected", confidence="normal", **OWN)] == 1
    assert found["all_verdicts_total", labels(verdict="ALL detected", confidence="low", **OWN)] == 1
    assert found["all_verdicts_total", labels(verdict="ALL not detected", confidence="normal", **OWN)] == 1
    outcomes = [found["all_outcomes_total", labels(outcome=each, **OWN)] for each in ("positive", "negative", "review")]
    assert outcomes == [1, 1, 1]
    assert found["all_review_reasons_total", labels(reason="low_confidence", **OWN)] == 1
    expected = graphs.RED[192] + graphs.RED[160] + graphs.RED[64]
    assert found["all_score_sum", labels(**OWN)] == pytest.approx(expected, abs=1e-5)
    assert found["all_score_count", labels(**OWN)] == 3
    assert found["all_image_brightness_sum", ()] == pytest.approx((192 + 160 + 64) / 3 + 150 / 36 / 0.875**2, abs=1)
    assert found["all_image_side_pixels_bucket", labels(le="64.0")] == 2
    assert found["all_image_side_pixels_bucket", labels(le="1024.0")] == 3
    assert found["all_inference_seconds_count", labels(**OWN)] == 3


def test_metrics_count_each_readable_image_of_a_batch(client):
    import io

    files = [(io.BytesIO(content), "a") for content in (services.image(192, 40), services.image(64, 40), b"no image")]
    client.post("/v1/batch", data={"file": files})

    assert read_metrics(client)["all_score_count", labels(**OWN)] == 2


def test_metrics_of_the_queue_and_the_model(client):
    found = read_metrics(client)

    assert found["all_places", ()] == 18
    assert found["all_requests_inside", ()] == 0
    assert found["all_ready", ()] == found["all_model_ready", labels(**OWN)] == 1
    model = {name: dict(pairs) for name, pairs in found if name == "all_model_info"}["all_model_info"]
    assert model == {
        "model": "ALLGraph",
        "engine": "OpenVINO CPU",
        "precision": "f32",
        "graph_sha256": client.service.models.default.card.graph_sha256,
    }
    client.service.stop()
    assert read_metrics(client)["all_ready", ()] == 0


def test_two_services_do_not_share_metrics(tmp_path):
    first, second = services.client(tmp_path / "a"), services.client(tmp_path / "b")
    first.post("/Inference", data=services.image(192, 40))

    assert read_metrics(first)["all_score_count", labels(**OWN)] == 1
    assert read_metrics(second)["all_score_count", labels(**OWN)] == 0
    for each in (first, second):
        each.service.close()


def test_results_are_published(tmp_path):
    class Events(list):
        publish = list.append

        def close(self):
            self.append("closed")

    events = Events()
    client = services.client(tmp_path, publisher=events)

    answer = client.post("/v1/classify", data=services.image(192, 40)).get_json()
    client.post("/v1/classify", data=b"no image")
    client.service.close()

    assert events == [answer, "closed"]


def test_the_access_log_escapes_and_rotates(tmp_path):
    log = access_log.AccessLog(tmp_path / "Logs")
    log.write(path="a\r\nERROR forged \x1b[2J ü \u2028")
    log.close()

    (line,) = (tmp_path / "Logs/Access.log").read_bytes().splitlines()
    assert json.loads(line)["path"] == "a\r\nERROR forged \x1b[2J ü \u2028"
    assert all(32 <= byte < 127 for byte in line)
    assert (log.maxBytes, log.backupCount) == (10 << 20, 9)


def test_a_full_disk_stops_the_access_log_only(tmp_path, caplog, monkeypatch):
    log = access_log.AccessLog(tmp_path / "Logs")
    client = services.client(tmp_path, access_log=log)

    def full(record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "shouldRollover", full)
    statuses = [client.get("/health/live").status_code for _ in range(3)]

    assert statuses == [200] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    client.service.close()
