"""The user's model that detects blasts, such as Model/ALLGraph.pb, applied to the cells of a field."""

import dataclasses
from collections.abc import Sequence

import numpy

from Classes.common.blast_fraction import MeasuredRate, measured_rate
from Classes.imaging import color_stats, network_input
from Classes.inference.backend import InferenceBackend
from Classes.inference.model_card import ModelCard
from Classes.inference.prediction import make_prediction

# What a cell is called if a model of this condition detects it there.
BLASTS = {"ALL": "lymphoblast", "AML": "myeloblast"}


@dataclasses.dataclass(frozen=True)
class Blast:
    """What the model says about a cell.

    Attributes:
      detected: whether it is a blast.
      name: what it is if it is one, such as "lymphoblast".
      probability: that it is one, 0 to 1.
      low_confidence, uncertain: see prediction.Prediction.
      unlike_training: whether the cell has other colors than the images that the model was trained on.
    """

    detected: bool
    name: str
    probability: float
    low_confidence: bool
    uncertain: bool
    unlike_training: bool = False


class BlastCard:
    """What is known of a model of blasts without running it.

    Attributes:
      card: the model card.
      name: what it detects, such as "lymphoblast".
    """

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.name = BLASTS.get(card.condition.short, "blast")

    @property
    def rates(self) -> tuple[MeasuredRate | None, MeasuredRate | None]:
        """Sensitivity and specificity of the model; None for what was never measured."""
        metrics = self.card.metrics or {}
        return measured_rate(metrics.get("sensitivity")), measured_rate(metrics.get("specificity"))


class BlastModel(BlastCard):
    """A model of blasts on a device.

    Args:
      confidence_threshold: `InceptionThreshold`.
    """

    def __init__(self, card: ModelCard, backend: InferenceBackend, confidence_threshold: float) -> None:
        super().__init__(card)
        self.backend, self._confidence_threshold = backend, confidence_threshold
        # A model of several kinds of blasts names them itself.
        several = len(card.scheme.positive) > 1
        self._names = {name: card.scheme.group_of(name) for name in card.scheme.positive} if several else {}

    def classify(self, crops: Sequence[numpy.ndarray]) -> list[Blast]:
        """Return what the model says about each cell; crops as for cell_typing.CellTyper.classify."""
        spec = self.card.input_spec
        inputs = [network_input.center_crop_resize(crop, spec.size, spec.crop) for crop in crops]
        probabilities = self.backend.classify(numpy.stack(inputs))
        found = [make_prediction(row, self.card, self._confidence_threshold) for row in probabilities]
        return [
            Blast(
                bool(each.detected),
                self._names.get(each.label, self.name),
                round(each.positive_probability or 0.0, 4),
                each.low_confidence,
                each.uncertain,
                color_stats.domain_shift_warning(image, self.card.colours) is not None,
            )
            for each, image in zip(found, inputs, strict=True)
        ]
