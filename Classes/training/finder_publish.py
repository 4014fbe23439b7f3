"""`Trainer.py Finder`: train the cell finder, freeze it, measure it on what it has not seen, and write its card."""

import logging
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import atomic_files, html, locks, logs, provenance, wilson
from Classes.common.config import Configuration
from Classes.evaluation import field_metrics
from Classes.fields import finder as field_finder
from Classes.fields import finder_card
from Classes.imaging.annotations.record import AnnotatedCell
from Classes.training import finder, finder_composition, finder_export, finder_network, finder_sources

# Pixels around a point that change the output there; tests/training/test_finder_network.py measures it.
HALO = 160

# Score of a white cell: chosen on the tuning part of the fields, the red-cell fields of the training, and fields that a
# finder trained without them saw as another stain.
THRESHOLD = 0.41

DATA = (
    {
        "name": "BCCD",
        "used": "photographed fields with boxes of white and red cells",
        "source": "https://github.com/Shenggan/BCCD_Dataset",
        "licence": "MIT",
    },
    {
        "name": "Acevedo et al. 2020",
        "used": "single cells with boxes, pasted alone and in clumps",
        "source": "doi 10.17632/snkd93bnjr.1; boxes: medmabcf/White-Blood-Cell-Detection-Dataset",
        "licence": "CC BY 4.0",
    },
    {
        "name": "Chula-RBC-12",
        "used": "fields of red cells without white cells, as background and as what is no white cell",
        "source": "Naruenatthanaset et al. 2021",
        "licence": "MIT",
    },
)
LIMITS = (
    "It says where white cells are, not which types. Erythroblasts count as white cells.",
    "It has learned from blood films of three laboratories, and from no bone marrow and no leukemic cell.",
    "Cells that overlap by more than a quarter of their diameter may count as one, the lobes of one cell as two.",
    "A cell of which less than half is in the photograph may be left out.",
    "The scale is measured on red cells or, if there are fewer than six, on white cells, which differ more in size. "
    "State it if you know it.",
)

log = logging.getLogger("Trainer")


def train_finder(configuration: Configuration) -> int:
    """Train, freeze and measure the cell finder.

    Args:
      configuration: of Required/Finder.json.
    Returns:
      exit code 0.
    Raises:
      ALLError: the images are missing, or the frozen graph differs from the network.
    """
    sources = finder.read_sources(configuration)
    with locks.folder_lock(configuration.path("LogDir"), wait=True):
        training = finder.Training(configuration, configuration.path("LogDir"))
        training.run(sources)
    publish(configuration, training.averaged_network(), sources, int(training.step))
    return 0


def publish(configuration: Configuration, network: Any, sources: finder_composition.Sources, step: int) -> None:
    """Freeze a network, measure it, and write graph, card and MODEL_CARD.md."""
    path = configuration.path("FinderGraph")
    finder_export.round_weights(network)
    images = [
        finder_composition.compose(numpy.random.default_rng([configuration["RandomSeed"], index]), sources, 160)[0]
        for index in range(4)
    ]
    with locks.folder_lock(path.parent, wait=True):
        with atomic_files.atomic_replace(path) as temporary:
            temporary.write_bytes(finder_export.freeze(network).SerializeToString(deterministic=True))
            parity = finder_export.check_parity(network, temporary, numpy.stack(images))
        card = finder_card.FinderCard(
            path=path.with_suffix(".json"),
            graph=path.name,
            graph_sha256=provenance.sha256_file(path),
            input=finder_network.INPUT,
            output=finder_network.OUTPUT,
            stride=finder_network.STRIDE,
            multiple=finder_network.MULTIPLE,
            halo=HALO,
            size_unit=finder_network.SIZE_UNIT,
            microns=finder_composition.WORKING_MICRONS,
            threshold=THRESHOLD,
            data=list(DATA),
            training={
                "step": step,
                "parity": parity,
                "photographs": {name: len(group) for name, group in vars(sources).items()},
                **{key: configuration[key] for key in ("BatchSize", "ImageSize", "LearningRate", "RandomSeed")},
            },
            limits=list(LIMITS),
            versions=provenance.package_versions(),
            created=provenance.utc_now_iso(),
            notice=Helpers.DISCLAIMER,
        )
        finder_card.write_finder_card(card)
        metrics = measure(configuration, field_finder.CellFinder(card))
        card = finder_card.FinderCard(**{**vars(card), "metrics": metrics})
        finder_card.write_finder_card(card)
        text = html.render("Classes.evaluation", "finder_card.md", card=card, size=path.stat().st_size / 1e6)
        atomic_files.write_atomic(path.with_name("MODEL_CARD.md"), text)
    log.info("Wrote %s and its card.", path)


def measure(configuration: Configuration, found_by: field_finder.CellFinder) -> dict[str, Any]:
    """Return the metrics on photographs that decided nothing: the list `val` of the fields, and held-back red cells."""
    fields = configuration.path("FinderFieldsDir")
    names = (fields / "val.txt").read_text(encoding="utf-8").split()
    red = finder_sources.read_red_cell_fields(configuration.path("FinderRedCellsDir"), held_back=True)
    with_false = sum(bool(found_by.find(field.pixels).cells) for field in logs.progress(red, desc="Red", unit="field"))
    return {
        "fields": _summarize(field_metrics.evaluate_fields(find_in_fields(found_by, fields, names))),
        "red_fields": {
            "fields": len(red),
            "with_false": with_false,
            "interval": list(wilson.wilson_interval(with_false / len(red), len(red))) if red else None,
        },
    }


def find_in_fields(
    found_by: field_finder.CellFinder, folder: pathlib.Path, names: Sequence[str]
) -> list[field_metrics.MeasuredField]:
    """Return what is found in annotated fields at their full size, whose scale the finder measures."""
    fields = []
    for name in logs.progress(names, desc="Fields", unit="field"):
        field = finder_sources.read_annotated_field(folder, name, keep=0)
        fields.append(measured_field(name, field.white, found_by.find(field.pixels).cells))
    return fields


def measured_field(
    name: str, boxes: Iterable[Sequence[float]], found: Sequence[field_finder.Cell]
) -> field_metrics.MeasuredField:
    """Return a field for `field_metrics`.

    Args:
      name: of the field.
      boxes: annotated white cells; each begins with the x and y of its center, width and height in pixels.
      found: cells of the finder.
    """
    annotated = tuple(AnnotatedCell(float(x), float(y), float(w), float(h), "") for x, y, w, h, *_ in boxes)
    return field_metrics.MeasuredField(name, name, annotated, tuple(found))


def _summarize(measured: dict[str, Any]) -> dict[str, Any]:
    """Return the part of `evaluate_fields` that the card states."""
    metrics = {
        name: {key: measured[name][key] for key in ("value", "interval")} for name in ("recall", "precision", "f1")
    }
    return {
        "fields": measured["photographs"],
        "cells": measured["annotated"],
        "found": measured["matched"],
        "false": measured["found"] - measured["matched"],
        "missed": measured["annotated"] - measured["matched"],
        **metrics,
    }
