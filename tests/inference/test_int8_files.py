import concurrent.futures
import dataclasses
import json
import subprocess
import sys
import time

import numpy
import pytest

from Classes.common import provenance
from Classes.common.errors import ALLError, EngineError, GraphError
from Classes.export import model_repository
from Classes.Helpers import PROJECT
from Classes.inference import device_selection, int8_files, model_card, openvino_backend, openvino_devices
from tests.support import faults, graphs, services
from tests.support.errors import raises

SIZE = graphs.SIZE
IMAGES = numpy.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype="uint8")


@pytest.fixture
def card(tmp_path):
    return model_card.load_model_card(graphs.write(tmp_path / "Model", size=SIZE))


def network(folder, middle=0):
    """A network that answers otherwise than the graph; whether in int8 makes no difference to its files."""
    path = folder / f"other{middle}.pb"
    path.write_bytes(graphs.pooled(2, middle))
    return openvino_backend.read_model(openvino_devices.new_core(), path)


def publish(card, middle=0):
    int8_files.commit_int8(int8_files.stage_int8(card, network(card.path.parent.parent, middle)))
    return model_card.load_model_card(card.path)


def opened(card, *settings):
    """(precision, answers) of the engine that a configuration opens."""
    configuration = graphs.configuration(card.path.parent.parent, *settings)
    with device_selection.open_backend(configuration, model_card.load_model_card(card.path)) as engine:
        return engine.precision, engine.classify(IMAGES)


def other(card, middle=0):
    """The answers of `network`."""
    path = card.path.parent.parent / f"other{middle}.pb"
    return openvino_backend.reference_outputs(path, card.input_spec.normalize(IMAGES))


def files(card):
    """What lies beside the card, but for the lock."""
    return {path.name for path in card.path.parent.iterdir()} - {".lock"}


def test_without_an_int8_form_nothing_changes(card):
    assert int8_files.select_int8(card, "AUTO", "CPU") is None
    assert opened(card, "Precision=AUTO")[0] in ("f32", "bf16")
    with raises(GraphError, "no_int8"):
        opened(card, "Precision=int8")


@pytest.mark.parametrize("precision", ["AUTO", "int8"])
def test_once_there_it_speaks_and_says_so(card, precision):
    publish(card)

    said, answers = opened(card, f"Precision={precision}")

    assert said == "int8"
    numpy.testing.assert_allclose(answers, other(card), atol=1e-6)
    assert files(card) == {
        "ALLGraph.pb",
        "ALLGraph.json",
        "ALLGraph.int8.xml",
        "ALLGraph.int8.bin",
    }


