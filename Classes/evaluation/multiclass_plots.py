"""Draw the confusion matrix and the ROC curves of several classes."""

import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from Classes.common.class_scheme import ClassScheme
from Classes.common.errors import escape_control_chars
from Classes.common.number_format import format_number
from Classes.common.terminal import shorten
from Classes.common.translation import gettext as _
from Classes.evaluation import plots

if TYPE_CHECKING:
    from matplotlib.text import Text

# Files of `plot_all`.
FILES = ("confusion_classes.png", "confusion_groups.png", "roc_classes.png", "reliability_classes.png")

# Inches per class, and of the rest of a figure with its names; a figure with two classes has the size of the others.
_CELL, _MARGIN = 0.52, 2.6

# From this number of classes, a cell has room for a number only, without its share.
_DENSE = 13

# Longest line of a name in characters, and largest number of lines.
_NAME_WIDTH, _NAME_LINES = 18, 2

# Curves that differ in color; further ones differ in their line style.
_COLORS, _STYLES = 10, ("-", "--", ":", "-.")


def plot_all(
    folder: pathlib.Path,
    scheme: ClassScheme,
    rows: Sequence[Mapping[str, Any]],
    metrics: dict[str, Any],
    title: str,
) -> None:
    """Draw all plots of several classes and of their groups into a folder.

    Args:
      folder: for the plots.
      scheme: classes and groups.
      rows: predictions as in metrics.json.
      metrics: from multiclass_metrics.evaluate_scheme, of the same images.
      title: first line of the titles.
    """
    labels = [scheme.names.index(row["label"]) for row in rows]
    probabilities = numpy.array([[row["probabilities"][name] for name in scheme.names] for row in rows])
    confusion, groups, roc, reliability = (folder / name for name in FILES)
    plot_confusion_matrix(confusion, metrics, title)
    plot_roc_curves(roc, labels, probabilities.reshape(len(labels), -1), metrics, title)
    plots.plot_reliability(reliability, metrics["calibration"], title)
    if metrics["groups"]:
        plot_confusion_matrix(groups, metrics["groups"], title)


def plot_confusion_matrix(path: pathlib.Path, metrics: dict[str, Any], title: str) -> None:
    """Draw counts of true and predicted classes, colored by their share of the true class.

    Args:
      path: PNG file to write.
      metrics: from multiclass_metrics.evaluate_multiclass.
      title: first line of the title.
    """
    names, cells = _names(metrics), numpy.array(metrics["confusion"])
    count = len(names)
    value = _("Macro-F1 {value}").format(value=plots.metric_text(metrics["macro_f1"]))
    side = max(4.8, _MARGIN + _CELL * count)
    figure, axes = plots.new_figure(plots.title_text(title, value, metrics["images"]), (side, side + 0.32))
    shares = cells / numpy.maximum(cells.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in numpy.ndindex(count, count):
        if cells[row, column]:
            text = str(cells[row, column])
            if count < _DENSE:
                text += "\n" + format_number(shares[row, column], ".0%")
            # The ends of the color map, which a page does not replace by the color of its text.
            color = "#f7fbff" if shares[row, column] > 0.5 else "#08306b"
            axes.text(column, row, text, ha="center", va="center", fontsize=10 if count < _DENSE else 9, color=color)
    axes.set(xlabel=_("predicted"), ylabel=_("label"))
    size = 11 if count < _DENSE else 10
    # As large as in the other plots if a page shows both at the same width.
    axes.title.set_fontsize(10.5 * min(side / 4.8, 1.6))
    axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        _as_written(label)
    plots.save_png(figure, path, tight=True)


def plot_roc_curves(
    path: pathlib.Path, labels: Any, probabilities: numpy.ndarray, metrics: dict[str, Any], title: str
) -> None:
    """Draw the ROC curve of each class against all others.

    Args:
      path: PNG file to write.
      labels: int [N].
      probabilities: float [N, classes].
      metrics: from multiclass_metrics.evaluate_multiclass, of the same images.
      title: first line of the title.
    """
    from sklearn.metrics import roc_curve

    truths, names = numpy.asarray(labels, int), _names(metrics, lines=1)
    value = _("Macro ROC AUC {value}").format(value=plots.metric_text(metrics["macro_roc_auc"]))
    height = max(5.12, 2.2 + 0.17 * len(names))
    figure, axes = plots.new_figure(plots.title_text(title, value, metrics["images"]), (8.2, height))
    texts = []
    for number, (name, row) in enumerate(zip(names, metrics["classes"].values(), strict=True)):
        if row["roc_auc"]["value"] is None:
            continue
        false_rates, rates, _thresholds = roc_curve(truths == number, probabilities[:, number])
        style = _STYLES[number // _COLORS % len(_STYLES)]
        axes.plot(false_rates, rates, style, color=f"C{number % _COLORS}", linewidth=1.3, label=str(number))
        texts.append(f"{format_number(row['roc_auc']['value'], '.3f')}  {name}")
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="chance")
    texts.append(_("chance"))
    plots.set_unit_axes(axes, _("false positive rate (1 - specificity)"), _("sensitivity (recall)"))
    legend = axes.legend(
        loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, title=_("ROC AUC, class"), title_fontsize=8
    )
    # Set here, because matplotlib hides a label that starts with an underscore.
    for label, text in zip(legend.get_texts(), texts, strict=True):
        label.set_text(text)
        _as_written(label)
    plots.save_png(figure, path, tight=True)


def _names(metrics: dict[str, Any], lines: int = _NAME_LINES) -> list[str]:
    """Return the class names, each broken into lines and shortened in its middle."""
    names = [shorten(escape_control_chars(name), _NAME_WIDTH * _NAME_LINES) for name in metrics["classes"]]
    return ["\n".join(textwrap.wrap(name, _NAME_WIDTH)[:_NAME_LINES]) if lines > 1 else name for name in names]


def _as_written(text: "Text") -> None:
    """Show a name literally, so that matplotlib does not read "$" as the start of a formula."""
    text.set_parse_math(False)
    text.set_fontfamily(font_families())


def font_families() -> Sequence[str]:
    """Return the fonts for names, of which the first that has a character draws it: those with more than Latin last."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)]


# Fonts with Chinese, Japanese, Korean and other characters that are common on Linux, macOS and Windows.
_MORE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic",
    "Malgun Gothic", "Arial Unicode MS",
)  # fmt: skip
