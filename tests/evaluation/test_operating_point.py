import types

import numpy
import pytest
from scipy import special
from sklearn import calibration

from Classes.evaluation import classification_metrics, operating_point
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
    return operating_point.calibrate(configuration, manifest(labels, groups), lambda: logits)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(temperature, classes):
    logits, labels = drawn(20_000, temperature, classes=classes)

    assert operating_point.fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_a_constant_an_image_changes_no_temperature():
    logits, labels = drawn(500, 2.0)

    shifted = operating_point.fit_temperature(logits + numpy.arange(500)[:, None], labels)

    assert shifted == pytest.approx(operating_point.fit_temperature(logits, labels), rel=1e-4)


def test_images_that_are_all_right_do_not_make_every_confidence_one():
    logits = numpy.array([[2.0, 0.0], [0.0, 2.0]] * 10)

    temperature = operating_point.fit_temperature(logits, numpy.array([0, 1] * 10))

    assert 0.1 < temperature < 1


def test_a_calibrated_graph_is_the_graph_of_divided_logits():
    generator = numpy.random.default_rng(0)
    features = generator.normal(size=(5, 8))
    arrays = {
        "last/weights": generator.normal(size=(1, 1, 8, 3)).astype("float32"),
        "last/biases": numpy.array([1, 2, 3], "float32"),
        "other/weights": numpy.ones(2, "float32"),
    }

    folded = operating_point.fold_temperature(arrays, "last", 4.0)

    def logits(values):
        return features @ values["last/weights"][0, 0] + values["last/biases"]

    numpy.testing.assert_allclose(logits(folded), logits(arrays) / 4, rtol=1e-5)
    assert folded["other/weights"] is arrays["other/weights"]
    probabilities = special.softmax(logits(arrays), axis=1)
    expected = special.softmax(logits(arrays) / 4, axis=1)
    found = operating_point.softmax_at_temperature(operating_point.log_probabilities(probabilities), 4.0)
    numpy.testing.assert_allclose(found, expected, rtol=1e-9)


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
def test_the_threshold_finds_the_stated_share(target, threshold):
    found = operating_point.threshold_at_sensitivity(SCORES, TRUTHS, target)

    assert found == pytest.approx(threshold)
    assert (SCORES[TRUTHS] >= found).mean() >= target


@pytest.mark.parametrize(
    # One-sided 95 % limits (z = 1.645) of four to eight of eight: 0.246, 0.346, 0.459, 0.590, 0.747.
    ("target", "threshold"),
    [(0.24, 0.5), (0.25, 0.425), (0.4, 0.275), (0.5, 0.15), (0.7, 0.075), (0.8, 0.15)],
)
def test_the_lower_limit_has_to_reach_the_target_if_it_can(target, threshold):
    # With 0.8 not even eight of eight would do, so that the share itself counts: seven of eight.
    assert operating_point.threshold_at_sensitivity(SCORES, TRUTHS, target, confidence=0.95) == pytest.approx(threshold)


@pytest.mark.parametrize(
    # Of four others 0.5 spares three, 0.275 (below 0.4) two, 0.15 (below 0.25) one.
    ("specificity", "threshold"),
    [(0, 0.075), (0.25, 0.075), (0.26, 0.275), (0.5, 0.275), (0.51, 0.425), (0.75, 0.425), (0.76, 0.5), (1, 0.5)],
)
def test_the_threshold_costs_no_more_specificity_than_it_may(specificity, threshold):
    assert operating_point.threshold_at_sensitivity(SCORES, TRUTHS, 1, specificity) == pytest.approx(threshold)


def test_a_bound_threshold_is_not_lowered_for_nothing():
    # Lower ones would spare nine of ten others, but find no more ALL images.
    scores = numpy.array([0.9, 0.8, 0.01, *[0.4, 0.3, 0.2], *[0.05] * 7])
    truths = numpy.arange(13) < 3

    assert operating_point.threshold_at_sensitivity(scores, truths, 0.95, 0.65) == 0.5


def test_images_of_one_patient_count_as_fewer():
    scores = numpy.repeat([0.9] * 39 + [0.3], 5)
    truths, patients = numpy.ones(200, bool), numpy.repeat(range(40), 5)
    # 195 of 200 are 0.975; one-sided 95 % limit 0.949 of independent images, 0.91 of 40 groups that agree.
    assert operating_point.threshold_at_sensitivity(scores, truths, 0.93, confidence=0.95) == 0.5
    assert operating_point.threshold_at_sensitivity(
        scores, truths, 0.93, confidence=0.95, groups=patients
    ) == pytest.approx(0.15)


def mislabelled(wrong, count=60, others=100, seed=0):
    """Logits of a good model and labels of which some ALL are lymphocytes in truth."""
    generator = numpy.random.default_rng(seed)
    right = generator.normal(5, 1.5, count - wrong)
    values = numpy.concatenate([right, generator.normal(-5, 1.5, wrong), generator.normal(-5, 1.5, others)])
    return numpy.stack([-values / 2, values / 2], 1), (numpy.arange(count + others) < count).astype(int)


