"""The plots of several classes hold every class, whatever its name."""

import re

import numpy
import pytest
from PIL import Image

from Classes.evaluation import multiclass_metrics, multiclass_plots, plots

NAMES = ["_hidden $x^2$", "[Malignant] Pre-B lymphoblast of the bone marrow", "幼稚粒细胞"]


def evaluate(names, absent=False):
    generator = numpy.random.default_rng(1)
    labels = generator.integers(0, len(names) - absent, 12 * len(names))
    probabilities = generator.dirichlet([1] * len(names), len(labels)) + numpy.eye(len(names))[labels] / 2
    probabilities /= probabilities.sum(1, keepdims=True)
    return labels, probabilities, multiclass_metrics.evaluate_multiclass(labels, probabilities, names, None)


def texts(path):
    """The texts of the drawing beside a plot."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.with_suffix(".svg").read_text(encoding="utf-8"))


@pytest.mark.parametrize("count", [3, 10, 20])
def test_a_confusion_matrix_has_a_cell_for_every_pair_and_no_text_for_0(tmp_path, count):
    names = [f"class {number}" for number in range(count)]
    _, _, metrics = evaluate(names)

    multiclass_plots.plot_confusion_matrix(tmp_path / "confusion.png", metrics, "Validation")

    shown = texts(tmp_path / "confusion.png")
    cells = [number for row in metrics["confusion"] for number in row if number]
    assert [shown.count(name) for name in names] == [2] * count
    assert sorted(int(text) for text in shown if text.isdigit()) == sorted(cells)
    with Image.open(tmp_path / "confusion.png") as picture:
        assert min(picture.size) >= 40 * count


def test_any_name_is_shown_as_it_is(tmp_path):
    labels, probabilities, metrics = evaluate(NAMES)

    multiclass_plots.plot_confusion_matrix(tmp_path / "confusion.png", metrics, "Validation")
    multiclass_plots.plot_roc_curves(tmp_path / "roc.png", labels, probabilities, metrics, "Validation")

    for file in ("confusion.png", "roc.png"):
        shown = " ".join(texts(tmp_path / file))
        assert NAMES[0] in shown
        assert "[Malignant]" in shown
        assert NAMES[2] in shown


def test_a_class_without_images_has_no_curve(tmp_path):
    labels, probabilities, metrics = evaluate(["a class", "another class", "an absent class"], absent=True)

    multiclass_plots.plot_roc_curves(tmp_path / "roc.png", labels, probabilities, metrics, "Validation")

    shown = " ".join(texts(tmp_path / "roc.png"))
    assert "another class" in shown
    assert "absent" not in shown


def test_the_drawing_is_the_same_every_time(tmp_path):
    _, _, metrics = evaluate(NAMES)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        multiclass_plots.plot_confusion_matrix(tmp_path / folder / "confusion.png", metrics, "Validation")

    one, two = ((tmp_path / folder / "confusion.svg").read_bytes() for folder in ("one", "two"))
    assert one == two
    assert "<text" in plots.inline_svg(tmp_path / "one" / "confusion.png", "Confusion")
