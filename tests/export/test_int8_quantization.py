"""Trainer.py Quantize: what is accepted, what is refused, and, where NNCF is installed, NNCF itself."""

import importlib.util

import numpy
import openvino
import pytest
from openvino import opset13

import Trainer
from Classes.common import provenance
from Classes.common.errors import ALLError, DataError, GraphError
from Classes.dataset import shard_writer, tfrecords
from Classes.evaluation import int8_acceptance
from Classes.export import freeze_graph, int8_candidates, int8_quantization
from Classes.inference import device_selection, int8_files, model_card, openvino_backend, openvino_devices
from tests.evaluation.test_evaluate import VALIDATION, build, item
from tests.support import graphs, small_networks, smears
from tests.support.errors import raises
from tests.support.processes import held

needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="NNCF, which is optional, is missing")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project whose graph's answers are graphs.RED; NNCF counts as installed."""
    monkeypatch.setattr(int8_quantization, "check_nncf_installed", lambda: None)
    build(tmp_path, VALIDATION)
    return tmp_path


def reader(slope, shift):
    """openvino.Model whose probability of class 1 is sigmoid(slope * red + shift), red from -1 to 1; RED's is 4, 0."""
    image = opset13.parameter([1, 299, 299, 3], name="input")
    image.output(0).set_names({"input:0"})
    mean = opset13.reduce_mean(image, numpy.array([1, 2]))
    weights, biases = numpy.zeros((3, 2), "float32"), numpy.array([0, shift], "float32")
    weights[0, 1] = slope
    answer = opset13.softmax(opset13.add(opset13.matmul(mean, weights, False, False), biases), 1)
    answer.output(0).set_names({f"{graphs.OUTPUT}:0"})
    return openvino.Model([answer], [image])


SAME, SHIFTED, TURNED, SURELY_TURNED = reader(4, 0.1), reader(4, -1.2), reader(-4, 0), reader(4, 5)


@pytest.fixture
def offered(monkeypatch):
    """Sets what NNCF is to make: models, or an exception in their place."""

    def offer(*models):
        def networks(configuration, card, images):
            for number, model in enumerate(models):
                if isinstance(model, BaseException):
                    raise model
                yield model, [f"layer{kept}" for kept in range(number)]

        monkeypatch.setattr(int8_candidates, "quantized_candidates", networks)

    return offer


def card_of(folder):
    return model_card.load_model_card(folder / "Model" / "ALLGraph.json")


def quantize(folder, *settings):
    return int8_quantization.quantize_model(graphs.configuration(folder, *settings))


def opened(folder):
    """(precision, probability of ALL for a red of 160) as AUTO opens it."""
    with device_selection.open_backend(graphs.configuration(folder, "Precision=AUTO"), card_of(folder)) as engine:
        return engine.precision, float(engine.classify(graphs.red(160)[None])[0, 1])


def files(folder):
    return {path.name for path in (folder / "Model").iterdir() if path.is_file() and path.name != ".lock"}


def test_a_model_with_the_same_predictions_is_accepted_and_used(folder, offered):
    offered(SAME)

    assert quantize(folder) == 0

    assert files(folder) == {"ALLGraph.pb", "ALLGraph.json", "ALLGraph.int8.xml", "ALLGraph.int8.bin"}
    precision, probability = opened(folder)
    assert precision == "int8"
    # sigmoid(4 * 32 / 128 + 0.1)
    assert probability == pytest.approx(0.750260, abs=1e-5)


def test_the_model_card_has_the_comparison(folder, offered):
    offered(SAME)
    quantize(folder)

    found = card_of(folder).int8

    # Five of seven are right; of the twelve pairs of both classes one is out of order and one is a tie.
    assert found["images"] == 7
    assert found["accuracy"] == pytest.approx([5 / 7, 5 / 7])
    assert found["roc_auc"] == pytest.approx([10.5 / 12, 10.5 / 12])
    assert (found["flips"], found["confident_flips"]) == (0, 0)
    # Red 96 and 160 are nearest to one half: sigmoid(-0.9) - sigmoid(-1).
    assert found["largest_difference"] == pytest.approx(0.020109, abs=1e-4)
    assert (found["calibration_images"], found["margin"], found["in_float"]) == (2, 0.005, [])
    assert found["shown"] is False


def test_too_few_images_cause_a_warning_or_a_rejection(folder, offered, caplog):
    offered(SAME)
    with pytest.raises(GraphError):
        quantize(folder, "QuantizeProof=true")
    assert files(folder) == {"ALLGraph.pb", "ALLGraph.json"}

    quantize(folder)

    doubt = int8_acceptance.missing_proof(card_of(folder).int8, 0.005)
    assert any(doubt in each.getMessage() for each in caplog.records if each.levelname == "WARNING")
    # 7 images of 4 groups show that no more than every image is wrong.
    quantize(folder, "QuantizeProof=true", "QuantizeMargin=1")
    assert card_of(folder).int8["shown"] is True


