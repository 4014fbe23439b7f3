import numpy
import pytest
from PIL import Image

from Classes.common import conditions
from Classes.evaluation import calibration, classification_metrics, plots

LABELS = numpy.array([True] * 5 + [False] * 7)
SCORES = numpy.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.75, 0.65, 0.4, 0.3, 0.1, 0.1, 0.05])


def evaluate(labels=LABELS, scores=SCORES):
    return classification_metrics.evaluate_predictions(labels, scores, scores >= 0.5)


@pytest.fixture
def drawn(monkeypatch):
    """The figure that was saved last, so that its texts can be read."""
    saved = []
    save = plots.save_png

    def keep(figure, path):
        saved.append(figure)
        save(figure, path)

    monkeypatch.setattr(plots, "save_png", keep)
    return saved


def test_the_confusion_matrix_shows_counts_fractions_and_interval(tmp_path, drawn):
    plots.plot_confusion_matrix(tmp_path / "confusion.png", evaluate(), "Validation", conditions.ALL)

    axes = drawn[0].axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["4\n80.0% of 5", "1\n20.0% of 5", "2\n28.6% of 7", "5\n71.4% of 7"]
    title = axes.get_title()
    assert title == "Validation\nAccuracy 0.7500 (95 % interval 0.468 to 0.911)\n12 images, research use only"
    with Image.open(tmp_path / "confusion.png") as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_the_roc_curve_contains_the_operating_point(tmp_path, drawn):
    plots.plot_roc(tmp_path / "roc.png", LABELS, SCORES, evaluate(), "Validation")

    curve, _, point = drawn[0].axes[0].lines
    assert curve.get_xydata()[0] == pytest.approx([0, 0])
    assert curve.get_xydata()[-1] == pytest.approx([1, 1])
    # The title states the area under the drawn curve.
    area = numpy.trapezoid(curve.get_ydata(), curve.get_xdata())
    assert f"ROC AUC {area:.4f}" in drawn[0].axes[0].get_title()
    assert point.get_xydata()[0] == pytest.approx([2 / 7, 4 / 5])
    assert "research use only" in drawn[0].axes[0].get_title()


@pytest.mark.parametrize(("labels", "scores"), [([], []), ([True, True], [0.9, 0.1]), ([False], [0.9])])
def test_images_of_one_class_are_plotted_without_a_curve(tmp_path, drawn, labels, scores):
    labels, scores = numpy.array(labels, bool), numpy.array(scores, float)
    found = evaluate(labels, scores)

    plots.plot_roc(tmp_path / "roc.png", labels, scores, found, "Validation")
    plots.plot_confusion_matrix(tmp_path / "confusion.png", found, "Validation", conditions.ALL)

    assert "ROC AUC unknown" in drawn[0].axes[0].get_title()
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_a_bin_of_images_of_one_patient_has_no_interval(tmp_path, drawn):
    found = calibration.reliability_bins(
        [[0.1, 0.9]] * 3 + [[0.25, 0.75]] * 2, [1, 1, 0, 1, 1], ["p1"] * 3 + ["p2", "p3"]
    )

    plots.plot_reliability(tmp_path / "reliability.png", {"before": None, "after": found}, "Validation")

    assert [each["interval"] is None for each in found["bins"]] == [False, True]
    (bars,) = drawn[0].axes[0].containers
    assert bars.lines[0].get_ydata() == pytest.approx([1, 2 / 3])
