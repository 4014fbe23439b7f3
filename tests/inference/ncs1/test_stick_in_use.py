"""The stick behind Classifier.py and behind the service under load, while everything that can fails."""

import concurrent.futures
import dataclasses
import hashlib
import json

import pytest

import Classifier
import Validation
from Classes import Movidius
from Classes.common import atomic_files
from Classes.inference import device_selection, failover, model_card
from tests.support import graphs, servers, services, smears, waiting
from tests.support import sticks as standin

FAULTS = [
    ("LoadTensor", "ERROR"),
    ("LoadTensor", "hang"),
    ("LoadTensor", "BUSY"),
    ("GetResult", "TIMEOUT"),
    ("GetResult", "MYRIAD_ERROR"),
    ("GetResult", "hang"),
    ("GetResult", "nan"),
    ("GetResult", "die"),
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(failover, "RETRY_INTERVAL", 0.3)
    monkeypatch.setattr(Movidius, "RETRY_INTERVAL", 0.3)


@pytest.fixture
def served(tmp_path, sticks):
    """A client of a service on a stick, with the CPU behind it."""
    card = standin.write(tmp_path)
    configuration = graphs.configuration(tmp_path, "Precision=AUTO")
    with device_selection.open_backend(configuration, card) as engine:
        client = services.client(tmp_path, backend=engine, card=card)
        yield client
        client.service.close()


def ask(client, red):
    answer = client.application.test_client().post("/v1/classify", data=services.image(red, 299))
    return answer.status_code, answer.get_json()


@pytest.mark.slow
@pytest.mark.parametrize(("call", "fault"), FAULTS)
def test_no_request_is_lost_when_the_stick_fails_under_load(served, sticks, call, fault):
    sticks.plan(["1.1"], (call, fault, {"after": 6}))
    reds = [red for red in graphs.RED for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda red: ask(served, red), reds))

    assert [status for status, _ in answers] == [200] * len(reds)
    found = [answer["probabilities"]["1"] for _, answer in answers]
    assert found == pytest.approx([graphs.RED[red] for red in reds], abs=0.01)
    assert {answer["engine"] for _, answer in answers} <= {"Movidius NCS1", "OpenVINO CPU"}


def test_a_stick_that_comes_back_is_used_again_and_no_request_fails(served, sticks):
    assert ask(served, 64)[1]["engine"] == "Movidius NCS1"
    sticks.plan([])
    assert ask(served, 64)[1]["engine"] == "OpenVINO CPU"
    sticks.plan(["1.1"])

    def back():
        status, answer = ask(served, 64)
        assert status == 200
        return answer["engine"] == "Movidius NCS1"

    waiting.until(back, "the return of the stick")


def test_metrics_of_the_stick(served, sticks):
    ask(served, 64)
    text = served.get("/metrics").get_data(as_text=True)

    for line in (
        'all_stick_connected{stick="1.1"} 1.0',
        'all_stick_inferences_total{stick="1.1"} 4.0',
        'all_stick_failures_total{stick="1.1"} 0.0',
        'all_stick_milliseconds{stick="1.1"} 300.75',
        'all_stick_celsius{stick="1.1"} 41.5',
    ):
        assert line in text.splitlines()


def test_no_metrics_without_a_stick(tmp_path):
    client = services.client(tmp_path)

    assert "all_stick" not in client.get("/metrics").get_data(as_text=True)
    client.service.close()


@pytest.mark.parametrize("device", ["NCS1", "AUTO"])
def test_the_classifier_works_on_a_stick_unchanged(tmp_path, sticks, capsys, device):
    written = tmp_path / "rows.json"
    standin.write(tmp_path)
    for name, red in (("Im001_0.png", 64), ("Im002_1.png", 192)):
        path = tmp_path / "Model" / "Test" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(smears.png(graphs.red(red)))
    if device == "AUTO":
        sticks.plan(["1.1"], ("GetResult", "TIMEOUT", {"after": 2}))

    assert Classifier.main(["--device", device, "--set", f"NetworkPath={tmp_path}", "--json", str(written)]) == 0

    spoke = [(row["engine"], row["precision"]) for row in json.loads(written.read_text())["images"]]
    assert spoke[0] == ("Movidius NCS1", "f16")
    assert spoke[1][0] == ("OpenVINO CPU" if device == "AUTO" else "Movidius NCS1")
    lines = capsys.readouterr().out
    assert "Connected To NCS1 successfully." in lines
    assert "Movidius graph allocated successfully." in lines
    assert "Movidius NCS1 Classifier started." in lines
    assert "Testing ended. 2 correct, 0 incorrect" in lines
    assert ("continuing on OpenVINO CPU" in lines) == (device == "AUTO")


