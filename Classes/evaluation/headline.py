"""The result of an evaluation in one or two sentences."""

from typing import Any

from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _
from Classes.common.translation import ngettext
from Classes.inference import model_card


def describe_result(card: model_card.ModelCard, metrics: dict[str, Any]) -> str:
    """Return how often a model was right and what it missed, in the language of the reader.

    Args:
      card: model card.
      metrics: as in metrics.json.
    """
    counts, accuracy = metrics["counts"], metrics["accuracy"]
    if accuracy["value"] is None:
        return _("There are no validation images, so nothing was measured.")
    positive = counts["true_positives"] + counts["false_negatives"]
    negative = counts["true_negatives"] + counts["false_positives"]
    first = _accuracy_sentence(card, metrics["images"]).format(
        images=metrics["images"],
        right=counts["true_positives"] + counts["true_negatives"],
        accuracy=format_with_interval(accuracy),
    )
    second = ngettext(
        "It missed {missed} of {positive} {condition} image and called {wrong} of {negative} other images {condition}.",
        "It missed {missed} of {positive} {condition} images and called {wrong} of {negative} other images "
        "{condition}.",
        positive,
    ).format(
        condition=card.condition.label,
        missed=counts["false_negatives"],
        positive=positive,
        wrong=counts["false_positives"],
        negative=negative,
    )
    return f"{first} {second}"


def _accuracy_sentence(card: model_card.ModelCard, images: int) -> str:
    if card.synthetic:
        return ngettext(
            "On {images} unseen synthetic image, the model was right {right} times ({accuracy}).",
            "On {images} unseen synthetic images, the model was right {right} times ({accuracy}).",
            images,
        )
    if card.imported:
        return ngettext(
            "On {images} image, which may have been used to train these weights, the model was right {right} times "
            "({accuracy}).",
            "On {images} images, which may have been used to train these weights, the model was right {right} times "
            "({accuracy}).",
            images,
        )
    return ngettext(
        "On {images} unseen image, the model was right {right} times ({accuracy}).",
        "On {images} unseen images, the model was right {right} times ({accuracy}).",
        images,
    )


def format_with_interval(metric: dict[str, Any]) -> str:
    """Return a metric as percent with its interval."""
    if metric["value"] is None:
        return "-"
    if not metric["interval"]:
        return _percent(metric["value"])
    low, high = map(_percent, metric["interval"])
    return _("{value}, 95 % interval {low} to {high}").format(value=_percent(metric["value"]), low=low, high=high)


def _percent(value: float) -> str:
    return f"{format_number(100 * value, '.1f')} %"