def test_an_impossible_proof_is_refused_before_anything_is_quantized(tmp_path, offered, monkeypatch):
    monkeypatch.setattr(int8_quantization, "check_nncf_installed", lambda: None)
    # Red below 128 is healthy, so that the float model has no error to mend.
    build(tmp_path, [("0", 32), ("1", 224), ("0", 64), ("1", 192)])
    offered(AssertionError("quantized"))
    with raises(GraphError, "int8_rejected"):
        quantize(tmp_path, "QuantizeProof=true")


@pytest.mark.slow
def test_layers_are_kept_in_float_until_the_model_is_accepted(folder, offered):
    offered(TURNED, SURELY_TURNED, SAME)

    assert quantize(folder) == 0

    assert card_of(folder).int8["in_float"] == ["layer0", "layer1"]
    assert opened(folder)[1] == pytest.approx(0.750260, abs=1e-5)


@pytest.mark.parametrize("model", [TURNED, SURELY_TURNED])
def test_a_model_with_other_predictions_is_rejected(folder, offered, model):
    offered(model)
    before = (folder / "Model" / "ALLGraph.json").read_bytes()

    with pytest.raises(GraphError) as error:
        quantize(folder)

    assert error.value.code == "int8_rejected"

    assert files(folder) == {"ALLGraph.pb", "ALLGraph.json"}
    assert (folder / "Model" / "ALLGraph.json").read_bytes() == before


def test_the_margin_is_that_of_the_configuration(folder, offered):
    offered(reader(4, -1.2))
    quantize(folder)
    # Red 160 is no longer ALL: one correct and one wrong prediction change.
    assert card_of(folder).int8["flips"] == 2

    offered(TURNED)
    with pytest.raises(GraphError) as error:
        quantize(folder, "QuantizeMargin=1")
    assert error.value.code == "int8_rejected"


@pytest.mark.slow
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), MemoryError(), GraphError("no"), TURNED])
def test_an_interrupted_run_keeps_the_former_model(folder, offered, stop):
    offered(SAME)
    quantize(folder)
    before = {name: (folder / "Model" / name).read_bytes() for name in files(folder)}

    offered(TURNED, stop)
    with pytest.raises((KeyboardInterrupt, MemoryError, GraphError)):
        quantize(folder)

    assert {name: (folder / "Model" / name).read_bytes() for name in files(folder)} == before
    assert opened(folder)[0] == "int8"


def test_a_run_after_a_killed_one_succeeds(folder, offered):
    int8_files.stage_int8(card_of(folder), TURNED)

    offered(SAME)
    quantize(folder)

    assert len(files(folder)) == 4
    assert opened(folder)[0] == "int8"


def test_only_one_run_at_a_time(folder, offered):
    offered(SAME)
    with (
        held(folder / "Model" / "_logs"),
        raises(ALLError, "folder_in_use"),
    ):
        quantize(folder)


def test_a_model_of_other_shards_is_rejected(folder, offered):
    offered(SAME)
    build(folder, VALIDATION, data={"manifest_sha256": "0" * 64})

    with pytest.raises(GraphError) as error:
        quantize(folder)
    assert error.value.code == "other_shards"


def test_without_validation_images_nothing_is_quantized(folder, offered):
    build(folder, [])
    offered(AssertionError("must not be quantized"))

    with pytest.raises(DataError) as error:
        quantize(folder)
    assert error.value.code == "no_images"


def test_without_training_images_nothing_is_quantized(folder, offered):
    splits = {"train": [], "validation": [item(folder, "validation", 0, "1", 128)]}
    manifest = shard_writer.write_shards(
        graphs.configuration(folder), splits, {"classes": ["0", "1"], "synthetic": False}
    )
    graphs.write(folder / "Model", data={"manifest_sha256": manifest.sha256})
    offered(SAME)

    with pytest.raises(DataError) as error:
        quantize(folder)
    assert error.value.code == "no_images"


def test_without_a_model(folder):
    with raises(GraphError, "no_model"):
        quantize(folder / "elsewhere")


def test_nncf_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with raises(ALLError, "nncf_missing"):
        quantize(tmp_path)


def test_the_command_line(folder, offered, capsys):
    offered(SAME)

    assert Trainer.main(["Quantize", "--set", f"NetworkPath={folder}"]) == 0

    printed = capsys.readouterr().out
    assert "7 images: accuracy 0.7143 -> 0.7143, ROC AUC 0.8750 -> 0.8750, " in printed
    assert "0 predictions change" in printed
    assert "Next: python3 Validation.py" in printed


