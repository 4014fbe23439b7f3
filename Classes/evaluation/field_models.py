"""The models that Validation.py Field measures: the cell finder, and the model of white-cell types."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy

from Classes.common.config import Configuration
from Classes.evaluation import measure_fields
from Classes.evaluation.field_metrics import FoundCell
from Classes.evaluation.measure_fields import Analysis
from Classes.fields import analyze, cell_typing, finder, scale
from Classes.inference import device_selection, shipped_models
from Classes.inference.model_card import load_model_card

# The model of cell types that comes with the project.
TYPE_MODEL = "WhiteCells"


@contextlib.contextmanager
def open_analysis(configuration: Configuration, stated: float | None) -> Iterator[Analysis]:
    """Yield what the project finds and types cells with, as Classifier.py Field does.

    Args:
      configuration: Configuration.
      stated: micrometers per pixel of all photographs; None: from the file, or measured on the cells.
    Raises:
      ALLError: no model, or no device.
    """
    path = shipped_models.model_path(configuration, TYPE_MODEL).with_suffix(".json")
    card = load_model_card(path, cell_types=True)
    cell_finder = finder.CellFinder(configuration.path("FinderGraph").with_suffix(".json"))
    with device_selection.open_backend(configuration, card) as backend:
        typer = cell_typing.CellTyper(card, backend, configuration["InceptionThreshold"])

        def find(path: pathlib.Path, image: numpy.ndarray, name: str) -> tuple[Sequence[FoundCell], Sequence[str]]:
            field = analyze.analyze_field(image, name, cell_finder, typer, stated or scale.scale_from_file(path))
            return field.cells, [cell.group for cell in field.cells]

        models = {
            "finder": {"graph": cell_finder.card.graph, "graph_sha256": cell_finder.card.graph_sha256},
            "types": {"graph": card.graph, "graph_sha256": card.graph_sha256},
        }
        yield Analysis(find, measure_fields.annotated_types(card), models)
