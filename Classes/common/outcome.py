"""What a result means for people: signs of the condition, no signs of it, or needs review; and why."""

from collections.abc import Callable, Iterable, Sequence

from Classes.common.conditions import Condition
from Classes.common.translation import gettext as _

POSITIVE, NEGATIVE, REVIEW = "positive", "negative", "review"
OUTCOMES = (POSITIVE, NEGATIVE, REVIEW)

# Stable codes for programs. An image can have several, in the order of REASONS.
EMPTY, NOT_A_PHOTOGRAPH, NO_STAINED_NUCLEUS = "empty", "not_a_photograph", "no_stained_nucleus"
NOT_ONE_CELL, OFF_CENTER, OUT_OF_FOCUS = "not_one_cell", "off_center", "out_of_focus"
UNLIKE_TRAINING, UNCERTAIN, LOW_CONFIDENCE = "unlike_training", "uncertain", "low_confidence"

# Functions, because the language is chosen after this module is imported.
_OUTCOME_TEXTS: dict[str, Callable[[], str]] = {
    POSITIVE: lambda: _("Signs of {condition}"),
    NEGATIVE: lambda: _("No signs of {condition}"),
    REVIEW: lambda: _("Needs review"),
}
_REASON_TEXTS: dict[str, Callable[[], str]] = {
    EMPTY: lambda: _("The image shows no cell."),
    NOT_A_PHOTOGRAPH: lambda: _("The image does not look like a photograph of a stained smear."),
    NO_STAINED_NUCLEUS: lambda: _("There is no stained nucleus in the middle of the image."),
    NOT_ONE_CELL: lambda: _("The image does not show one single cell, but several cells, a whole field or tissue."),
    OFF_CENTER: lambda: _("The cell is not in the middle of the image."),
    OUT_OF_FOCUS: lambda: _("The image is out of focus."),
    UNLIKE_TRAINING: lambda: _("The image looks different from the training images."),
    UNCERTAIN: lambda: _("The probability of {condition} is in the uncertain range of the model."),
    LOW_CONFIDENCE: lambda: _("The confidence is low."),
}
REASONS = tuple(_REASON_TEXTS)
# Reasons that the check of the image gives, whatever the model says about it.
IMAGE_REASONS = REASONS[:6]


def decide(detected: bool, reasons: Sequence[str]) -> str:
    """Return the outcome: "review" if there is any reason for it, otherwise "positive" or "negative"."""
    if reasons:
        return REVIEW
    return POSITIVE if detected else NEGATIVE


def collect_reasons(low_confidence: bool, uncertain: bool, image_reasons: Iterable[str] = ()) -> tuple[str, ...]:
    """Return all reasons for a review, each once, in the order of REASONS.

    Args:
      low_confidence, uncertain: see prediction.Prediction.
      image_reasons: what the image check found.
    """
    found = {*image_reasons, *[UNCERTAIN] * uncertain, *[LOW_CONFIDENCE] * low_confidence}
    return tuple(code for code in REASONS if code in found)


def outcome_text(outcome: str, condition: Condition) -> str:
    """Return an outcome in the language of the reader: "Signs of ALL", "No signs of ALL" or "Needs review"."""
    return _OUTCOME_TEXTS[outcome]().format(condition=condition.label)


def reason_text(code: str, condition: Condition) -> str:
    """Return a reason as a sentence in the reader's language; return an unknown code unchanged."""
    return _REASON_TEXTS[code]().format(condition=condition.label) if code in _REASON_TEXTS else code