@pytest.fixture
def small(tmp_path):
    """A project with the narrow real network and 12 smears."""
    content = freeze_graph.build_frozen_graph(
        small_networks.configuration(tmp_path), small_networks.arrays()
    ).SerializeToString()
    items = []
    for number in range(12):
        image = smears.png(smears.cell(number % 2, number))
        made = item(tmp_path, "any", number, str(number % 2), 128)
        made.path.write_bytes(image)
        made.sha256, made.size, made.width, made.height = provenance.sha256_file(made.path), len(image), 80, 80
        items.append(made)
    configuration = small_networks.configuration(tmp_path, "Precision=AUTO", "Shards=2", "QuantizeMargin=1")
    splits = {"train": items[:8], "validation": items[8:]}
    configuration.path("DatasetDir").mkdir(parents=True)
    manifest = shard_writer.write_shards(configuration, splits, {"classes": ["0", "1"], "synthetic": True})
    data = {"manifest_sha256": manifest.sha256}
    graphs.write(tmp_path / "Model", size=small_networks.SIZE, content=content, data=data, threshold=0.0)
    return configuration


def test_layers_are_ranked_on_training_images_not_used_for_quantization(folder, monkeypatch):
    splits = {
        "train": [item(folder, "train", number, "1", 128) for number in range(70)],
        "validation": [item(folder, "validation", 0, "0", 128)],
    }
    manifest = shard_writer.write_shards(
        graphs.configuration(folder), splits, {"classes": ["0", "1"], "synthetic": False}
    )
    configuration = graphs.configuration(folder, "QuantizeImages=15")

    def digests(records):
        return {record.sha256 for record in records}

    every = digests(each for each in tfrecords.iter_records(configuration, "train"))
    fitted = digests(list(tfrecords.iter_records(configuration, "train"))[:15])

    assert digests(int8_candidates.ranking_records(configuration)) == every - fitted
    assert len(manifest.splits["train"]) == 70
    # Too few are left, so that all are taken; validation images never are.
    assert digests(int8_candidates.ranking_records(graphs.configuration(folder, "QuantizeImages=60"))) == every


@needs_nncf
def test_nncf_quantizes_the_real_network(small):
    assert int8_quantization.quantize_model(small) == 0

    card = model_card.load_model_card(small.card)
    model = openvino_backend.read_model(openvino_devices.new_core(), *int8_files.locate_int8(card))
    kinds = {
        str(node.get_output_element_type(0)) for node in model.get_ordered_ops() if node.get_type_name() == "Constant"
    }
    assert "<Type: 'int8_t'>" in kinds
    assert card.int8["calibration_images"] == 8
    assert card.int8["in_float"] == []
    assert 0 < card.int8["largest_difference"] < 0.2
    with device_selection.open_backend(small, card) as engine:
        assert engine.precision == "int8"


def test_float_layers_are_recognized(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(
        freeze_graph.build_frozen_graph(
            small_networks.configuration(tmp_path), small_networks.arrays()
        ).SerializeToString()
    )
    model = openvino_backend.read_model(openvino_devices.new_core(), path)

    names = int8_candidates.float_layers(model)

    assert len(names) == 95


def test_float16_weights_are_unpacked_without_a_change():
    image = opset13.parameter([1, 3], name="input")
    weights = opset13.constant(numpy.array([[0.1], [0.2], [0.3]], "float16"))
    model = openvino.Model([opset13.matmul(image, opset13.convert(weights, "f32"), False, False)], [image])
    pixels = numpy.array([[1, 2, 4]], "float32")
    before = openvino.compile_model(model, "CPU")([pixels])[0]

    int8_candidates.unpack_weights(model)

    assert {node.get_type_name() for node in model.get_ordered_ops()} == {"Parameter", "Constant", "MatMul", "Result"}
    assert openvino.compile_model(model, "CPU")([pixels])[0] == before


def test_the_score_that_nncf_maximizes(folder):
    card = card_of(folder)
    configuration = graphs.configuration(folder)
    records = list(tfrecords.iter_records(configuration, "validation"))
    labels, before = int8_candidates.backend_outputs(configuration, card, "f32", records)

    # What SURELY_TURNED says to the last image.
    loss, values = int8_candidates.ranking_score(
        card, labels, before, [(6, numpy.array([[0.268941, 0.731059]], "float32"))]
    )

    # The last image is black and healthy: a sure sigmoid(-4) becomes sigmoid(1), and accuracy falls by all it had.
    assert loss == pytest.approx(1 - 1 - 1 - (0.731059 - 0.017986), abs=1e-5)
    assert values == pytest.approx([-(0.731059 - 0.017986)], abs=1e-5)