@pytest.mark.parametrize("wrong", [4, 8, 15])
def test_wrong_labels_cost_neither_specificity_nor_half_of_the_predictions(tmp_path, caplog, wrong):
    logits, labels = mislabelled(wrong)

    choice, about = calibrate(tmp_path, labels, logits)

    scores = operating_point.softmax_at_temperature(logits, choice.temperature)[:, 1]
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


def test_too_few_positives_are_told(tmp_path):
    logits, labels = mislabelled(0, count=12)

    choice, about = calibrate(tmp_path, labels, logits)

    assert choice.threshold == 0.5
    assert [each["code"] for each in about["warnings"]] == ["too_few_positives"]


def test_a_model_of_little_specificity_is_told(tmp_path):
    logits, labels = mislabelled(0)
    logits[60:85] *= -1

    _, about = calibrate(tmp_path, labels, logits, "UncertainShare=1")

    assert [each["code"] for each in about["warnings"]] == ["specificity_below_minimum"]


@pytest.mark.parametrize(
    # The whole band, from 0.15 to 0.775, holds eight of twelve; at a share of 0.25 from 0.25 to 0.5 four.
    ("limit", "share"),
    [(1, 0.2), (8 / 12, 0.2), (0.6, 0.25), (4 / 12, 0.25)],
)
def test_the_band_holds_no_more_than_it_may(limit, share):
    found = operating_point.bounded_uncertainty_band(SCORES, TRUTHS, 0.5, 0.2, limit)

    assert found == operating_point.uncertainty_band(SCORES, TRUTHS, 0.5, share)


def test_a_band_that_cannot_be_narrowed_holds_what_is_nearest():
    # Every ALL image lies below every other: the narrowest band of a share holds 0.48 and 0.6.
    scores, truths = numpy.array([0.1, 0.2, 0.3, 0.48, 0.6, 0.7, 0.8, 0.9]), numpy.arange(8) < 4

    assert operating_point.bounded_uncertainty_band(scores, truths, 0.5, 0, 0.25) == pytest.approx((0.39, 0.65))
    # One of eight: half-way between the distances 0.02 and 0.1.
    assert operating_point.bounded_uncertainty_band(scores, truths, 0.5, 0, 0.13) == pytest.approx((0.44, 0.56))
    assert operating_point.bounded_uncertainty_band(numpy.full(8, 0.5), truths, 0.5, 0, 0.25) is None


@pytest.mark.parametrize("limit", [0.05, 0.1, 0.3, 0.5])
def test_whatever_the_limit_the_band_keeps_to_it(limit):
    generator = numpy.random.default_rng(0)
    truths = numpy.arange(200) % 2 == 1
    scores = 1 / (1 + numpy.exp(-generator.normal(truths * 1.0 - 0.5, 2)))

    found = operating_point.bounded_uncertainty_band(scores, truths, 0.4, 0.02, limit)

    uncertain = (scores >= found[0]) & (scores < found[1]) if found else numpy.zeros(200, bool)
    assert limit - 0.05 < uncertain.mean() <= limit


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
def test_a_threshold_is_the_same_for_fitting_and_for_serving(threshold):
    """An engine's probabilities are float32, a card's threshold is float64: 0.7 reaches 0.7 all the same."""
    scores = numpy.array([[1 - threshold, threshold]], "float32")
    choice = operating_point.OperatingPoint(1.0, threshold, (0.0, threshold))

    found = operating_point.judge_predictions(choice, operating_point.log_probabilities(scores), 1)

    assert found.detected.tolist() == [True]
    assert found.uncertain.tolist() == [False]
    assert prediction.apply_threshold(scores[0, 1], threshold) is True
    assert classification_metrics.evaluate_by_patient([1], [scores[0, 1]], ["patient 1"], threshold)["sensitivity"][
        "of"
    ] == [1, 1]


def test_nineteen_of_twenty_are_ninety_five_percent():
    scores = numpy.linspace(0.02, 0.40, 20)

    assert operating_point.threshold_at_sensitivity(scores, numpy.ones(20, bool), 0.95) == pytest.approx(0.03)


def test_tied_scores_are_found_together():
    scores = numpy.array([0.3, 0.3, 0.3, 0.9])

    assert operating_point.threshold_at_sensitivity(scores, numpy.ones(4, bool), 0.5) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("share", "limits"),
    [
        # No ALL below, and no other image at or above.
        (0, ((0.1 + 0.05) / 2, (0.75 + 0.8) / 2)),
        # One of eight, none of four.
        (0.2, ((0.2 + 0.1) / 2, (0.75 + 0.8) / 2)),
        (0.25, ((0.3 + 0.25) / 2, 0.5)),
        (1, None),
    ],
)
def test_beyond_the_band_lies_at_most_the_stated_share_on_the_wrong_side(share, limits):
    found = operating_point.uncertainty_band(SCORES, TRUTHS, 0.5, share)

    assert (found is None) if limits is None else found == pytest.approx(limits)
    if found:
        assert (SCORES[TRUTHS] < found[0]).mean() <= share
        assert (SCORES[~TRUTHS] >= found[1]).mean() <= share


