"""What Validation.py prints about its metrics, and its last sentence."""

import logging
from typing import Any

from Classes.common import terminal, translation
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.evaluation import classification_metrics, color_baseline, multiclass_tables, operating_point
from Classes.inference import model_card

log = logging.getLogger("Validation")


def print_metrics(card: model_card.ModelCard, measured: dict[str, Any]) -> None:
    """Print the tables, and warn if the model is not clearly better than color alone."""
    lines: list[str] = ["", *classification_metrics.describe_basis(measured), ""]
    if card.positive:
        lines += [*classification_metrics.format_table(measured, card.condition), ""]
    lines += [*color_baseline.describe(measured["color_baseline"]), ""]
    if measured.get("multiclass"):
        lines += [*multiclass_tables.format_both(measured["multiclass"]), ""]
    if card.positive:
        lines += [*_format_calibration(card, measured), ""]
    if measured["patients"]:
        lines += [*classification_metrics.format_table(measured["patients"], card.condition, "patients"), ""]
    terminal.print_lines(lines)
    warning = color_baseline.find_warning(measured["color_baseline"])
    if warning:
        log.warning("%s", warning)


def end_sentence(card: model_card.ModelCard, measured: dict[str, Any]) -> str:
    """Return the result in one sentence; cross-fitted, as the tables above it."""
    if not card.positive:
        right, images = measured["accuracy"]["of"] or (0, 0)
        return _("{right} of {images} validation images right.").format(right=right, images=images)
    counts = measured["counts"]
    return _("{right} of {images} validation images right, {missed} of {positive} {condition} missed.").format(
        condition=card.condition.label,
        right=counts["true_positives"] + counts["true_negatives"],
        images=measured["images"],
        missed=counts["false_negatives"],
        positive=counts["true_positives"] + counts["false_negatives"],
    )


def _format_calibration(card: model_card.ModelCard, metrics: dict[str, Any]) -> list[str]:
    """Return the lines about calibration, uncertainty and in-sample metrics for the terminal."""
    after, before = metrics["certainty"]["after"], metrics["certainty"]["before"]
    if after["ece"] is None:
        return []
    lines = [
        Message(
            "Expected calibration error {error:.4f}; {chance:.4f} is expected by chance.",
            error=after["ece"],
            chance=after["chance"],
        )
    ]
    if before:
        without = Message(
            "Without the temperature {temperature:g}, it is {error:.4f}.",
            temperature=card.temperature,
            error=before["ece"],
        )
        lines = [translation.join(" ", [*lines, without])]
    if card.uncertain:
        low, high = card.uncertain
        lines.append(
            Message(
                "Uncertain ({condition} from {low:.3f} to {high:.3f}): {uncertain}.",
                condition=card.condition.name,
                low=low,
                high=high,
                uncertain=_format_uncertain(metrics),
            )
        )
    if "in_sample" in metrics:
        same = metrics["in_sample"]
        lines.append(
            Message(
                "In-sample, optimistic (the deployed operating point was chosen on these images): accuracy {accuracy}, "
                "sensitivity {sensitivity}, specificity {specificity}, calibration error {error:.4f}, uncertain "
                "{uncertain}.",
                accuracy=classification_metrics.format_value(same["accuracy"]["value"]),
                sensitivity=classification_metrics.format_value(same["sensitivity"]["value"]),
                specificity=classification_metrics.format_value(same["specificity"]["value"]),
                error=same["certainty"]["after"]["ece"],
                uncertain=_format_uncertain(same),
            )
        )
    warnings = (card.calibration or {}).get("warnings", ())
    return [*lines, *(operating_point.warning_message(warning, card.condition) for warning in warnings)]


def _format_uncertain(metrics: dict[str, Any]) -> Message:
    """Return how many predictions are uncertain, and the accuracy of the rest, as text."""
    (count, images), rest = metrics["certainty"]["uncertain"]["of"], metrics["certainty"]["accuracy_of_rest"]
    if rest["value"] is None:
        return Message("{count} of {images}; {note}", count=count, images=images, note=Message(rest["note"]))
    return Message(
        "{count} of {images}; accuracy of the rest {accuracy:.4f}", count=count, images=images, accuracy=rest["value"]
    )
