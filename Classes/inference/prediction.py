"""Turn probabilities into a prediction, and a prediction into text."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import ArrayLike

from Classes.common import conditions, outcome
from Classes.common.conditions import Condition
from Classes.inference.model_card import ModelCard


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
      detected: whether the condition is detected.
      label: the predicted class.
      confidence: probability of that class, rounded to four digits.
      low_confidence: whether that probability is below `InceptionThreshold`.
      uncertain: whether its probability lies in the card's uncertainty band; a person should decide then.
      probabilities: {class name: probability}.
      positive: the class that means the condition.
      image_reasons: codes of outcome.REASONS that the image itself gives, see image_review.review_image.
      condition: what is detected.
    """

    detected: bool
    label: str
    confidence: float
    low_confidence: bool
    uncertain: bool
    probabilities: dict[str, float]
    positive: str
    image_reasons: tuple[str, ...] = ()
    condition: Condition = conditions.ALL

    @property
    def reasons(self) -> tuple[str, ...]:
        """Codes of outcome.REASONS: why a person should look at the image; empty if nothing speaks for it."""
        return outcome.collect_reasons(self.low_confidence, self.uncertain, self.image_reasons)

    @property
    def outcome(self) -> str:
        """One of outcome.OUTCOMES: "positive", "negative", or "review" if there are reasons."""
        return outcome.decide(self.detected, self.reasons)

    @property
    def description(self) -> str:
        """The prediction as text: "ALL detected" or "ALL not detected"."""
        return self.condition.detected_text(self.detected)

    def is_correct(self, truth: str | None) -> bool | None:
        """Return whether the prediction is correct; None if `truth`, a class name, is None.

        Which of several classes other than ALL is predicted makes no difference.
        """
        return None if truth is None else self.detected == (truth == self.positive)

    def message(self, seconds: float, truth: str | None = None) -> str:
        """Return the historic line about an image: Classifier.py's if the true class is known, else the API's."""
        found = "detected" if self.detected else "not detected"
        low = "LOW " if self.low_confidence else ""
        if truth is None:
            return f"{self.condition.short} {found} with a {low}confidence of {self.confidence} in {seconds}"
        correctly = "correctly" if self.is_correct(truth) else "incorrectly"
        return f"{self.condition.short} {correctly} {found} with {low}confidence of {self.confidence} in {seconds}"


def make_prediction(
    probabilities: numpy.ndarray, card: ModelCard, confidence_threshold: float, image_reasons: Sequence[str] = ()
) -> Prediction:
    """Return the prediction for one image.

    ALL is detected if the positive class reaches the card's threshold; otherwise the most likely other class is
    predicted.

    Args:
      probabilities: float32 [classes], one row from a backend.
      card: the model.
      confidence_threshold: `InceptionThreshold`; a confidence of exactly this is not low.
      image_reasons: see Prediction.
    """
    positive = card.classes.index(card.positive)
    detected = apply_threshold(probabilities[positive], card.threshold)
    others = (index for index in range(len(card.classes)) if index != positive)
    predicted = positive if detected else max(others, key=probabilities.__getitem__)
    confidence = probabilities[predicted]
    return Prediction(
        detected=detected,
        label=card.classes[predicted],
        confidence=round(float(confidence), 4),
        low_confidence=not apply_threshold(confidence, confidence_threshold),
        uncertain=bool(in_band(probabilities[positive], card.uncertain)),
        probabilities={name: float(value) for name, value in zip(card.classes, probabilities, strict=True)},
        positive=card.positive,
        image_reasons=tuple(image_reasons),
        condition=card.condition,
    )


def apply_threshold(probabilities: ArrayLike, threshold: ArrayLike) -> Any:
    """Return which probabilities reach a threshold; the only place where a prediction is decided.

    Both are compared as float32, because a backend's 0.7 is the float32 just below the 0.7 of a configuration.

    Args:
      probabilities: float [N], or a number.
      threshold: a number, or one for each probability.
    Returns:
      bool [N], or a bool.
    """
    reached = numpy.asarray(probabilities, "float32") >= numpy.asarray(threshold, "float32")
    return reached if reached.ndim else bool(reached)


def in_band(probabilities: ArrayLike, band: Sequence[ArrayLike] | None) -> Any:
    """Return which probabilities lie in an uncertainty band, from its low end to below its high end.

    Args:
      probabilities: float [N], or a number.
      band: (low, high), each a number or one for each probability; None: there is none.
    Returns:
      bool [N], or numpy.bool_.
    """
    # Every probability reaches both ends of an empty band, so none lies within.
    low, high = (0.0, 0.0) if band is None else (band[0], band[1])
    return numpy.logical_and(
        apply_threshold(probabilities, low), numpy.logical_not(apply_threshold(probabilities, high))
    )
