"""The models that analyze fields: where they are, and how the JSON file identifies them."""

import pathlib
from typing import Any

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.paths import PROJECT
from Classes.common.translation import Message
from Classes.fields.blast_model import BlastCard
from Classes.inference.model_card import ModelCard

# The cards of the models that come with the project: the types, unless --model names another one, and the finder.
TYPE_MODEL, FINDER = "Model/WhiteCells/WhiteCells.json", "Model/Finder/Finder.json"


def shipped_file(configuration: Configuration, name: str) -> pathlib.Path:
    """Return a file that comes with the project: the one in the folder of the configuration, if there is one."""
    path = configuration.root / name
    return path if path.is_file() else PROJECT / name


def require_cell_types(card: ModelCard) -> None:
    """Raise ConfigurationError `not_a_cell_type_model` if a model does not name the types of cells."""
    if not card.cell_types:
        raise ConfigurationError(
            Message("{path}: not a model of cell types. Name one with --model.", path=card.path),
            "not_a_cell_type_model",
        )


def describe_models(card: ModelCard, blasts: BlastCard | None) -> dict[str, Any]:
    """Return the fields that identify the models in the JSON file."""
    about = card.cell_types or {}
    models: dict[str, Any] = {
        "types": {"graph": card.graph, "graph_sha256": card.graph_sha256, "limits": about["limits"]},
        "blasts": None,
    }
    if blasts:
        metrics = blasts.card.metrics or {}
        models["blasts"] = {
            "graph": blasts.card.graph,
            "graph_sha256": blasts.card.graph_sha256,
            "threshold": blasts.card.threshold,
            "sensitivity": metrics.get("sensitivity"),
            "specificity": metrics.get("specificity"),
        }
    return models