def test_one_and_several_and_many_clients_get_the_same_answers(card):
    with (
        openvino_backend.OpenVINOBackend(publish(card), "CPU", "int8") as engine,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        together = engine.classify(IMAGES)
        alone = numpy.concatenate([engine.classify(image[None]) for image in IMAGES])
        crowd = list(pool.map(lambda number: engine.classify(IMAGES[number % 3][None])[0], range(90)))
        none = engine.classify(IMAGES[:0])

    assert none.shape == (0, 2)
    assert len(set(together[:, 1].tolist())) == 3
    numpy.testing.assert_array_equal(alone, together)
    numpy.testing.assert_array_equal(crowd, numpy.tile(together, (30, 1)))
    for count in (1, 2):
        with raises(EngineError, "backend_closed"):
            engine.classify(IMAGES[:count])


def test_a_stream_that_fails_is_reported_and_the_next_image_works(card, monkeypatch):
    with openvino_backend.OpenVINOBackend(publish(card), "CPU", "int8") as engine:
        expected = engine.classify(IMAGES)
        with monkeypatch.context() as broken, raises(EngineError, "device_failed"):
            broken.setattr(engine._card.__class__, "input_spec", property(lambda card: Broken()))
            engine.classify(IMAGES)

        assert numpy.array_equal(engine.classify(IMAGES), expected)


class Broken:
    def normalize(self, images):
        return numpy.zeros((1, 7, 7, 3), "float32")


def test_a_demanded_float_speaks_float(card):
    before = opened(card, "Precision=f32")[1]
    publish(card)

    said, answers = opened(card, "Precision=f32")

    assert said == "f32"
    assert numpy.array_equal(answers, before)


def test_auto_means_int8_on_the_cpu_only(card):
    assert int8_files.select_int8(publish(card), "AUTO", "GPU") is None


def test_other_tools_read_the_two_files_by_themselves(card):
    publish(card)

    model = openvino_devices.new_core().read_model(int8_files.int8_paths(card)[0])

    assert [list(port.get_shape()) for port in model.outputs] == [[1, 2]]


def test_another_graph_has_no_int8_form(card):
    publish(card)
    graphs.write(card.path.parent, size=SIZE, threshold=0.4)

    assert opened(card, "Precision=AUTO")[0] != "int8"


@pytest.mark.parametrize("kind", ["xml", "bin"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_file_is_named_and_never_speaks(card, caplog, kind, damage):
    publish(card)
    path = card.path.with_name(f"ALLGraph.int8.{kind}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-1])

    with raises(GraphError, "int8_file"):
        opened(card, "Precision=int8")
    assert opened(card, "Precision=AUTO")[0] in ("f32", "bf16")
    assert f"ALLGraph.int8.{kind}: " in caplog.text


def test_what_is_only_staged_is_not_used(card):
    publish(card, 0)

    int8_files.stage_int8(model_card.load_model_card(card.path), network(card.path.parent.parent, 1))

    numpy.testing.assert_allclose(opened(card, "Precision=int8")[1], other(card, 0), atol=1e-6)
    int8_files.recover_int8(model_card.load_model_card(card.path))
    assert len(files(card)) == 4
    assert opened(card, "Precision=int8")[0] == "int8"


def test_a_stop_right_after_the_card_was_written_is_finished_later(card, monkeypatch):
    publish(card, 0)
    with monkeypatch.context() as patched:
        patched.setattr(int8_files, "recover_int8", lambda card: None)
        publish(card, 1)

    numpy.testing.assert_allclose(opened(card, "Precision=int8")[1], other(card, 1), atol=1e-6)
    int8_files.recover_int8(model_card.load_model_card(card.path))
    assert len(files(card)) == 4
    numpy.testing.assert_allclose(opened(card, "Precision=int8")[1], other(card, 1), atol=1e-6)


def test_a_model_trained_meanwhile_gets_no_int8_form_of_the_old_one(card):
    staged = int8_files.stage_int8(card, network(card.path.parent.parent))
    graphs.write(card.path.parent, content=graphs.frozen("double", 2, SIZE))

    with raises(GraphError, "model_replaced"):
        int8_files.commit_int8(staged)

    assert model_card.load_model_card(card.path).int8 is None


def test_what_was_measured_meanwhile_stays_in_the_card(card):
    staged = int8_files.stage_int8(card, network(card.path.parent.parent))
    model_card.write_model_card(card.path, dataclasses.replace(card, metrics={"engine": "OpenVINO CPU"}))

    int8_files.commit_int8(staged)

    assert model_card.load_model_card(card.path).metrics == {"engine": "OpenVINO CPU"}


@pytest.mark.parametrize("free_bytes", [0, 1000])
def test_a_full_disk_is_reported_and_the_old_form_stays(card, free_bytes):
    card = publish(card, 0)
    model = network(card.path.parent.parent, 1)
    failure = raises(ALLError, "write_failed")
    with faults.full_disk(free_bytes), failure:
        int8_files.stage_int8(card, model)

    numpy.testing.assert_allclose(opened(card, "Precision=int8")[1], other(card, 0), atol=1e-6)


def test_a_card_with_a_wrong_digest_is_rejected(card):
    model_card.write_model_card(card.path, dataclasses.replace(card, int8={"xml_sha256": "0", "bin_sha256": "0" * 64}))

    with raises(GraphError, "card_field"):
        model_card.load_model_card(card.path)


KILLED = """
import pathlib, sys
from Classes.inference import model_card, int8_files, openvino_backend, openvino_devices
folder = pathlib.Path(sys.argv[1])
models = [openvino_backend.read_model(openvino_devices.new_core(), folder / f"other{number}.pb") for number in (0, 1)]
print("begun", flush=True)
while True:
    for model in models:
        card = model_card.load_model_card(folder / "Model" / "ALLGraph.json")
        int8_files.recover_int8(card)
        int8_files.commit_int8(int8_files.stage_int8(card, model))
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_pair_in_use(card):
    publish(card, 0)
    network(card.path.parent.parent, 1)
    wanted = [other(card, middle) for middle in (0, 1)]
    delays = numpy.random.default_rng(7).uniform(0, 0.05, 6)
    for delay in delays:
        command = [sys.executable, "-c", KILLED, str(card.path.parent.parent)]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "begun\n"
            time.sleep(delay)
            process.kill()

        said, answers = opened(card, "Precision=int8")

        assert said == "int8"
        assert any(numpy.allclose(answers, each, atol=1e-6) for each in wanted)


def test_the_service_says_int8_everywhere(card):
    card = publish(card)
    with openvino_backend.OpenVINOBackend(card, "CPU", "AUTO") as engine:
        client = services.client(card.path.parent.parent, backend=engine, card=card)
        picture = services.image(192, SIZE)

        historic, model = client.post("/Inference", data=picture), client.get("/v1/model").get_json()
        metrics = client.get("/metrics").text

    assert historic.get_json()["precision"] == model["precision"] == "int8"
    assert 'precision="int8"' in metrics
    assert model["int8"]["bin_sha256"] == provenance.sha256_file(int8_files.int8_paths(card)[1])


def test_heat_maps_are_those_of_the_graph(card, tmp_path):
    path = graphs.write(tmp_path / "maps" / "Model", size=SIZE, content=graphs.pooled())
    card = model_card.load_model_card(path)
    drawn = [services.client(tmp_path / "maps", card=card).post("/v1/classify?heatmap=1", data=services.image(192))]
    publish(card, 1)
    with openvino_backend.OpenVINOBackend(model_card.load_model_card(path), "CPU", "int8") as engine:
        client = services.client(tmp_path / "maps", backend=engine, card=model_card.load_model_card(path))
        drawn.append(client.post("/v1/classify?heatmap=1", data=services.image(192)))

    first, second = (response.get_json() for response in drawn)
    assert second["precision"] == "int8"
    assert first["heat_map"] == second["heat_map"]


def test_an_export_is_the_float_graph(card):
    publish(card)

    assert model_repository.export_model_repository(graphs.configuration(card.path.parent.parent)) == 0

    version = card.path.parent / "Export" / "all" / "1"
    assert json.loads((version / "card.json").read_text())["int8"] is None
