"""Draw the plots of an evaluation as PNG and SVG files, without a display."""

import html
import io
import pathlib
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy

from Classes.common import atomic_files, translation
from Classes.common.conditions import Condition
from Classes.common.number_format import format_number
from Classes.common.translation import Message, localize
from Classes.common.translation import gettext as _

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from Classes.evaluation.classification_metrics import Metric

NOTICE = translation.mark("research use only")


def plot_confusion_matrix(path: pathlib.Path, metrics: dict[str, Any], title: str, condition: Condition) -> None:
    """Draw the confusion matrix.

    Args:
      path: PNG file to write.
      metrics: from classification_metrics.evaluate_predictions.
      title: first line of the title.
      condition: what is detected.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    counts = metrics["counts"]
    cells = numpy.array(
        [
            [counts["true_positives"], counts["false_negatives"]],
            [counts["false_positives"], counts["true_negatives"]],
        ]
    )
    figure, axes = new_figure(
        title_text(title, _("Accuracy {value}").format(value=metric_text(metrics["accuracy"])), metrics["images"])
    )
    display = ConfusionMatrixDisplay(
        cells, display_labels=[condition.class_title(positive) for positive in (True, False)]
    )
    display.plot(ax=axes, cmap="Blues", colorbar=False, im_kw={"vmin": 0}, text_kw={"fontsize": 14})
    for row, total in enumerate(cells.sum(1)):
        for text, count in zip(display.text_[row], cells[row], strict=True):
            text.set_text(
                _("{count}\n{share} of {total}").format(
                    count=count, share=format_number(count / total, ".1%"), total=total
                )
                if total
                else str(count)
            )
    axes.set(xlabel=_("predicted"), ylabel=_("label"))
    save_png(figure, path)


def plot_roc(path: pathlib.Path, labels: Any, scores: Any, metrics: dict[str, Any], title: str) -> None:
    """Draw the ROC curve and the operating point.

    Args:
      path: PNG file to write.
      labels: bool [N], whether an image is of the positive class.
      scores: float [N], probability of the positive class.
      metrics: from classification_metrics.evaluate_predictions, of the same images.
      title: first line of the title.
    """
    figure, axes = new_figure(
        title_text(title, _("ROC AUC {value}").format(value=metric_text(metrics["roc_auc"])), metrics["images"])
    )
    if metrics["roc_auc"]["value"] is None:
        axes.text(0.5, 0.5, _(metrics["roc_auc"]["note"]), ha="center", va="center")
    else:
        from sklearn.metrics import RocCurveDisplay

        RocCurveDisplay.from_predictions(labels, scores, ax=axes, name=_("all thresholds"), plot_chance_level=True)
        sensitivity, specificity = metrics["sensitivity"]["value"], metrics["specificity"]["value"]
        label = _("predictions: sensitivity {sensitivity},\nspecificity {specificity}").format(
            sensitivity=format_number(sensitivity, ".3f"), specificity=format_number(specificity, ".3f")
        )
        axes.plot(1 - specificity, sensitivity, "o", color="C3", label=label)
        axes.legend(loc="lower right")
    set_unit_axes(axes, _("false positive rate (1 - specificity)"), _("sensitivity"))
    save_png(figure, path)


def plot_precision_recall(path: pathlib.Path, labels: Any, scores: Any, title: str) -> None:
    """Draw the precision-recall curve; the arguments are as for `plot_roc`."""
    figure, axes = new_figure(title_text(title, "", len(labels)))
    if any(labels) and not all(labels):
        from sklearn.metrics import PrecisionRecallDisplay

        PrecisionRecallDisplay.from_predictions(
            numpy.asarray(labels), scores, ax=axes, name=_("all thresholds"), plot_chance_level=True
        )
        axes.legend(loc="lower left")
    else:
        axes.text(0.5, 0.5, _("needs images of both classes"), ha="center", va="center")
    set_unit_axes(axes, _("sensitivity (recall)"), _("precision (PPV)"))
    save_png(figure, path)


def plot_reliability(path: pathlib.Path, certainty: dict[str, Any], title: str) -> None:
    """Draw accuracy by confidence, before and after calibration.

    Args:
      path: PNG file to write.
      certainty: {"before" and "after": result of calibration.reliability_bins, or None}.
      title: first line of the title.
    """
    count = sum(each["images"] for each in certainty["after"]["bins"])
    figure, axes = new_figure(title_text(title, "", count))
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label=_("perfect calibration"))
    for key, label in (("before", _("before calibration")), ("after", _("deployed"))):
        bins = certainty[key]["bins"] if certainty[key] else []
        if not bins:
            continue
        accuracies = numpy.array([each["accuracy"] for each in bins])
        # A bin with images of a single patient has no interval.
        ends = numpy.array([each["interval"] or [each["accuracy"]] * 2 for each in bins]).T
        errors = numpy.abs(ends - accuracies)
        confidences = [each["confidence"] for each in bins]
        # Two intervals at one place would hide each other.
        bars = errors if key == "after" else None
        axes.errorbar(confidences, accuracies, yerr=bars, fmt="o-", capsize=3, label=label, clip_on=False)
    # Of two classes, the more likely one has at least 0.5.
    lowest = min([each["confidence"] for each in certainty["after"]["bins"]], default=0.5)
    left = 0.45 if lowest >= 0.45 else 0
    axes.set(xlim=(left, 1), ylim=(0, 1), xlabel=_("confidence"), ylabel=_("accuracy, with 95 % intervals"))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_png(figure, path)


def plot_training_curves(path: pathlib.Path, history: dict[str, list[tuple[int, float]]]) -> None:
    """Draw loss and accuracy over the steps of a training.

    Args:
      path: PNG file to write.
      history: from tensorboard_events.read_scalars.
    """
    figure, axes = new_figure("")
    axes.remove()
    figure.suptitle(f"{_('Training')}, {_(NOTICE)}", fontsize=10.5)
    tags = {
        _("loss"): ("Training_losses/Total_Loss", "Validation_losses/Total_Loss"),
        _("accuracy of training and validation"): ("Training_Accuracy", "Validation_Accuracy"),
    }
    for axes, (name, curves) in zip(figure.subplots(2, 1), tags.items(), strict=True):
        for tag in curves:
            if tag in history:
                axes.plot(
                    *zip(*history[tag], strict=True),
                    label=_("training") if tag.startswith("Training") else _("validation"),
                )
        axes.set(ylabel=name, xlabel=_("step"))
        axes.grid(alpha=0.3)
        axes.legend()
    save_png(figure, path)


def plot_curves(
    path: pathlib.Path, curves: dict[str, list[tuple[float, float]]], xlabel: str, ylabel: str, unit: bool = False
) -> None:
    """Draw curves of several runs.

    Args:
      path: PNG file to write.
      curves: {run: points}.
      xlabel, ylabel: of the axes.
      unit: both axes go from 0 to 1.
    """
    figure, axes = new_figure(_(NOTICE))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) == 1 else None)
    if unit:
        set_unit_axes(axes, xlabel, ylabel)
    else:
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.locator_params(axis="x", integer=True)
        axes.grid(alpha=0.3)
    axes.legend()
    save_png(figure, path)


def title_text(title: str, metric: str, images: int) -> str:
    """Return the lines above a plot: what was measured, a metric, the number of images and the notice."""
    count = _("{count} images, {notice}").format(count=images, notice=_(NOTICE))
    return "\n".join(filter(None, [title, metric, count]))


def new_figure(title: str, size: tuple[float, float] = (4.8, 5.12)) -> tuple["Figure", "Axes"]:
    """Return a figure of a size in inches with one plot under a title."""
    # A Figure without pyplot has no global state, and the Agg canvas needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10.5)
    return figure, axes


def set_unit_axes(axes: "Axes", xlabel: str, ylabel: str) -> None:
    """Show 0 to 1 on both axes."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)


