"""Quantize the frozen graph to int8 with NNCF after training; accept it only if its predictions stay the same."""

import collections.abc
import dataclasses
import importlib.util
import itertools
import logging
import os
import pathlib
import sys
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import json_files, locks, provenance, terminal, translation
from Classes.common.errors import ALLError, DataError, GraphError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import tfrecords
from Classes.evaluation import cell_types, evaluate, int8_acceptance
from Classes.Helpers import Configuration
from Classes.imaging import decode
from Classes.inference import int8_files, model_card, openvino_backend, openvino_devices

# NNCF ranks the layers on the N_RANKING_IMAGES training images whose probabilities change most, out of at most
# N_RANKING_CANDIDATES.
N_RANKING_IMAGES = 50
N_RANKING_CANDIDATES = 300

# Bytes of a graph below which the exact correction of the biases takes minutes, not hours.
SMALL = 10_000_000

log = logging.getLogger("Trainer")


def quantize_model(configuration: Configuration) -> int:
    """Write the int8 form of the frozen graph, or reject it and change nothing; return exit code 0.

    Args:
      configuration: uses `QuantizeImages`, `QuantizeMargin` and `QuantizeProof`.
    Raises:
      ALLError: `nncf_missing`, or another run writes to `LogDir`, or there are no shards.
      DataError: `no_images` for quantization or comparison.
      GraphError: no model, a model of other shards, or `int8_rejected`.
    """
    check_nncf_installed()
    card = model_card.load_model_card(configuration.card, cell_types=True)
    card.verify_graph()
    manifest = tfrecords.load_manifest(configuration)
    evaluate.check_split_matches_model(card, manifest)
    with locks.folder_lock(configuration.path("LogDir")):
        int8_files.recover_int8(card)
        try:
            accepted = _first_accepted(configuration, card)
            int8_files.commit_int8(accepted)
        finally:
            # Remove the files of a rejected model; keep those that the card names.
            int8_files.recover_int8(model_card.load_model_card(configuration.card, cell_types=True))
    log.info("Wrote %s and %s, which Precision AUTO and int8 use from now on.", *int8_files.int8_paths(card))
    log.info("Next: python3 Validation.py, which evaluates the int8 model")
    terminal.show_end(
        _("The int8 model is accepted. It is used from now on."),
        [(_("Model"), path) for path in int8_files.int8_paths(card)],
        "python3 Validation.py",
    )
    return 0


def check_nncf_installed() -> None:
    """Raise ALLError if NNCF, which is optional, is not installed."""
    if importlib.util.find_spec("nncf") is None:
        file = pathlib.PurePath(Helpers.PROJECT, "Required", "requirements-int8.txt")
        raise ALLError(
            Message(
                "NNCF is not installed. Run {executable} -m pip install -r {file}", executable=sys.executable, file=file
            ),
            "nncf_missing",
        )


def _first_accepted(configuration: Configuration, card: model_card.ModelCard) -> model_card.ModelCard:
    """Return the model card with the first int8 candidate that is accepted."""
    images, margin = _training_images(configuration, card), configuration["QuantizeMargin"]
    records = [*tfrecords.iter_records(configuration, "validation"), *_unseen_cells(configuration, card)]
    labels, before = backend_outputs(configuration, card, "f32", records)
    if not len(labels):
        raise DataError(
            Message(
                "{path}: no validation images for a comparison. Run python3 Data.py.",
                path=configuration.path("DatasetDir"),
            ),
            "no_images",
        )
    reasons = ""
    for model, float_names in quantized_candidates(configuration, card, images):
        staged = int8_files.stage_int8(card, model)
        after = backend_outputs(configuration, staged, int8_files.INT8, records)[1]
        groups = [record.group for record in records]
        comparison = int8_acceptance.compare_predictions(card, labels, before, after, groups)
        reasons = translation.join(
            "; ", int8_acceptance.rejection_reasons(comparison, margin, configuration["QuantizeProof"])
        )
        log.info("int8, %d layers kept in float: %s", len(float_names), int8_acceptance.format_comparison(comparison))
        if not reasons:
            proven = int8_acceptance.is_non_inferior(comparison, margin)
            if not proven:
                log.warning("%s.", int8_acceptance.missing_proof(comparison, margin))
            about = {"calibration_images": len(images), "margin": margin, "shown": proven, "in_float": float_names}
            about["manifest_sha256"] = tfrecords.load_manifest(configuration).sha256
            created = provenance.utc_now_iso()
            return dataclasses.replace(staged, int8={**(staged.int8 or {}), **comparison, **about, "created": created})
        log.info("Rejected: %s.", reasons)
    raise GraphError(
        Message(
            "{graph_path}: no int8 form is accepted ({reasons}), and the model is unchanged. "
            "QuantizeMargin and QuantizeImages can be set.",
            graph_path=card.graph_path,
            reasons=reasons or Message("there is none"),
        ),
        "int8_rejected",
    )


def _unseen_cells(configuration: Configuration, card: model_card.ModelCard) -> list[tfrecords.Record]:
    """Return the test images of a model of cell types, which name their type; none for other models.

    More images make the comparison more certain. Images of which only the group is known are left out.
    """
    if card.positive:
        return []
    prefix = f"/{configuration.path('TestImagePath').name}/"
    found = []
    for row in json_files.read_json(tfrecords.manifest_path(configuration)).get("tests", []):
        path = configuration.path("TestImagePath") / row["file"].removeprefix(prefix)
        label = cell_types.label_of(path.name)
        if label in card.classes and path.is_file():
            encoded, number = path.read_bytes(), card.classes.index(label)
            found.append(tfrecords.Record(encoded, "", number, 0, 0, row["file"], row["group"], row["sha256"]))
    return found


def _training_images(configuration: Configuration, card: model_card.ModelCard) -> numpy.ndarray:
    """Return uint8 [N, S, S, 3]; the shards are shuffled, so the first images are a random sample."""
    records = itertools.islice(tfrecords.iter_records(configuration, "train"), configuration["QuantizeImages"])
    images = [_decode(configuration, card, record) for record in records]
    if not images:
        raise DataError(
            Message(
                "{path}: no training images for quantization. Run python3 Data.py.",
                path=configuration.path("DatasetDir"),
            ),
            "no_images",
        )
    return numpy.stack(images)


def _decode(configuration: Configuration, card: model_card.ModelCard, record: tfrecords.Record) -> numpy.ndarray:
    return card.input_spec.decode_and_resize(record.encoded, decode.decode_limits(configuration))


def ranking_records(configuration: Configuration) -> list[tfrecords.Record]:
    """Return training records for ranking layers, if possible other images than those used for quantization."""
    used = configuration["QuantizeImages"]
    records = list(itertools.islice(tfrecords.iter_records(configuration, "train"), used + N_RANKING_CANDIDATES))
    others = records[used:]
    return others if len(others) >= N_RANKING_IMAGES else records[-N_RANKING_CANDIDATES:]


def backend_outputs(
    configuration: Configuration, card: model_card.ModelCard, precision: str, records: list[tfrecords.Record]
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return labels, int [N], and probabilities, float32 [N, classes], of the OpenVINO backend in f32 or int8."""
    labels, outputs = [], [numpy.zeros((0, len(card.classes)), "float32")]
    with openvino_backend.OpenVINOBackend(card, "CPU", precision) as inference_backend:
        for record in Helpers.progress(records, desc=f"Comparison {precision}", unit="image"):
            labels.append(record.label)
            outputs.append(inference_backend.classify(_decode(configuration, card, record)[None]))
    return numpy.array(labels, int), numpy.concatenate(outputs)


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
    log.info("Looking for the layers to keep in float. This takes some minutes.")
    terminal.say(_("Looking for the layers to keep in float. This takes some minutes."))
    records = ranking_records(configuration)
    labels, before = backend_outputs(configuration, card, "f32", records)

    def network_input(item: tuple[int, tfrecords.Record]) -> numpy.ndarray:
        return card.input_spec.normalize(_decode(configuration, card, item[1])[None])

    def score(compiled: Any, items: collections.abc.Iterable) -> tuple[float, list[float]]:
        outputs = ((number, compiled([network_input((number, record))])[0]) for number, record in items)
        return ranking_score(card, labels, before, outputs)

    numbered = list(enumerate(records))
    loss = 1 - score(core.compile_model(model, "CPU"), numbered)[0]
    model = nncf.quantize_with_accuracy_control(
        graph,
        dataset,
        nncf.Dataset(numbered, network_input),
        score,
        # The network was trained on these images, so almost no prediction changes, but the probabilities do.
        max_drop=loss / 2,
        subset_size=len(images),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=N_RANKING_IMAGES
        ),
    )
    yield model, float_layers(model)


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
