"""Quantize the frozen graph to int8 with NNCF after training; accept it only if its predictions stay the same."""

import collections.abc
import dataclasses
import importlib.util
import itertools
import logging
import pathlib
import sys
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import json_files, locks, provenance, terminal, translation
from Classes.common.errors import ALLError, DataError, GraphError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import manifest_rows, tfrecords
from Classes.evaluation import cell_types, evaluate, int8_acceptance
from Classes.export import int8_candidates
from Classes.Helpers import Configuration
from Classes.inference import int8_files, model_card

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


class ComparisonRecords:
    """The images that decide about an int8 model, read from their files each time.

    They are the validation images and, of a model of cell types, the test images that name their type: more images make
    the comparison more certain. Test images whose type is unknown, but not their group, are left out.

    Attributes:
      groups: of each image, a source image or patient.
    """

    def __init__(self, configuration: Configuration, card: model_card.ModelCard) -> None:
        self._configuration = configuration
        manifest = json_files.read_json(tfrecords.manifest_path(configuration), manifest_rows.pack_row)
        tests = [] if card.positive else manifest.get("tests", [])
        self._tests = [(path, label, row) for row in tests for path, label in self._find_test(card, row)]
        rows = manifest_rows.ManifestRows(manifest["splits"]["validation"])
        self.groups = [row["group"] for row in rows] + [row["group"] for _, _, row in self._tests]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> collections.abc.Iterator[tfrecords.Record]:
        yield from tfrecords.iter_records(self._configuration, "validation")
        for path, label, row in self._tests:
            yield tfrecords.Record(path.read_bytes(), "", label, 0, 0, row["file"], row["group"], row["sha256"])

    def _find_test(
        self, card: model_card.ModelCard, row: dict[str, Any]
    ) -> collections.abc.Iterator[tuple[pathlib.Path, int]]:
        """Yield the file and the label of a test image, if it exists and its label is known."""
        folder = self._configuration.path("TestImagePath")
        path = folder / row["file"].removeprefix(f"/{folder.name}/")
        label = cell_types.label_of(path.name)
        if label in card.classes and path.is_file():
            yield path, card.classes.index(label)


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
    records = ComparisonRecords(configuration, card)
    labels, before = int8_candidates.backend_outputs(configuration, card, "f32", records)
    if not len(labels):
        raise DataError(
            Message(
                "{path}: no validation images for a comparison. Run python3 Data.py.",
                path=configuration.path("DatasetDir"),
            ),
            "no_images",
        )
    unchanged = int8_acceptance.compare_predictions(card, labels, before, before, records.groups)
    _reject_if_hopeless(configuration, card, unchanged)
    reasons = ""
    for model, float_names in int8_candidates.quantized_candidates(configuration, card, images):
        staged = int8_files.stage_int8(card, model)
        after = int8_candidates.backend_outputs(configuration, staged, int8_files.INT8, records)[1]
        comparison = int8_acceptance.compare_predictions(card, labels, before, after, records.groups)
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
    raise _rejected(card, reasons or Message("there is none"))


def _reject_if_hopeless(configuration: Configuration, card: model_card.ModelCard, unchanged: dict[str, Any]) -> None:
    """Raise the error before the first quantization if `QuantizeProof` is impossible with these images."""
    margin = configuration["QuantizeMargin"]
    if configuration["QuantizeProof"] and int8_acceptance.is_hopeless(unchanged, margin):
        raise _rejected(card, int8_acceptance.missing_proof(unchanged, margin))


def _rejected(card: model_card.ModelCard, reasons: str) -> GraphError:
    return GraphError(
        Message(
            "{graph_path}: no int8 form is accepted ({reasons}), and the model is unchanged. "
            "You can change QuantizeMargin and QuantizeImages.",
            graph_path=card.graph_path,
            reasons=reasons,
        ),
        "int8_rejected",
    )


def _training_images(configuration: Configuration, card: model_card.ModelCard) -> numpy.ndarray:
    """Return uint8 [N, S, S, 3]; the shards are shuffled, so the first images are a random sample."""
    records = itertools.islice(tfrecords.iter_records(configuration, "train"), configuration["QuantizeImages"])
    images = [int8_candidates.decode_record(configuration, card, record) for record in records]
    if not images:
        raise DataError(
            Message(
                "{path}: no training images for quantization. Run python3 Data.py.",
                path=configuration.path("DatasetDir"),
            ),
            "no_images",
        )
    return numpy.stack(images)
