import json
import types

import numpy
import pytest
from scipy import special

from Classes.common import conditions, translation
from Classes.evaluation import calibration, classification_metrics, operating_point, threshold_selection
from Classes.inference import prediction
from tests.support import graphs


def drawn(count, temperature, seed=0, classes=2):
    """Logits, and labels drawn from what they say under a temperature."""
    generator = numpy.random.default_rng(seed)
    logits = generator.normal(0, 3, (count, classes))
    chances = special.softmax(logits / temperature, axis=1).cumsum(1)
    return logits, (generator.random((count, 1)) > chances).sum(1)


def manifest(labels, groups=None):
    groups = range(len(labels)) if groups is None else groups
    items = [{"label": int(label), "group": f"original {group}"} for label, group in zip(labels, groups, strict=True)]
    return types.SimpleNamespace(classes=["0", "1"], splits={"validation": items})


def calibrate(folder, labels, logits, *settings, groups=None):
    configuration = graphs.configuration(folder, *settings)
    return operating_point.choose_operating_point(configuration, manifest(labels, groups), lambda: logits)


# Eight ALL and four others; the scores of ALL in order: .9 .8 .7 .6 .45 .3 .2 .1.
SCORES = numpy.array([0.9, 0.8, 0.7, 0.6, 0.45, 0.3, 0.2, 0.1, 0.75, 0.4, 0.25, 0.05])
TRUTHS = numpy.array([True] * 8 + [False] * 4)


@pytest.mark.parametrize(
    ("target", "threshold"),
    [
        (0, 0.5),
        # 0.5 finds four of eight; a higher threshold that finds enough is not taken.
        (0.25, 0.5),
        (0.5, 0.5),
        # Half-way to the score below, whoever has it.
        (0.51, 0.425),
        (0.75, (0.3 + 0.25) / 2),
        (0.76, (0.2 + 0.1) / 2),
        (1, (0.1 + 0.05) / 2),
    ],
)
def test_the_threshold_reaches_the_target_sensitivity(target, threshold):
    found = threshold_selection.threshold_at_sensitivity(SCORES, TRUTHS, target)

    assert found == pytest.approx(threshold)
    assert (SCORES[TRUTHS] >= found).mean() >= target


@pytest.mark.parametrize(
    # One-sided 95 % limits (z = 1.645) of four to eight of eight: 0.246, 0.346, 0.459, 0.590, 0.747.
    ("target", "threshold"),
    [(0.24, 0.5), (0.25, 0.425), (0.4, 0.275), (0.5, 0.15), (0.7, 0.075), (0.8, 0.15)],
)
def test_the_lower_limit_reaches_the_target_if_possible(target, threshold):
    # With 0.8 not even eight of eight would do, so the sensitivity itself counts: seven of eight.
    assert threshold_selection.threshold_at_sensitivity(SCORES, TRUTHS, target, confidence=0.95) == pytest.approx(
        threshold
    )


@pytest.mark.parametrize(
    # Of four others 0.5 spares three, 0.275 (below 0.4) two, 0.15 (below 0.25) one.
    ("specificity", "threshold"),
    [(0, 0.075), (0.25, 0.075), (0.26, 0.275), (0.5, 0.275), (0.51, 0.425), (0.75, 0.425), (0.76, 0.5), (1, 0.5)],
)
def test_the_threshold_keeps_the_minimum_specificity(specificity, threshold):
    assert threshold_selection.threshold_at_sensitivity(SCORES, TRUTHS, 1, specificity) == pytest.approx(threshold)


def test_a_threshold_is_not_lowered_without_gain():
    # Lower ones would spare nine of ten others, but find no more ALL images.
    scores = numpy.array([0.9, 0.8, 0.01, *[0.4, 0.3, 0.2], *[0.05] * 7])
    truths = numpy.arange(13) < 3

    assert threshold_selection.threshold_at_sensitivity(scores, truths, 0.95, 0.65) == 0.5


def test_images_of_one_patient_count_as_fewer_images():
    scores = numpy.repeat([0.9] * 39 + [0.3], 5)
    truths, patients = numpy.ones(200, bool), numpy.repeat(range(40), 5)
    # 195 of 200 are 0.975; one-sided 95 % limit 0.949 of independent images, 0.91 of 40 groups that agree.
    assert threshold_selection.threshold_at_sensitivity(scores, truths, 0.93, confidence=0.95) == 0.5
    assert threshold_selection.threshold_at_sensitivity(
        scores, truths, 0.93, confidence=0.95, groups=patients
    ) == pytest.approx(0.15)


def mislabelled(wrong, count=60, others=100, seed=0):
    """Logits of a good model and labels of which some ALL are lymphocytes in truth."""
    generator = numpy.random.default_rng(seed)
    right = generator.normal(5, 1.5, count - wrong)
    values = numpy.concatenate([right, generator.normal(-5, 1.5, wrong), generator.normal(-5, 1.5, others)])
    return numpy.stack([-values / 2, values / 2], 1), (numpy.arange(count + others) < count).astype(int)


@pytest.mark.parametrize("wrong", [4, 8, 15])
def test_wrong_labels_reduce_neither_specificity_nor_certain_predictions(tmp_path, caplog, wrong):
    logits, labels = mislabelled(wrong)

    choice, about = calibrate(tmp_path, labels, logits)

    scores = calibration.softmax_at_temperature(logits, choice.temperature)[:, 1]
    assert (scores[labels == 0] < choice.threshold).mean() >= 0.9
    low, high = choice.uncertain or (0, 0)
    assert ((scores >= low) & (scores < high)).mean() <= 0.2
    codes = {each["code"] for each in about["warnings"]}
    assert codes == {"sensitivity_not_reached", "band_narrowed"}
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert {each["text"] for each in about["warnings"]} <= set(warned)


def test_a_good_model_needs_no_warning(tmp_path):
    logits, labels = mislabelled(0)

    choice, about = calibrate(tmp_path, labels, logits)

    assert choice.threshold == 0.5
    assert about["warnings"] == []
    assert about["same_images"]["specificity"]["value"] == 1


def test_too_few_positives_cause_a_warning(tmp_path):
    logits, labels = mislabelled(0, count=12)

    choice, about = calibrate(tmp_path, labels, logits)

    assert choice.threshold == 0.5
    assert [each["code"] for each in about["warnings"]] == ["too_few_positives"]


def test_low_specificity_causes_a_warning(tmp_path):
    logits, labels = mislabelled(0)
    logits[60:85] *= -1

    _, about = calibrate(tmp_path, labels, logits, "UncertainErrorRate=1")

    assert [each["code"] for each in about["warnings"]] == ["specificity_below_minimum"]


@pytest.mark.parametrize(
    # The whole band, from 0.15 to 0.775, holds eight of twelve; at a fraction of 0.25 from 0.25 to 0.5 four.
    ("limit", "fraction"),
    [(1, 0.2), (8 / 12, 0.2), (0.6, 0.25), (4 / 12, 0.25)],
)
def test_the_band_keeps_to_the_limit(limit, fraction):
    found = threshold_selection.bounded_uncertainty_band(SCORES, TRUTHS, 0.5, 0.2, limit)

    assert found == threshold_selection.uncertainty_band(SCORES, TRUTHS, 0.5, fraction)


def test_a_band_that_cannot_be_narrowed_contains_the_nearest_scores():
    # Every ALL image lies below every other: the narrowest band of a fraction holds 0.48 and 0.6.
    scores, truths = numpy.array([0.1, 0.2, 0.3, 0.48, 0.6, 0.7, 0.8, 0.9]), numpy.arange(8) < 4

    assert threshold_selection.bounded_uncertainty_band(scores, truths, 0.5, 0, 0.25) == pytest.approx((0.39, 0.65))
    # One of eight: half-way between the distances 0.02 and 0.1.
    assert threshold_selection.bounded_uncertainty_band(scores, truths, 0.5, 0, 0.13) == pytest.approx((0.44, 0.56))
    assert threshold_selection.bounded_uncertainty_band(numpy.full(8, 0.5), truths, 0.5, 0, 0.25) is None


@pytest.mark.parametrize("limit", [0.05, 0.1, 0.3, 0.5])
def test_the_band_keeps_to_any_limit(limit):
    generator = numpy.random.default_rng(0)
    truths = numpy.arange(200) % 2 == 1
    scores = 1 / (1 + numpy.exp(-generator.normal(truths * 1.0 - 0.5, 2)))

    found = threshold_selection.bounded_uncertainty_band(scores, truths, 0.4, 0.02, limit)

    uncertain = (scores >= found[0]) & (scores < found[1]) if found else numpy.zeros(200, bool)
    assert limit - 0.05 < uncertain.mean() <= limit


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
def test_fitting_and_serving_apply_a_threshold_alike(threshold):
    """An engine's probabilities are float32, a card's threshold is float64: 0.7 reaches 0.7 all the same."""
    scores = numpy.array([[1 - threshold, threshold]], "float32")
    choice = operating_point.OperatingPoint(1.0, threshold, (0.0, threshold))

    found = operating_point.apply_operating_point(choice, calibration.log_probabilities(scores), [1])

    assert found.detected.tolist() == [True]
    assert found.uncertain.tolist() == [False]
    assert prediction.apply_threshold(scores[0, 1], threshold) is True
    assert classification_metrics.evaluate_by_patient([1], [scores[0, 1]], ["patient 1"], threshold)["sensitivity"][
        "of"
    ] == [1, 1]


def test_19_of_20_reach_a_target_of_95_percent():
    scores = numpy.linspace(0.02, 0.40, 20)

    assert threshold_selection.threshold_at_sensitivity(scores, numpy.ones(20, bool), 0.95) == pytest.approx(0.03)


def test_equal_scores_are_detected_together():
    scores = numpy.array([0.3, 0.3, 0.3, 0.9])

    assert threshold_selection.threshold_at_sensitivity(scores, numpy.ones(4, bool), 0.5) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("fraction", "limits"),
    [
        # No ALL below, and no other image at or above.
        (0, ((0.1 + 0.05) / 2, (0.75 + 0.8) / 2)),
        # One of eight, none of four.
        (0.2, ((0.2 + 0.1) / 2, (0.75 + 0.8) / 2)),
        (0.25, ((0.3 + 0.25) / 2, 0.5)),
        (1, None),
    ],
)
def test_outside_the_band_at_most_the_stated_fraction_is_wrong(fraction, limits):
    found = threshold_selection.uncertainty_band(SCORES, TRUTHS, 0.5, fraction)

    assert (found is None) if limits is None else found == pytest.approx(limits)
    if found:
        assert (SCORES[TRUTHS] < found[0]).mean() <= fraction
        assert (SCORES[~TRUTHS] >= found[1]).mean() <= fraction


def test_separated_classes_have_no_uncertainty_band():
    assert (
        threshold_selection.uncertainty_band(numpy.array([0.9, 0.8, 0.1, 0.2]), numpy.array([1, 1, 0, 0], bool), 0.5, 0)
        is None
    )


def test_an_overconfident_network_is_corrected(tmp_path, caplog):
    caplog.set_level("INFO")
    logits, labels = drawn(1000, 3.0)

    choice, about = calibrate(tmp_path, labels, logits, "MinimumSpecificity=0", "UncertainLimit=1")

    assert choice.temperature == pytest.approx(3, rel=0.15)
    assert about["ece_after"] < 0.04 < about["ece_before"]
    assert about["cross_entropy_after"] < about["cross_entropy_before"]
    assert about["same_images"]["sensitivity"]["value"] >= 0.95
    assert choice.threshold < 0.5
    assert choice.uncertain[0] <= choice.threshold < choice.uncertain[1]
    assert about["cross_fitted"]


def test_cross_fitting_measures_on_images_not_used_for_the_choice(tmp_path):
    # Labels that have nothing to do with the logits: chosen on them the threshold seems to find 95 %.
    generator = numpy.random.default_rng(5)
    logits, labels = generator.normal(size=(60, 2)), numpy.array([0, 1] * 30)

    _, about = calibrate(tmp_path, labels, logits, "MinimumSpecificity=0", "UncertainLimit=1")

    same, other = about["same_images"], about["cross_fitted"]
    assert same["sensitivity"]["of"][0] >= 29
    assert other["sensitivity"]["of"][1] == 30, "every image is classified once"
    assert other["cross_entropy"] > same["cross_entropy"]


def test_images_of_one_source_image_are_in_one_fold():
    labels, groups = numpy.array([0, 0, 1, 1] * 10), numpy.arange(40) // 4

    parts = operating_point.group_folds(labels, groups.tolist(), 50)

    assert len(parts) == 5
    assert sorted(numpy.concatenate([rows for _, rows in parts])) == list(range(40))
    for others, rows in parts:
        assert not set(groups[others]) & set(groups[rows])


def test_one_group_per_class_cannot_be_cross_fitted(tmp_path):
    logits, labels = drawn(60, 1.0)

    choice, about = calibrate(tmp_path, labels, logits, groups=labels)

    assert choice.temperature != 1
    assert about["cross_fitted"] is None


@pytest.mark.parametrize("labels", [[], [1] * 50, [1] * 50 + [0] * 9])
def test_too_few_images_keep_the_default_operating_point(tmp_path, caplog, labels):
    configuration = graphs.configuration(tmp_path)

    choice, about = operating_point.choose_operating_point(
        configuration, manifest(labels), lambda: pytest.fail("not needed")
    )

    assert choice == operating_point.OperatingPoint(1.0, 0.5, None)
    assert about["note"] in caplog.text
    assert about["images"] == len(labels)


def test_a_warning_of_the_model_card_is_shown_in_the_readers_language():
    values = {"specificity": 0.8, "threshold": 0.25, "minimum": 0.9}
    text = "The specificity is 0.800 at a threshold of 0.250, below MinimumSpecificity=0.9. Check the labels."
    warning = {"code": "specificity_below_minimum", "text": text, "values": values}

    with translation.use_language("es"):
        shown = translation.localize(operating_point.warning_message(json.loads(json.dumps(warning)), conditions.ALL))
        # Of a model card without the values.
        older = translation.localize(
            operating_point.warning_message({"code": warning["code"], "text": text}, conditions.ALL)
        )

    assert shown.startswith("La especificidad es 0.800 con un umbral de 0.250")
    assert older == text
