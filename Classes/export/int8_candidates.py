"""Quantize a frozen graph to int8 with NNCF: all layers, or all except those that would change the predictions."""

import collections.abc
import itertools
import logging
import math
import os
import time
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import terminal
from Classes.common.translation import gettext as _
from Classes.dataset import tfrecords
from Classes.evaluation import int8_acceptance
from Classes.Helpers import Configuration
from Classes.imaging import decode
from Classes.inference import model_card, openvino_backend, openvino_devices

# NNCF ranks the layers on the N_RANKING_IMAGES training images whose probabilities change most, out of at most
# N_RANKING_CANDIDATES.
N_RANKING_IMAGES = 50
N_RANKING_CANDIDATES = 300

# Models that are compiled at the same time, which takes one core each; their ranks do not depend on it.
RANKING_WORKERS = 2

# Bytes of a graph below which the exact correction of the biases takes minutes, not hours.
SMALL = 10_000_000

log = logging.getLogger("Trainer")


def quantized_candidates(
    configuration: Configuration, card: model_card.ModelCard, images: numpy.ndarray
) -> collections.abc.Iterator[tuple[Any, list[str]]]:
    """Yield the frozen graph in int8: all layers, a small graph with exact biases, the most damaging layers in float.

    Layers are ranked on training images, because the validation images decide about acceptance.

    Args:
      configuration: Configuration.
      card: model card.
      images: uint8 [N, S, S, 3], training images.
    Yields:
      (openvino.Model, names of the layers in float).
    """
    nncf = _import_nncf()
    log.info("Quantizing with %d training images.", len(images))
    terminal.say(_("Quantizing with {count} training images.").format(count=len(images)))
    dataset = nncf.Dataset(images, lambda image: card.input_spec.normalize(image[None]))
    core = openvino_devices.new_core()
    graph = openvino_backend.read_model(core, card.graph_path)
    unpack_weights(graph)
    model = nncf.quantize(graph, dataset, subset_size=len(images))
    yield model, float_layers(model)
    if card.graph_path.stat().st_size < SMALL:
        preset = nncf.QuantizationPreset.MIXED
        model = nncf.quantize(graph, dataset, preset=preset, subset_size=len(images), fast_bias_correction=False)
        yield model, float_layers(model)
    yield _quantize_with_exceptions(configuration, card, graph, dataset, model)


def _quantize_with_exceptions(
    configuration: Configuration, card: model_card.ModelCard, graph: Any, dataset: Any, model: Any
) -> tuple[Any, list[str]]:
    """Return the graph in int8, except for the layers that change the predictions most, and the names of these.

    Args:
      configuration: Configuration.
      card: model card.
      graph: openvino.Model in float.
      dataset: nncf.Dataset of training images.
      model: openvino.Model in which all layers are in int8.
    """
    import nncf

    core = openvino_devices.new_core()
    records = ranking_records(configuration)
    labels, before = backend_outputs(configuration, card, "f32", records)
    # Decoded once, because each layer is judged by them.
    images = [decode_record(configuration, card, record) for record in records]

    def network_input(item: tuple[int, numpy.ndarray]) -> numpy.ndarray:
        return card.input_spec.normalize(item[1][None])

    def score(compiled: Any, items: collections.abc.Iterable) -> tuple[float, list[float]]:
        outputs = ((number, compiled([network_input((number, image))])[0]) for number, image in items)
        return ranking_score(card, labels, before, outputs)

    numbered = list(enumerate(images))
    began = time.perf_counter()
    quantized = core.compile_model(model, "CPU")
    compiled = time.perf_counter()
    loss = 1 - score(quantized, numbered)[0]
    scored = (time.perf_counter() - compiled) / len(numbered) * min(N_RANKING_IMAGES, len(numbered))
    _announce_ranking(model, compiled - began + scored)
    found = nncf.quantize_with_accuracy_control(
        graph,
        dataset,
        nncf.Dataset(numbered, network_input),
        score,
        # The network was trained on these images, so almost no prediction changes, but the probabilities do.
        max_drop=loss / 2,
        subset_size=dataset.get_length(),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=N_RANKING_IMAGES, num_ranking_workers=min(RANKING_WORKERS, configuration.workers)
        ),
    )
    return found, float_layers(found)


