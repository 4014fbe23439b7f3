"""The models of a task that counts cells: what identifies them in its settings, and how another process opens them."""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from Classes.common.config import Configuration
from Classes.common.errors import GraphError
from Classes.common.translation import Message
from Classes.fields import finder as cell_finder
from Classes.fields import finder_card
from Classes.fields.blast_model import BlastModel
from Classes.fields.cell_typing import CellTyper
from Classes.inference import device_selection, task_settings
from Classes.inference.model_card import ModelCard


class TaskModels(NamedTuple):
    """The open models of a task.

    Attributes:
      configuration: the part of the configuration that results depend on.
      finder: finds the cells.
      typer: names their types, and the blasts.
    """

    configuration: Configuration
    finder: cell_finder.CellFinder
    typer: CellTyper


def make_settings(
    configuration: Configuration, types: ModelCard, blasts: ModelCard | None, finder: pathlib.Path
) -> dict[str, Any]:
    """Return the settings of the models, as JSON for `open_models`.

    Args:
      types, blasts: the models; see cell_typing.CellTyper.
      finder: card of the cell finder.
    Raises:
      GraphError: there is no cell finder, or it is damaged.
    """
    found = finder_card.load_finder_card(finder)
    return {
        "configuration": task_settings.to_settings(configuration),
        "types": task_settings.describe_card(types),
        "blasts": task_settings.describe_card(blasts) if blasts else None,
        "finder": {"path": str(finder.absolute()), "sha256": found.graph_sha256, "threshold": found.threshold},
    }


def open_models(settings: Mapping[str, Any], stack: contextlib.ExitStack, tile: int = cell_finder.TILE) -> TaskModels:
    """Open the models of `make_settings`; the stack closes them.

    Args:
      settings: also those of the task.
      stack: closed by the caller.
      tile: of the finder, in pixels at working scale, see finder.TILE.
    Raises:
      ALLError: a model or a device is missing; `model_changed`: it is another model now.
    """
    configuration = task_settings.read_configuration(settings["configuration"])
    threshold = configuration["InceptionThreshold"]
    blasts = None
    if settings["blasts"]:
        card = task_settings.load_card(settings["blasts"])
        blasts = BlastModel(card, stack.enter_context(device_selection.open_backend(configuration, card)), threshold)
    card = task_settings.load_card(settings["types"])
    backend = stack.enter_context(device_selection.open_backend(configuration, card))
    finder = _load_finder(settings["finder"])
    return TaskModels(
        configuration, cell_finder.CellFinder(finder, tile=tile), CellTyper(card, backend, threshold, blasts)
    )


def _load_finder(settings: Mapping[str, Any]) -> finder_card.FinderCard:
    found = finder_card.load_finder_card(settings["path"])
    if (found.graph_sha256, found.threshold) != (settings["sha256"], settings["threshold"]):
        raise GraphError(
            Message("{path}: the model was replaced during the run. Start the run again.", path=settings["path"]),
            "model_changed",
        )
    return found
