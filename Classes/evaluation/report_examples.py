"""The examples of the report: errors and correct predictions of a model, with their pictures and heat maps."""

import functools
import io
from typing import Any

import numpy
import PIL.Image

from Classes.common import class_names, html
from Classes.common.config import Configuration
from Classes.common.errors import ALLError
from Classes.common.number_format import format_confidence
from Classes.common.translation import gettext as _
from Classes.dataset import tfrecords
from Classes.imaging import decode
from Classes.inference import class_activation, model_card, prediction

# Number of examples in a gallery.
N_ERRORS, N_CORRECT = 12, 6

# Side of an example in pixels, as stored and as shown.
STORED_SIDE, SHOWN_SIDE = 240, 120


def choose_examples(
    configuration: Configuration,
    card: model_card.ModelCard,
    rows: list[dict[str, Any]],
    explainer: class_activation.Explainer,
) -> dict[str, Any]:
    """Return the galleries of errors and of the least and most confident correct predictions, with their pictures."""
    correct = sorted((row for row in rows if not is_wrong(row)), key=_confidence)
    count = sum(map(is_wrong, rows))
    galleries = {
        _("Errors, most confident first ({count} in all)").format(count=count): worst_errors(rows),
        _("Correct, least confident"): correct[:N_CORRECT],
        _("Correct, most confident"): correct[-N_CORRECT:],
    }
    shown = {row["sha256"] for gallery in galleries.values() for row in gallery}
    pictures: dict[str, tuple[str, ...]] = {}
    error = None
    try:
        pictures = _pictures(configuration, card, shown, explainer)
    except ALLError as problem:
        error = str(problem)
    return {
        "galleries": galleries.items(),
        "pictures": pictures,
        "gallery_error": error,
        "width": SHOWN_SIDE,
        "describe_example": functools.partial(_describe_example, card),
    }


def worst_errors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the N_ERRORS most confident errors among the predictions of metrics.json, the most confident first."""
    return sorted(filter(is_wrong, rows), key=_confidence, reverse=True)[:N_ERRORS]


def is_wrong(row: dict[str, Any]) -> bool:
    """Return whether a prediction of metrics.json is wrong: of several classes the class, else disease or not."""
    return row["predicted"] != row["label"] if "predicted" in row else not row["correct"]


def _confidence(row: dict[str, Any]) -> float:
    return max(row["probabilities"].values())


def _describe_example(card: model_card.ModelCard, row: dict[str, Any]) -> str:
    """Return the prediction and the label of an image in words."""
    if "predicted" in row:
        return _describe_class(card, row)
    texts = {
        "percent": format_confidence(prediction.positive_score(card, row)),
        "label": class_names.class_title(row["label"], card.positive, card.condition),
        "condition": card.condition.label,
    }
    if row["uncertain"] and row["detected"]:
        return _("Predicted: {condition}, uncertain. Probability of {condition}: {percent}. Label: {label}.").format(
            **texts
        )
    if row["uncertain"]:
        return _(
            "Predicted: not {condition}, uncertain. Probability of {condition}: {percent}. Label: {label}."
        ).format(**texts)
    if row["detected"]:
        return _("Predicted: {condition}. Probability of {condition}: {percent}. Label: {label}.").format(**texts)
    return _("Predicted: not {condition}. Probability of {condition}: {percent}. Label: {label}.").format(**texts)


def _describe_class(card: model_card.ModelCard, row: dict[str, Any]) -> str:
    """Return the predicted class and the label of an image in words."""
    texts = {
        "predicted": row["predicted"],
        "percent": format_confidence(row["probabilities"][row["predicted"]]),
        "label": row["label"],
        "condition": card.condition.label,
    }
    if not card.positive:
        return _("Predicted: {predicted} ({percent}). Label: {label}.").format(**texts)
    texts["score"] = format_confidence(prediction.positive_score(card, row))
    if row["uncertain"]:
        return _(
            "Predicted: {predicted} ({percent}), uncertain. Probability of {condition}: {score}. Label: {label}."
        ).format(**texts)
    return _("Predicted: {predicted} ({percent}). Probability of {condition}: {score}. Label: {label}.").format(**texts)


def _pictures(
    configuration: Configuration,
    card: model_card.ModelCard,
    wanted: set[str],
    explainer: class_activation.Explainer,
) -> dict[str, tuple[str, ...]]:
    """Return {sha256: (image, class activation map)} of validation images, each as the source of an <img>."""
    pictures: dict[str, tuple[str, ...]] = {}
    for record in tfrecords.iter_records(configuration, "validation"):
        if record.sha256 in wanted:
            image = card.input_spec.decode_and_resize(record.encoded, decode.decode_limits(configuration))
            if card.positive:
                heat_map = numpy.asarray(PIL.Image.open(io.BytesIO(explainer.draw(image))).convert("RGB"))
                pictures[record.sha256] = _thumbnail(image), _thumbnail(heat_map)
            else:
                # A model that detects nothing has no map.
                pictures[record.sha256] = (_thumbnail(image),)
    return pictures


def _thumbnail(image: numpy.ndarray) -> str:
    file = io.BytesIO()
    PIL.Image.fromarray(image).resize((STORED_SIDE, STORED_SIDE)).save(file, "JPEG", quality=85)
    return html.data_uri(file.getvalue(), "jpeg")