def _announce_ranking(model: Any, seconds: float) -> None:
    """Say how long the search will take.

    Args:
      model: openvino.Model in int8.
      seconds: for compiling it and scoring the images of one layer.
    """
    layers = sum(node.get_type_name() == "Convolution" for node in model.get_ordered_ops())
    minutes = max(1, math.ceil(layers * seconds / 60))
    log.info("Looking for the layers to keep in float. A round takes up to %d min; there are several.", minutes)
    line = _("Looking for the layers to keep in float. A round takes up to {minutes} min; there are several.")
    terminal.say(line.format(minutes=minutes))


def ranking_records(configuration: Configuration) -> list[tfrecords.Record]:
    """Return training records for ranking layers, if possible other images than those used for quantization."""
    used = configuration["QuantizeImages"]
    records = list(itertools.islice(tfrecords.iter_records(configuration, "train"), used + N_RANKING_CANDIDATES))
    others = records[used:]
    return others if len(others) >= N_RANKING_IMAGES else records[-N_RANKING_CANDIDATES:]


def backend_outputs(
    configuration: Configuration,
    card: model_card.ModelCard,
    precision: str,
    records: collections.abc.Iterable[tfrecords.Record],
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return labels, int [N], and probabilities, float32 [N, classes], of the OpenVINO backend in f32 or int8."""
    labels, outputs = [], [numpy.zeros((0, len(card.classes)), "float32")]
    with openvino_backend.OpenVINOBackend(card, "CPU", precision) as inference_backend:
        for record in Helpers.progress(records, desc=f"Comparison {precision}", unit="image"):
            labels.append(record.label)
            outputs.append(inference_backend.classify(decode_record(configuration, card, record)[None]))
    return numpy.array(labels, int), numpy.concatenate(outputs)


def decode_record(configuration: Configuration, card: model_card.ModelCard, record: tfrecords.Record) -> numpy.ndarray:
    """Return the image of a record as the network takes it, uint8 [S, S, 3]."""
    return card.input_spec.decode_and_resize(record.encoded, decode.decode_limits(configuration))


def unpack_weights(model: Any) -> None:
    """Replace the float16 weights of a compact graph by float32, so that their int8 form is stored in eight bits."""
    from openvino import opset13

    for node in model.get_ordered_ops():
        weights = node.input_value(0).get_node() if node.get_type_name() == "Convert" else None
        if weights is not None and weights.get_type_name() == "Constant":
            unpacked = opset13.constant(weights.data.astype("float32")).output(0)
            for target in node.output(0).get_target_inputs():
                target.replace_source_output(unpacked)


def float_layers(model: Any) -> list[str]:
    """Return the names of the convolutions of an int8 model that are not quantized: their weights are constants."""
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convolution" and node.input_value(1).get_node().get_type_name() == "Constant"
    ]


def ranking_score(
    card: model_card.ModelCard,
    labels: numpy.ndarray,
    before: numpy.ndarray,
    outputs: collections.abc.Iterable[tuple[int, numpy.ndarray]],
) -> tuple[float, list[float]]:
    """Return the score that NNCF maximizes: (at most 1, at most 0 for each image).

    Args:
      card: model card.
      labels: int [N].
      before: float32 [N, classes], probabilities in float32.
      outputs: (index of the image, float32 [1, classes]).
    """
    numbers, after = zip(*((number, output.reshape(-1).copy()) for number, output in outputs), strict=True)
    expected = before[list(numbers)]
    comparison = int8_acceptance.compare_predictions(card, labels[list(numbers)], expected, after)
    losses = [old - new for old, new in (comparison["accuracy"], comparison["roc_auc"]) if old is not None]
    moved = abs(expected - numpy.array(after)).max(axis=1)
    # NNCF divides by the score of the float model, which must not be 0.
    loss = max(0, *losses) + comparison["confident_flips"] + float(moved.mean())
    return 1 - loss, [-float(each) for each in moved]


def _import_nncf() -> Any:
    """Import NNCF without its telemetry and its own log."""
    os.environ.setdefault("NNCF_CI", "1")
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf
