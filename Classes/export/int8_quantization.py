"""Post-training quantisation of the frozen graph to int8 with NNCF, accepted only where its verdicts stay."""

import dataclasses
import importlib.util
import itertools
import logging
import os
import pathlib
import sys

import numpy

from Classes import Helpers
from Classes.common import atomic_files, provenance
from Classes.common.errors import ALLError, DataError, GraphError
from Classes.dataset import tfrecords
from Classes.evaluation import evaluate, int8_acceptance
from Classes.imaging import decode
from Classes.inference import int8_files, model_card, openvino_backend

# Training images, those that changed most, on which NNCF ranks the layers; they are of RANKING at most.
N_RANKING_IMAGES = 50
RANKING = 300

log = logging.getLogger("Trainer")


def quantize_model(configuration):
    """Write the int8 form of the frozen graph, or refuse it and leave everything as it was.

    Args:
      configuration: Configuration; `QuantizeImages` and `QuantizeMargin` are used.
    Returns:
      exit code 0.
    Raises:
      ALLError: NNCF is missing, another run writes here, or there are no shards.
      GraphError: no model, one of other shards, or the int8 network is refused.
    """
    check_installed()
    card = model_card.load_model_card(configuration.card)
    card.verify()
    manifest = tfrecords.load_manifest(configuration)
    evaluate.check_split_matches_model(card, manifest)
    with atomic_files.folder_lock(configuration.path("LogDir")):
        int8_files.recover_int8(card)
        try:
            chosen = _first_accepted(configuration, card)
            int8_files.commit_int8(chosen)
        finally:
            # What was refused goes; what the card names stays.
            int8_files.recover_int8(model_card.load_model_card(configuration.card))
    log.info("Wrote %s and %s; Precision AUTO and int8 use them from now on.", *int8_files.int8_paths(card))
    log.info("Next: python3 Validation.py, which measures the int8 form as it is served")
    return 0


def check_installed():
    """Raise ALLError where NNCF, which is optional, is missing."""
    if importlib.util.find_spec("nncf") is None:
        file = pathlib.PurePath(Helpers.PROJECT, "Required", "requirements-int8.txt")
        raise ALLError(f"NNCF is not installed; run {sys.executable} -m pip install -r {file}")


def _first_accepted(configuration, card):
    """model_card.ModelCard with the first int8 network that nothing speaks against."""
    images, margin = _training_images(configuration, card), configuration["QuantizeMargin"]
    records = list(tfrecords.iter_records(configuration, "validation"))
    labels, before = engine_outputs(configuration, card, "f32", records)
    if not len(labels):
        raise DataError(f"{configuration.path('DatasetDir')}: no validation images to compare on; run python3 Data.py")
    refusal = "nothing to compare"
    for model, kept in quantized_candidates(configuration, card, images):
        staged = int8_files.stage_int8(card, model)
        after = engine_outputs(configuration, staged, int8_files.INT8, records)[1]
        figures = int8_acceptance.compare_predictions(card, labels, before, after, [record.group for record in records])
        refusal = "; ".join(int8_acceptance.rejection_reasons(figures, margin, configuration["QuantizeProof"]))
        log.info("int8, %d layers kept in float: %s", len(kept), int8_acceptance.format_comparison(figures))
        if not refusal:
            shown = int8_acceptance.shown(figures, margin)
            if not shown:
                log.warning("%s.", int8_acceptance.doubt(figures, margin))
            about = {"calibration_images": len(images), "margin": margin, "shown": shown, "in_float": kept}
            return dataclasses.replace(
                staged, int8={**staged.int8, **figures, **about, "created": provenance.utc_now_iso()}
            )
        log.info("Not accepted: %s.", refusal)
    raise GraphError(
        f"{card.graph_path}: no int8 form of it is accepted: {refusal}; the model stays as it was (QuantizeMargin and "
        "QuantizeImages can be set)"
    )


def _training_images(configuration, card):
    """uint8 [N, S, S, 3]; the shards are in a random order, so the first are as good as any."""
    records = itertools.islice(tfrecords.iter_records(configuration, "train"), configuration["QuantizeImages"])
    images = [_prepare(configuration, card, record) for record in records]
    if not images:
        raise DataError(f"{configuration.path('DatasetDir')}: no training images to quantise with; run python3 Data.py")
    return numpy.stack(images)