def test_classes_that_lie_apart_leave_nothing_uncertain():
    assert (
        operating_point.uncertainty_band(numpy.array([0.9, 0.8, 0.1, 0.2]), numpy.array([1, 1, 0, 0], bool), 0.5, 0)
        is None
    )


def test_the_expected_error_by_hand_and_by_scikit_learn():
    # Two bins: confidences 0.6 and 0.65, one of two right; 0.9 and 0.95, both right.
    probabilities = numpy.array([[0.6, 0.4], [0.35, 0.65], [0.1, 0.9], [0.95, 0.05]])
    found = operating_point.reliability_bins(probabilities, [0, 0, 1, 0])

    assert found["ece"] == pytest.approx((abs(1 - 1.25) + abs(2 - 1.85)) / 4)
    assert [(each["images"], each["accuracy"]) for each in found["bins"]] == [(2, 0.5), (2, 1.0)]
    assert found["bins"][0]["interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)

    logits, labels = drawn(3000, 2.0)
    probabilities = special.softmax(logits, axis=1)
    found = operating_point.reliability_bins(probabilities, labels)
    right = probabilities.argmax(1) == labels
    accuracy, confidence = calibration.calibration_curve(right, probabilities.max(1), n_bins=10)
    weights = numpy.array([each["images"] for each in found["bins"]]) / 3000
    assert found["ece"] == pytest.approx((weights * abs(accuracy - confidence)).sum())


def test_what_chance_alone_makes_of_true_confidences():
    logits, labels = drawn(200, 1.0)
    probabilities = special.softmax(logits, axis=1)

    many = [
        operating_point.reliability_bins(probabilities, drawn_again(probabilities, seed))["ece"] for seed in range(200)
    ]

    assert operating_point.reliability_bins(probabilities, labels)["chance"] == pytest.approx(numpy.mean(many), rel=0.1)


def drawn_again(probabilities, seed):
    return (numpy.random.default_rng(seed).random(len(probabilities)) < probabilities[:, 1]).astype(int)


def test_no_images_have_no_error():
    assert operating_point.reliability_bins(numpy.zeros((0, 2)), []) == {"ece": None, "chance": None, "bins": []}


def test_a_network_that_is_too_sure_is_corrected(tmp_path, caplog):
    caplog.set_level("INFO")
    logits, labels = drawn(1000, 3.0)

    choice, about = calibrate(tmp_path, labels, logits, "MinimumSpecificity=0", "UncertainLimit=1")

    assert choice.temperature == pytest.approx(3, rel=0.15)
    assert about["ece_after"] < 0.04 < about["ece_before"]
    assert about["cross_entropy_after"] < about["cross_entropy_before"]
    assert about["same_images"]["sensitivity"]["value"] >= 0.95
    assert choice.threshold < 0.5
    assert choice.uncertain[0] <= choice.threshold < choice.uncertain[1]
    assert "The same images chose these" in caplog.text


def test_what_the_images_chose_is_judged_on_images_that_did_not_choose(tmp_path):
    # Labels that have nothing to do with the logits: chosen on them the threshold seems to find 95 %.
    generator = numpy.random.default_rng(5)
    logits, labels = generator.normal(size=(60, 2)), numpy.array([0, 1] * 30)

    _, about = calibrate(tmp_path, labels, logits, "MinimumSpecificity=0", "UncertainLimit=1")

    same, other = about["same_images"], about["cross_fitted"]
    assert same["sensitivity"]["of"][0] >= 29
    assert other["sensitivity"]["of"][1] == 30, "every image is judged once"
    assert other["cross_entropy"] > same["cross_entropy"]


def test_images_of_one_original_are_in_one_part():
    labels, groups = numpy.array([0, 0, 1, 1] * 10), numpy.arange(40) // 4

    parts = operating_point._group_folds(labels, groups.tolist(), 50)

    assert len(parts) == 5
    assert sorted(numpy.concatenate([rows for _, rows in parts])) == list(range(40))
    for others, rows in parts:
        assert not set(groups[others]) & set(groups[rows])


def test_one_original_a_class_is_chosen_from_and_not_judged(tmp_path):
    logits, labels = drawn(60, 1.0)

    choice, about = calibrate(tmp_path, labels, logits, groups=labels)

    assert choice.temperature != 1
    assert about["cross_fitted"] is None


@pytest.mark.parametrize("labels", [[], [1] * 50, [1] * 50 + [0] * 9])
def test_too_few_images_choose_nothing(tmp_path, caplog, labels):
    configuration = graphs.configuration(tmp_path)

    choice, about = operating_point.calibrate(configuration, manifest(labels), lambda: pytest.fail("not needed"))

    assert choice == operating_point.OperatingPoint(1.0, 0.5, None)
    assert about["note"] in caplog.text
    assert "where 10 are needed" in about["note"]
