"""Confidence intervals have the stated coverage for images in groups and are Wilson's for independent images."""

import numpy
import pytest
from scipy import stats

from benchmarks import coverage
from Classes.common import statistics
from Classes.evaluation import classification_metrics


@pytest.mark.parametrize("successes", [0, 1, 37, 90, 100])
def test_groups_of_one_image_have_wilsons_interval(successes):
    hits = numpy.random.default_rng(successes).permutation(100) < successes
    expected = stats.binomtest(successes, 100).proportion_ci(0.95, method="wilson")

    for groups in (None, range(100), [f"patient {number}" for number in range(100)]):
        assert statistics.proportion_interval(hits, groups) == pytest.approx(expected)


def test_the_effective_size_calculated_by_hand():
    # Four groups of five: all right, all right, all right, all wrong. Variance between groups over that between images:
    # (20/4 images alike) 4/3 (3 1.25² + 3.75²) / (20/19 (15 0.25² + 5 0.75²)) = 25 / 3.947 = 6.333; above 5, so the
    # correlation is 1. One group tells: the mean of 1 and 0.5. t is 3.182 for 3 degrees of freedom, 2.093 for 19.
    hits, groups = [1] * 15 + [0] * 5, numpy.repeat([0, 1, 2, 3], 5)

    assert statistics.effective_size(hits, groups) == pytest.approx(
        20 / (1 + 4 * 0.75) / (3.1824 / 2.0930) ** 2, rel=1e-3
    )


def test_copies_of_images_do_not_narrow_the_interval():
    hits = numpy.random.default_rng(3).random(100) < 0.8
    alone = numpy.diff(statistics.proportion_interval(hits))
    copied = numpy.diff(statistics.proportion_interval(numpy.repeat(hits, 10), numpy.repeat(range(100), 10)))

    assert copied == pytest.approx(alone, rel=0.05)


def test_groups_without_an_error_count_as_fewer_images():
    low, high = statistics.proportion_interval([True] * 200, numpy.repeat(range(40), 5))

    # The lower end for 40 independent images is 0.912, for 200 it is 0.981.
    assert 0.91 < low < 0.97
    assert high == 1


@pytest.mark.parametrize(("hits", "groups"), [([], []), ([True, False, True], ["patient 1"] * 3)])
def test_no_images_and_a_single_group_have_no_interval(hits, groups):
    assert statistics.proportion_interval(hits, groups) is None


@pytest.mark.parametrize("groups", [[0] * 50 + [1] * 50, [0] * 99 + [1], [0, 0, 1]])
def test_two_groups_have_a_wide_interval(groups):
    hits = numpy.arange(len(groups)) % 10 > 0

    low, high = statistics.proportion_interval(hits, groups)

    assert 0 <= low <= hits.mean() <= high <= 1
    assert high - low > 0.5


@pytest.mark.parametrize(
    ("sizes", "share", "correlation", "least", "most"),
    [
        ("40 x 5", 0.9, 1 / 3, 0.93, 0.97),
        ("40 x 5", 0.5, 1 / 3, 0.93, 0.97),
        ("40 x 5", 0.97, 1 / 3, 0.93, 0.98),
        ("40 x 5", 0.9, 0, 0.94, 0.98),
        ("40, of 1 to 9", 0.9, 1 / 3, 0.93, 0.97),
        ("20 x 4 and 1 x 40", 0.9, 1 / 3, 0.93, 0.99),
        ("8 x 10", 0.9, 1 / 3, 0.93, 1),
        ("5 x 12", 0.97, 1 / 3, 0.93, 1),
        ("200 x 1", 0.9, 0, 0.93, 0.97),
    ],
)
def test_the_interval_has_the_stated_coverage(sizes, share, correlation, least, most):
    found, _ = coverage.coverage(
        statistics.proportion_interval, coverage.SIZES[sizes], share, correlation, runs=1500, seed=1
    )

    assert least <= found <= most


def test_the_interval_over_images_has_too_little_coverage():
    found, _ = coverage.coverage(lambda hits, _: statistics.proportion_interval(hits), [5] * 40, 0.9, 1 / 3, runs=500)

    assert found < 0.87


def test_proportions_have_the_interval_over_groups():
    """Sensitivity, specificity and the rest go by the groups among their own images."""
    generator = numpy.random.default_rng(5)
    groups = numpy.repeat([f"patient {number}" for number in range(20)], 6)
    labels = numpy.repeat(generator.random(20) < 0.5, 6)
    detections = labels ^ numpy.repeat(generator.random(20) < 0.2, 6)

    figures = classification_metrics.evaluate_predictions(labels, detections.astype(float), detections, groups)

    assert figures["sensitivity"]["interval"] == list(
        statistics.proportion_interval(detections[labels], groups[labels])
    )
    assert figures["specificity"]["interval"] == list(
        statistics.proportion_interval(~detections[~labels], groups[~labels])
    )
    for name in ("accuracy", "sensitivity", "specificity", "precision", "negative_predictive_value"):
        hits, total = figures[name]["of"]
        naive = statistics.wilson_interval(hits / total, total)
        assert numpy.diff(figures[name]["interval"]) > 1.5 * numpy.diff(naive), name
    rest = classification_metrics.selective_metrics(labels, detections, numpy.zeros(120, bool), groups)[
        "accuracy_of_rest"
    ]
    assert rest["interval"] == figures["accuracy"]["interval"]


def test_the_areas_of_samples_are_those_of_each_sample():
    generator = numpy.random.default_rng(3)
    labels, scores = generator.random(40) < 0.4, generator.integers(0, 10, 40) / 10
    samples = list(statistics.bootstrap_group_indices(numpy.arange(40) // 2, 40, 50, 30))
    samples.append(labels.astype(int))

    found = statistics.roc_auc_of_samples(labels, numpy.array(samples), statistics.score_order(scores))

    assert found[:-1] == pytest.approx([statistics.roc_auc(labels, scores, weights) for weights in samples[:-1]])
    assert numpy.isnan(found[-1]), "a sample without the other class"


def test_the_samples_are_the_same_some_at_a_time():
    groups = numpy.arange(30) // 3

    one = numpy.array(list(statistics.bootstrap_group_indices(groups, 30, 50, 250)))
    chunks = list(statistics.bootstrap_group_weights(groups, 30, 50, 250))

    assert [len(chunk) for chunk in chunks] == [100, 100, 50]
    assert (numpy.concatenate(chunks) == one).all()