def _prepare(configuration, card, record):
    return card.input_spec.decode_and_resize(record.encoded, decode.decode_limits(configuration))


def _ranking_records(configuration):
    """Training records on which layers are ranked: others than those int8 is fitted to, if there are enough."""
    records = list(
        itertools.islice(tfrecords.iter_records(configuration, "train"), configuration["QuantizeImages"] + RANKING)
    )
    rest = records[configuration["QuantizeImages"] :]
    return rest if len(rest) >= N_RANKING_IMAGES else records[-RANKING:]


def engine_outputs(configuration, card, precision, records):
    """What the serving engine says to images.

    Args:
      configuration: Configuration.
      card: model_card.ModelCard.
      precision: f32 or int8.
      records: list of tfrecords.Record.
    Returns:
      (labels int [N], probabilities float32 [N, classes]).
    """
    labels, found = [], [numpy.zeros((0, len(card.classes)), "float32")]
    with openvino_backend.OpenVINOBackend(card, "CPU", precision) as engine:
        for record in Helpers.progress(records, desc=f"Comparison {precision}", unit="image"):
            labels.append(record.label)
            found.append(engine.classify(_prepare(configuration, card, record)[None]))
    return numpy.array(labels, int), numpy.concatenate(found)


def quantized_candidates(configuration, card, images):
    """The frozen graph in int8: first all of it, then with those layers in float that NNCF finds to cost most.

    Layers are ranked on training images, so that the validation images, which accept or refuse, choose none of them.

    Args:
      configuration: Configuration.
      card: model_card.ModelCard.
      images: uint8 [N, S, S, 3], training images.
    Yields:
      (openvino.Model, names of the layers in float).
    """
    nncf = _import_nncf()
    log.info("Quantising with %d training images.", len(images))
    dataset = nncf.Dataset(images, lambda image: card.input_spec.normalize(image[None]))
    core = openvino_backend.new_core()
    graph = openvino_backend.read_model(core, card.graph_path)
    model = nncf.quantize(graph, dataset, subset_size=len(images))
    yield model, float_layers(model)
    log.info("Looking for the layers to keep in float; this takes some minutes.")
    records = _ranking_records(configuration)
    labels, before = engine_outputs(configuration, card, "f32", records)

    def shown(item):
        return card.input_spec.normalize(_prepare(configuration, card, item[1])[None])

    def loss(compiled, items):
        return _ranking_score(
            card, labels, before, ((number, compiled([shown((number, record))])[0]) for number, record in items)
        )

    numbered = list(enumerate(records))
    lost = 1 - loss(core.compile_model(model, "CPU"), numbered)[0]
    model = nncf.quantize_with_accuracy_control(
        graph,
        dataset,
        nncf.Dataset(numbered, shown),
        loss,
        # The network was trained on these images, so that next to no prediction changes; the probabilities do.
        max_drop=lost / 2,
        subset_size=len(images),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=N_RANKING_IMAGES
        ),
    )
    yield model, float_layers(model)


def float_layers(model):
    """Names of the convolutions of an int8 network that are not quantised: their weights are plain numbers."""
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convolution" and node.input_value(1).get_node().get_type_name() == "Constant"
    ]


def _ranking_score(card, labels, before, answers):
    """What NNCF is to keep up: (1 if nothing is lost, else less; 0 or less for each image).

    Args:
      answers: iterable of (number of the image, float32 [1, classes]).
    """
    numbers, found = zip(*((number, answer.reshape(-1).copy()) for number, answer in answers), strict=True)
    expected = before[list(numbers)]
    figures = int8_acceptance.compare_predictions(card, labels[list(numbers)], expected, found)
    falls = [old - new for old, new in (figures["accuracy"], figures["roc_auc"]) if old is not None]
    moved = abs(expected - numpy.array(found)).max(axis=1)
    # NNCF divides by what the float network has, which therefore is not 0.
    lost = max(0, *falls) + figures["confident_flips"] + float(moved.mean())
    return 1 - lost, [-float(each) for each in moved]


def _import_nncf():
    """NNCF, which neither reports its use over the network nor writes a log of its own."""
    os.environ.setdefault("NNCF_CI", "1")
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf
