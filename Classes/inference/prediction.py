"""Turn probabilities into a prediction, and a prediction into text."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import ArrayLike

from Classes.common import class_scheme, conditions, outcome
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition
from Classes.inference.model_card import ModelCard


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
      detected: whether the condition is detected; None if the model detects nothing.
      label: the predicted class: the most likely one of `group`.
      confidence: probability of the predicted side, disease or not, which is the sum of its classes; of a model that
        detects nothing, that of `label`. Rounded to four digits, as all confidences.
      low_confidence: whether that probability, or of a model that detects nothing that of `group`, is below
        `InceptionThreshold`.
      uncertain: whether its probability lies in the card's uncertainty band; a person should decide then.
      probabilities: {class name: probability}.
      scheme: what the classes mean.
      positive_probability: summed probability of the classes that mean the condition; None if there are none.
      label_confidence: probability of `label`.
      group: the most likely group on the predicted side; without groups, the same as `label`.
      group_confidence: summed probability of `group`.
      image_reasons: codes of outcome.REASONS that the image itself gives, see image_review.review_image.
      condition: what is detected.
    """

    detected: bool | None
    label: str
    confidence: float
    low_confidence: bool
    uncertain: bool
    probabilities: dict[str, float]
    scheme: ClassScheme
    positive_probability: float | None
    label_confidence: float
    group: str
    group_confidence: float
    image_reasons: tuple[str, ...] = ()
    condition: Condition = conditions.ALL

    @property
    def reasons(self) -> tuple[str, ...]:
        """Codes of outcome.REASONS: why a person should look at the image; empty if nothing speaks for it."""
        return outcome.collect_reasons(self.low_confidence, self.uncertain, self.image_reasons)

    @property
    def outcome(self) -> str | None:
        """One of outcome.OUTCOMES: "positive", "negative", or "review" if there are reasons.

        Without reasons, None if the model detects nothing.
        """
        if self.detected is None and not self.reasons:
            return None
        return outcome.decide(bool(self.detected), self.reasons)

    @property
    def group_probabilities(self) -> dict[str, float]:
        """The summed probability of each group, by name."""
        values = self.scheme.group_probabilities([self.probabilities[name] for name in self.scheme.names])
        return dict(zip(self.scheme.group_names, values.tolist(), strict=True))

    @property
    def description(self) -> str:
        """The prediction as text: "ALL detected" or "ALL not detected"; of a model that detects nothing, the class."""
        return self.label if self.detected is None else self.condition.detected_text(self.detected)

    def is_correct(self, truth: str | None) -> bool | None:
        """Return whether the prediction is correct; None if `truth`, a class name, is None.

        Which of several classes on the same side is predicted makes no difference, see `is_label_correct`.
        """
        if truth is None or self.detected is None:
            return None
        return self.detected == self.scheme.is_positive(truth)

    def is_label_correct(self, truth: str | None) -> bool | None:
        """Return whether the predicted class is the true one; None if that is not known.

        If only the group is known, whether that is the true one.
        """
        return None if truth is None else truth in (self.label, self.group)

    def message(self, seconds: float, truth: str | None = None) -> str:
        """Return the historic line about an image: Classifier.py's if the true class is known, else the API's."""
        found = "detected" if self.detected else "not detected"
        low = "LOW " if self.low_confidence else ""
        if self.detected is None:
            return f"{self.label} with a {low}confidence of {self.confidence} in {seconds}"
        if truth is None:
            return f"{self.condition.short} {found} with a {low}confidence of {self.confidence} in {seconds}"
        correctly = "correctly" if self.is_correct(truth) else "incorrectly"
        return f"{self.condition.short} {correctly} {found} with {low}confidence of {self.confidence} in {seconds}"


def make_prediction(
    probabilities: numpy.ndarray, card: ModelCard, confidence_threshold: float, image_reasons: Sequence[str] = ()
) -> Prediction:
    """Return the prediction for one image.

    The condition is detected if the positive classes together reach the card's threshold. The predicted class is the
    most likely one on that side; a model without positive classes has no sides.

    Args:
      probabilities: float32 [classes], one row from a backend.
      card: the model.
      confidence_threshold: `InceptionThreshold`; a confidence of exactly this is not low.
      image_reasons: see Prediction.
    """
    scheme = card.scheme
    score = detected = None
    side = None
    if scheme.positive:
        score = scheme.positive_probability(probabilities)
        detected = apply_threshold(score, card.threshold)
        side = scheme.positive_indices if detected else scheme.negative_indices
    predicted = scheme.most_likely(probabilities, side)
    group = scheme.group_of(card.classes[predicted])
    group_confidence = class_scheme.sum_columns(probabilities, scheme.members(group))
    confidence = probabilities[predicted] if side is None else class_scheme.sum_columns(probabilities, side)
    return Prediction(
        detected=detected,
        label=card.classes[predicted],
        confidence=round(float(confidence), 4),
        low_confidence=not apply_threshold(group_confidence if side is None else confidence, confidence_threshold),
        uncertain=score is not None and bool(in_band(score, card.uncertain)),
        probabilities={name: float(value) for name, value in zip(card.classes, probabilities, strict=True)},
        scheme=scheme,
        positive_probability=None if score is None else float(score),
        label_confidence=round(float(probabilities[predicted]), 4),
        group=group,
        group_confidence=round(float(group_confidence), 4),
        image_reasons=tuple(image_reasons),
        condition=card.condition,
    )


def positive_score(card: ModelCard, row: dict[str, Any]) -> float:
    """Return the summed probability of the positive classes of a row with `probabilities`: {class name: float}."""
    return float(card.scheme.positive_probability([row["probabilities"][name] for name in card.classes]))


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
