"""From the bytes of a photographed field to its cells and counts; independent of HTTP.

The same steps as Classifier.py Field. All models run in the background, so that cores stay free for single cells.
"""

import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import numpy

from Classes.common import cancellation, translation
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, GraphError
from Classes.fields import field_models, run_counts, scale
from Classes.fields.analyze import Field, FieldCrops, Finder, analyze_field
from Classes.fields.blast_model import BlastModel
from Classes.fields.cell_typing import CellTyper
from Classes.imaging import decode
from Classes.inference import model_card, openvino_backend
from Classes.inference.backend import Background
from Classes.inference.model_card import ModelCard
from Classes.serving.api_errors import ApiError
from Classes.serving.models import ModelRegistry


@dataclasses.dataclass(frozen=True)
class FieldResult:
    """A field, its counts, and how they were made.

    Attributes:
      field: the photograph with its cells.
      counts: of its cells.
      types: card of the model of cell types.
      models: the models, as Classifier.py Field writes them to its JSON file.
      image_info: format and size of the image.
      sha256: SHA-256 of the uploaded bytes, 64 hexadecimal digits.
      overlay: the photograph with numbered boxes, a JPEG; None if it was not requested.
      crops: the cells, a JPEG each; None if they were not requested.
      photograph: the photograph, a JPEG; None if it was not requested.
    """

    field: Field
    counts: run_counts.RunCounts
    types: ModelCard
    models: dict[str, Any]
    image_info: decode.ImageInfo
    sha256: str
    overlay: bytes | None = None
    crops: list[bytes] | None = None
    photograph: bytes | None = None


@dataclasses.dataclass(frozen=True)
class FieldRequest:
    """What a client wants to know about a field.

    Attributes:
      name: of the photograph; "" if it has none.
      model: name of a served model of cell types; "": the one that comes with the project.
      microns: the scale; None: from the file, or the image.
      overlay, crops, photograph: whether to return these pictures too.
    """

    name: str = ""
    model: str = ""
    microns: scale.Scale | None = None
    overlay: bool = False
    crops: bool = False
    photograph: bool = False


class FieldAnalyzer:
    """Finds, types and counts the white cells of fields; loads its models when the first field arrives.

    Args:
      configuration: Configuration.
      models: the models of the server. Its own model counts the blasts, if it was trained on real cells.
      finder: finds the cells; None: the one that comes with the project.
    """

    def __init__(self, configuration: Configuration, models: ModelRegistry, finder: Finder | None = None) -> None:
        self._configuration, self._models = configuration, models
        self._limits = decode.decode_limits(configuration)
        self._finder = finder
        self._typers: dict[str, CellTyper] = {}
        self._lock = threading.Lock()
        self._opened = contextlib.ExitStack()

    def analyze(
        self,
        content: bytes,
        request: FieldRequest,
        check_deadline: Callable[[], None] = lambda: None,
    ) -> FieldResult:
        """Return the cells of the field in the bytes of a file.

        Args:
          content: the bytes.
          request: what to return.
          check_deadline: called between the steps; it raises an exception if nobody waits for the result any more.
        Raises:
          ImageError: the image cannot be read, or it is not a field.
          EngineError: a device failed.
          ApiError: `unknown_model`, `no_model` or `not_a_cell_type_model`.
        """
        # The API is English, whichever thread answers.
        with translation.use_language(translation.ENGLISH), cancellation.checked_by(check_deadline):
            check_deadline()
            finder, typer = self._open(request.model)
            shown = request.name or "the image"
            image = decode.decode_image(content, self._limits, name=shown)
            check_deadline()
            field = analyze_field(image, shown, finder, typer, request.microns or scale.scale_from_file(content))
            field = dataclasses.replace(field, name=request.name)
            return FieldResult(
                field,
                run_counts.count_cells(field.cells, typer.blasts),
                typer.card,
                field_models.describe_models(typer.card, typer.blasts),
                decode.read_header(content),
                hashlib.sha256(content).hexdigest(),
                _draw_overlay(image, field) if request.overlay else None,
                _draw_crops(image, field) if request.crops else None,
                _encode(image) if request.photograph else None,
            )

    def close(self) -> None:
        """Release the models."""
        self._opened.close()

    def _open(self, model: str) -> tuple[Finder, CellTyper]:
        with self._lock:
            if self._finder is None:
                # Imported late, as its graph is loaded late: many servers get no fields.
                from Classes.fields.finder import CellFinder

                path = field_models.shipped_file(self._configuration, field_models.FINDER)
                self._finder = _available(lambda: CellFinder(path, threads=1))
            if model not in self._typers:
                self._typers[model] = self._open_typer(model)
            return self._finder, self._typers[model]

    def _open_typer(self, name: str) -> CellTyper:
        path = field_models.shipped_file(self._configuration, field_models.TYPE_MODEL)
        if name or path.stem in self._models.names:
            served = self._models.find(name or path.stem)
            card = check_cell_types(served.card, served.name)
            backend = Background(served.backend)
        else:
            card = _available(lambda: model_card.load_model_card(path, cell_types=True))
            precision = self._configuration["Precision"]
            # The others belong to other devices, or need files that this model lacks.
            precision = precision if precision in ("f32", "bf16") else "AUTO"
            cache = self._configuration.path("CacheDir")
            opened = _available(lambda: openvino_backend.OpenVINOBackend(card, "CPU", precision, cache))
            backend = Background(self._opened.enter_context(opened))
        threshold = self._configuration["InceptionThreshold"]
        return CellTyper(card, backend, threshold, self._open_blasts(threshold))

    def _open_blasts(self, threshold: float) -> BlastModel | None:
        """Return the own model; None if there is none, or if it does not know real blasts."""
        name = self._configuration.card.stem
        if name not in self._models.names:
            return None
        served = self._models.find(name)
        if served.card.synthetic or not served.card.positive:
            return None
        return BlastModel(served.card, Background(served.backend), threshold)


def check_cell_types(card: ModelCard, name: str) -> ModelCard:
    """Return the card of a model of cell types.

    Raises:
      ApiError: `not_a_cell_type_model`.
    """
    if not card.cell_types:
        raise ApiError(
            "not_a_cell_type_model",
            f"The model {name} names no types of cells. Leave out model, or name one that does; see /v1/models.",
        )
    return card


def _available(load: Any) -> Any:
    """Return what a function loads; raise ApiError `no_model` if its files are missing or damaged."""
    try:
        return load()
    except (GraphError, ConfigurationError) as error:
        raise ApiError("no_model", f"Fields cannot be counted: {error}") from error


def _draw_overlay(image: numpy.ndarray, field: Field) -> bytes:
    from Classes.fields import field_texts, overlay

    return overlay.draw_overlay(image, field.cells, field_texts.describe_caption(field))


def _draw_crops(image: numpy.ndarray, field: Field) -> list[bytes]:
    return [_encode(crop) for crop in FieldCrops(image, field.cells, field.scale)]


def _encode(image: numpy.ndarray) -> bytes:
    from Classes.fields import output_files

    return output_files.encode(image, "JPEG")