def metric_text(metric: "Metric") -> str:
    """Return a metric with its interval for a title."""
    note = localize(Message(str(metric["note"] or "")))
    if metric["value"] is None:
        return _("unknown: {reason}").format(reason=note)
    interval = note
    if metric["interval"]:
        low, high = (format_number(end, ".3f") for end in metric["interval"])
        interval = _("95 % interval {low} to {high}").format(low=low, high=high)
    return format_number(metric["value"], ".4f") + (f" ({interval})" if interval else "")


def save_png(figure: "Figure", path: pathlib.Path, tight: bool = False) -> None:
    """Write a figure as a PNG file, and as an SVG file of the same name for `inline_svg`.

    Args:
      tight: fit the size of the figure to what is drawn, which may be outside of it, such as long names.
    """
    import matplotlib

    picture, drawing = io.BytesIO(), io.BytesIO()
    # Text stays text, and the salt makes the names of the parts the same every time, but different in each plot.
    options = {"svg.fonttype": "none", "svg.hashsalt": path.stem}
    box = "tight" if tight else None
    with warnings.catch_warnings(), matplotlib.rc_context(options):
        # A class name can have characters that no font of this machine has; the SVG file keeps them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(picture, format="png", bbox_inches=box)
        figure.savefig(drawing, format="svg", metadata={"Date": None}, transparent=True, bbox_inches=box)
    atomic_files.write_atomic(path, picture.getvalue())
    atomic_files.write_atomic(path.with_suffix(".svg"), drawing.getvalue())


def inline_svg(path: pathlib.Path, title: str) -> str:
    """Return a plot as an <svg> element for a page, whose text color it takes, also in dark mode.

    Args:
      path: file that `save_png` wrote.
      title: for readers who do not see the plot.
    """
    text = path.with_suffix(".svg").read_text(encoding="utf-8")
    start, rest = text[text.index("<svg") :].split(">", 1)
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    # Names of parts must be unique in a page with several plots.
    rest = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{path.stem}-", rest)
    rest = rest.replace("#000000", "currentColor").replace("#ffffff", "var(--back, #ffffff)")
    view = re.search(r'viewBox="[^"]+"', start)
    name = html.escape(title, quote=True)
    return f'<svg {view[0] if view else ""} role="img" aria-label="{name}" data-zoom>{rest}'
