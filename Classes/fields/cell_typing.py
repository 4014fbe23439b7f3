"""Name the type of each cell of a field: the model of cell types, and the user's model of blasts if there is one."""

import dataclasses
from collections.abc import Sequence

import numpy

from Classes.common import outcome
from Classes.common.cell_counts import NOT_COUNTED
from Classes.fields import blast_model, stain_matching, typed_cells
from Classes.imaging import network_input
from Classes.inference import image_review
from Classes.inference.backend import InferenceBackend
from Classes.inference.model_card import ModelCard
from Classes.inference.prediction import make_prediction

# Cells that are classified together, so that a crowded field does not fill the memory.
BATCH = 64


# The finder's word for a flag.
_FINDER_FLAGS = {"cut": typed_cells.CUT_BY_BORDER}


@dataclasses.dataclass(frozen=True)
class CellType:
    """What the models say about one cell; see typed_cells.TypedCell."""

    label: str
    name: str
    group: str
    confidence: float
    group_confidence: float
    probabilities: dict[str, float]
    blast_probability: float | None
    is_blast: bool
    reasons: tuple[str, ...]


class CellTyper:
    """The models for the cells of a field.

    Args:
      card, backend: the model of cell types.
      confidence_threshold: `InceptionThreshold`.
      blasts: the model of blasts, or None.
    """

    def __init__(
        self,
        card: ModelCard,
        backend: InferenceBackend,
        confidence_threshold: float,
        blasts: blast_model.BlastModel | None = None,
    ) -> None:
        self.card, self.backend, self.blasts = card, backend, blasts
        self._confidence_threshold = confidence_threshold
        self._names: dict[str, str] = (card.cell_types or {})["names"]

    def classify(self, crops: Sequence[numpy.ndarray], stain: stain_matching.StainMap | None = None) -> list[CellType]:
        """Return the type of each cell.

        Args:
          crops: uint8 [H, W, 3] each, with one cell in the middle.
          stain: gives the cells the colors of the training images of the model of cell types; None: they have them.
        Raises:
          EngineError: a device failed.
        """
        found: list[CellType] = []
        for start in range(0, len(crops), BATCH):
            found += self._classify_batch(crops[start : start + BATCH], stain)
        return found

    def _classify_batch(self, crops: Sequence[numpy.ndarray], stain: stain_matching.StainMap | None) -> list[CellType]:
        spec = self.card.input_spec
        inputs = numpy.stack([network_input.center_crop_resize(crop, spec.size, spec.crop) for crop in crops])
        inputs = inputs if stain is None else stain.apply(inputs)
        probabilities = self.backend.classify(inputs)
        # In their own colors: the user's model learned the stain of the user's laboratory.
        blasts = self.blasts.classify(crops) if self.blasts else [None] * len(crops)
        return [
            self._cell_type(image, row, blast) for image, row, blast in zip(inputs, probabilities, blasts, strict=True)
        ]

    def _cell_type(
        self, image: numpy.ndarray, probabilities: numpy.ndarray, blast: blast_model.Blast | None
    ) -> CellType:
        review = image_review.review_image(image, self.card)
        typed = make_prediction(probabilities, self.card, self._confidence_threshold, review.reasons)
        name, group, low = self._names.get(typed.label, typed.label), typed.group, typed.low_confidence
        confidence, group_confidence = typed.label_confidence, typed.group_confidence
        # The model of cell types has never seen a blast, so what it says about one does not count, unless it is sure
        # that the cell is not a white cell.
        is_blast = blast is not None and blast.detected and (low or group not in NOT_COUNTED)
        if blast is not None and is_blast:
            name = group = blast.name
            confidence = group_confidence = blast.probability
            low = blast.low_confidence
        uncertain = blast is not None and blast.uncertain
        image_reasons = [*review.reasons]
        if blast is not None and blast.unlike_training:
            image_reasons.append(outcome.UNLIKE_TRAINING)
        return CellType(
            typed.label,
            name,
            group,
            confidence,
            group_confidence,
            typed.probabilities,
            blast.probability if blast else None,
            is_blast,
            outcome.collect_reasons(low, uncertain, image_reasons),
        )


def cell_flags(found: CellType, flags: Sequence[str]) -> tuple[str, ...]:
    """Return all flags of a cell, in the order of typed_cells.FLAGS.

    Args:
      flags: what the finder says.
    """
    flagged = {_FINDER_FLAGS.get(flag, flag) for flag in flags}
    if outcome.OUT_OF_FOCUS in found.reasons:
        flagged.add(typed_cells.OUT_OF_FOCUS)
    if outcome.UNLIKE_TRAINING in found.reasons:
        flagged.add(typed_cells.UNLIKE_TRAINING)
    if found.reasons or typed_cells.CUT_BY_BORDER in flagged:
        flagged.add(typed_cells.NEEDS_REVIEW)
    return tuple(flag for flag in typed_cells.FLAGS if flag in flagged)