def test_a_failing_stick_ends_the_classifier_in_one_line_where_it_alone_is_wanted(tmp_path, sticks):
    from Classes.common.errors import EngineError

    standin.write(tmp_path)
    (tmp_path / "Model" / "Test").mkdir()
    (tmp_path / "Model" / "Test" / "Im001_0.png").write_bytes(smears.png(graphs.red(64)))
    sticks.plan(["1.1"], ("GetResult", "TIMEOUT", {"after": 1}))

    with pytest.raises(EngineError, match="TIMEOUT"):
        Classifier.main(["--device", "NCS1", "--set", f"NetworkPath={tmp_path}"])


def on_a_stick(project):
    """The model that was trained in `project`, compiled too; returns its Card."""
    card = model_card.load_model_card(project / "Model" / "ALLGraph.json")
    made = standin.compiled(card.graph_path.read_bytes())
    atomic_files.write_atomic(project / "Model" / "ALL.graph", made)
    note = {"sha256": hashlib.sha256(made).hexdigest(), "source_sha256": card.graph_sha256}
    model_card.write_model_card(card.path, dataclasses.replace(card, compiled=note))
    return card


def validated(project, *arguments):
    """metrics.json of Validation.py on the small network."""
    options = [part for text in (f"NetworkPath={project}", "Precision=AUTO") for part in ("--set", text)]
    assert Validation.main([*options, *arguments]) == 0
    return json.loads((project / "Model" / "_logs_eval" / "metrics.json").read_text())


def test_the_validation_works_on_a_stick_unchanged(project, sticks):
    on_a_stick(project)
    stick, cpu = validated(project, "--device", "NCS1"), validated(project, "--device", "CPU")

    assert (stick["engine"], stick["arithmetic"]) == ("Movidius NCS1", "f16")
    assert {row["engine"] for row in stick["predictions"]} == {"Movidius NCS1"}
    pairs = zip(stick["predictions"], cpu["predictions"], strict=True)
    assert all(one["probabilities"]["1"] == pytest.approx(two["probabilities"]["1"], abs=0.05) for one, two in pairs)


def test_a_validation_that_lost_its_stick_records_the_device_of_each_image(project, sticks):
    on_a_stick(project)
    sticks.plan(["1.1"], ("GetResult", "TIMEOUT", {"after": 5}))

    found = validated(project, "--device", "AUTO", "--set", "BatchTestSize=4")

    assert found["engine"] == "Movidius NCS1 and OpenVINO CPU"
    assert [row["engine"] for row in found["predictions"]] == ["Movidius NCS1"] * 4 + ["OpenVINO CPU"] * 8


def test_the_server_works_on_a_stick_unchanged(tmp_path, sticks):
    model = {"compiled": standin.write(tmp_path).compiled}
    settings, path = ("Device=NCS1", "Precision=AUTO"), str(standin.FOLDER)
    with servers.running(tmp_path, *settings, real=True, model=model, PYTHONPATH=path) as server:
        status, answer, _ = servers.request(server.port, path="/v1/classify", body=services.image(64, 299))

    assert (status, answer["engine"], answer["precision"]) == (200, "Movidius NCS1", "f16")
    assert any(line.endswith("Connected To NCS1 successfully.") for line in server.lines)


def test_the_devices_are_listed(tmp_path, sticks, capsys):
    standin.write(tmp_path)

    assert Classifier.main(["Devices", "--set", f"NetworkPath={tmp_path}"]) == 0
    assert "Movidius stick 1.1" in capsys.readouterr().out
