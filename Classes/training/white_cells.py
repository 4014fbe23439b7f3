"""Train the model of white-cell types that comes with the project: images, shards, training, freezing, measuring.

Its weights are also the blood-cell backbone that other trainings start from.
"""

import dataclasses
import logging
from typing import Any

import numpy

from Classes import Data
from Classes.common import atomic_files, html, json_files, logs, terminal
from Classes.common.config import Configuration
from Classes.common.translation import Message
from Classes.dataset import tfrecords
from Classes.evaluation import cell_types, multiclass_tables
from Classes.imaging import decode
from Classes.inference import model_card, openvino_backend
from Classes.training import train, white_cell_images

LIMITS = (
    "It has never seen a leukemic cell. It gives a blast the most similar normal type, so it cannot detect leukemia.",
    "It has never seen another stain, another scanner or another laboratory, bone marrow, or a cell that is not one of "
    "its types, such as a platelet, a plasma cell or a smudge cell.",
    "All images are from one laboratory, and their patients are not known, so images of one patient can be in training "
    "and in the test. The metrics of another laboratory will be lower.",
    "An image must show one cell in its middle, about as large as in the training images.",
    "Neighboring stages of maturation (promyelocyte, myelocyte, metamyelocyte, band, segmented) pass into each other, "
    "and experts disagree on them too.",
)

log = logging.getLogger("Trainer")


def train_white_cells(configuration: Configuration) -> int:
    """Train, freeze and measure the model of white-cell types.

    Args:
      configuration: of Required/WhiteCells.json. `WhiteCellsDir` contains the published images, in any folders; images
        in its folder `val` stay unseen and measure the model. Near duplicates and overlapping crops of the images in
        `TestImagePath` stay unseen too, as far as Data.py finds them.
    Returns:
      exit code 0.
    Raises:
      ALLError: the images cannot be found or split, or the training fails.
    """
    if tfrecords.manifest_path(configuration).is_file():
        log.info("Using the shards in %s.", configuration.path("DatasetDir"))
    else:
        white_cell_images.collect_images(configuration)
        Data.prepare_dataset(configuration)
    train.train_and_freeze(configuration)
    card = model_card.load_model_card(configuration.card, cell_types=True)
    manifest = json_files.read_json(tfrecords.manifest_path(configuration))
    metrics = measure(configuration, card, manifest)
    for kind, name in (("types", Message("class")), ("groups", Message("group"))):
        terminal.print_lines(["", *multiclass_tables.format_table(metrics[kind], name), ""])
    publish(configuration, card, manifest, metrics)
    return 0


def measure(configuration: Configuration, card: model_card.ModelCard, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return evaluate_cell_types of the unseen images, or of the validation split if there are none.

    Args:
      configuration: Configuration.
      card: of the frozen graph.
      manifest: content of the manifest, which lists the test images with their groups of near duplicates.
    """
    prefix = f"/{configuration.path('TestImagePath').name}/"
    rows = [
        (configuration.path("TestImagePath") / row["file"].removeprefix(prefix), row["group"])
        for row in manifest["tests"]
        if row["file"].startswith(f"{prefix}{white_cell_images.HELD_OUT}/")
    ]
    split = "held out"
    if not rows:
        split = "validation"
        folder = configuration.path("DatasetDir")
        rows = [(folder / row["file"], row["group"]) for row in manifest["splits"]["validation"]]
    limits = decode.decode_limits(configuration)
    probabilities = []
    with openvino_backend.OpenVINOBackend(card, "CPU", "f32") as backend:
        for path, _ in logs.progress(rows, desc="Measuring", unit="image"):
            probabilities.append(backend.classify(card.input_spec.decode_and_resize(path, limits)[None])[0])
    labels = [cell_types.label_of(path.name) or "" for path, _ in rows]
    groups = [group for _, group in rows]
    return {"split": split, **cell_types.evaluate_cell_types(labels, numpy.array(probabilities), card.classes, groups)}


def publish(
    configuration: Configuration, card: model_card.ModelCard, manifest: dict[str, Any], metrics: dict[str, Any]
) -> None:
    """Write names, groups, source, limits and metrics into the model card, and the card for people beside it."""
    about = {
        "names": {name: cell_types.NAMES[name] for name in card.classes},
        "groups": {group: list(types) for group, types in cell_types.GROUPS.items()},
        "source": white_cell_images.SOURCE,
        "limits": list(LIMITS),
        "metrics": metrics,
    }
    card = dataclasses.replace(card, cell_types=about)
    model_card.write_model_card(configuration.card, card)
    text = html.render(
        "Classes.evaluation",
        "white_cells_card.md",
        card=card,
        about=about,
        metrics=metrics,
        counts={split: len(manifest["splits"][split]) for split in tfrecords.SPLITS},
        held_out=len(manifest["held_out"]),
        tests=len(manifest["tests"]),
        settings=configuration.values["Training"],
        size=configuration.path("ALLGraph").stat().st_size / 1e6,
    )
    path = configuration.card.with_name("MODEL_CARD.md")
    atomic_files.write_atomic(path, text)
    log.info("Wrote %s and %s.", configuration.card, path)
