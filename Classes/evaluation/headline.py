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
    accuracy = metrics["accuracy"]
    if accuracy["value"] is None:
        return _("There are no validation images, so nothing was measured.")
    if not card.positive:
        right = accuracy["of"][0]
        first = _accuracy_sentence(card, metrics["images"])
        first = first.format(images=metrics["images"], right=right, accuracy=format_with_interval(accuracy))
        return f"{first} {_classes_sentence(metrics['multiclass'])}"
    counts = metrics["counts"]
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
    if metrics.get("multiclass"):
        return f"{first} {second} {_named_sentence(metrics['multiclass'])} {_classes_sentence(metrics['multiclass'])}"
    return f"{first} {second}"


def _named_sentence(metrics: dict[str, Any]) -> str:
    right, images = metrics["accuracy"]["of"]
    return _("It named the right one of {count} classes for {right} images ({accuracy}).").format(
        count=len(metrics["classes"]), right=right, images=images, accuracy=format_with_interval(metrics["accuracy"])
    )


def _classes_sentence(metrics: dict[str, Any]) -> str:
    """Return macro-F1, and macro-F1 of the groups if there are any."""
    value = _f1_text(metrics["macro_f1"])
    if not metrics["groups"]:
        return _("The macro-F1 over {count} classes is {value}.").format(count=len(metrics["classes"]), value=value)
    return _("The macro-F1 over {count} classes is {value}, over {groups} groups of classes {value_of_groups}.").format(
        count=len(metrics["classes"]),
        value=value,
        groups=len(metrics["groups"]["classes"]),
        value_of_groups=_f1_text(metrics["groups"]["macro_f1"]),
    )


def _f1_text(metric: dict[str, Any]) -> str:
    """Return a macro-F1 with its interval, such as "0.962 (95 % interval 0.940 to 0.978)"."""
    value = format_number(metric["value"], ".3f")
    if not metric["interval"]:
        return value
    low, high = (format_number(end, ".3f") for end in metric["interval"])
    return _("{value} (95 % interval {low} to {high})").format(value=value, low=low, high=high)


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
