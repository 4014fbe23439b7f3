"""Probabilities to a verdict, and the words for it."""

import dataclasses

import numpy


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What is said about one image.

    Attributes:
      detected: whether the verdict is ALL.
      label: the class that is said.
      confidence: the probability of that class, rounded to four digits.
      low: whether that probability is below `InceptionThreshold`.
      uncertain: whether the probability of ALL lies in the card's uncertain band, so that a person should decide.
      probabilities: {class name: float}.
      positive: the class that means ALL.
    """

    detected: bool
    label: str
    confidence: float
    low: bool
    uncertain: bool
    probabilities: dict
    positive: str

    @property
    def finding(self):
        """The verdict in words, without its confidence."""
        return "ALL detected" if self.detected else "ALL not detected"

    def correct(self, truth):
        """Whether the verdict is right; None where the truth is not known.

        Args:
          truth: a class name, or None. Which of several classes that are not ALL it is makes no difference.
        """
        return None if truth is None else self.detected == (truth == self.positive)

    def sentence(self, seconds, truth=None):
        """The line for people; with a known truth the Classifier's, without the API's.

        Args:
          seconds: how long the detection took.
          truth: a class name, or None.
        """
        found = "detected" if self.detected else "not detected"
        low = "LOW " if self.low else ""
        if truth is None:
            return f"ALL {found} with a {low}confidence of {self.confidence} in {seconds}"
        right = "correctly" if self.correct(truth) else "incorrectly"
        return f"ALL {right} {found} with {low}confidence of {self.confidence} in {seconds}"


def make_prediction(probabilities, card, low_below):
    """The verdict for one image.

    Args:
      probabilities: float32 [classes], one row from an engine.
      card: model_card.ModelCard.
      low_below: `InceptionThreshold`; a confidence of exactly this is not low.
    Returns:
      Verdict: ALL when the positive class reaches the card's threshold, else the likeliest other class.
    """
    positive = card.classes.index(card.positive)
    found = apply_threshold(probabilities[positive], card.threshold)
    said = positive
    if not found:
        said = max((index for index in range(len(card.classes)) if index != positive), key=probabilities.__getitem__)
    confidence = probabilities[said]
    return Prediction(
        detected=found,
        label=card.classes[said],
        confidence=round(float(confidence), 4),
        low=not apply_threshold(confidence, low_below),
        uncertain=bool(in_band(probabilities[positive], card.uncertain)),
        probabilities={name: float(value) for name, value in zip(card.classes, probabilities, strict=True)},
        positive=card.positive,
    )


def apply_threshold(probabilities, threshold):
    """Return which probabilities reach a threshold; the only place where a prediction is decided.

    Both are compared as float32, since an engine's 0.7 is the float32 just below the 0.7 of a configuration.

    Args:
      probabilities: float [N], or a number.
      threshold: a number, or one for each probability.
    Returns:
      bool [N], or a bool.
    """
    reached = numpy.asarray(probabilities, "float32") >= numpy.asarray(threshold, "float32")
    return reached if reached.ndim else bool(reached)


def in_band(probabilities, band):
    """Return which probabilities lie in an uncertainty band, from its low end to below its high end.

    Args:
      probabilities: float [N], or a number.
      band: (low, high), each a number or one for each probability; None: there is none.
    Returns:
      bool [N], or numpy.bool_.
    """
    # Every probability reaches both ends of an empty band, so none lies within.
    low, high = (0.0, 0.0) if band is None else band
    return numpy.logical_and(
        apply_threshold(probabilities, low), numpy.logical_not(apply_threshold(probabilities, high))
    )
