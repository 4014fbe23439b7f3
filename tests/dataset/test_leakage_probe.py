"""The leakage probe finds what predicts the class without a cell, and does not report chance."""

import numpy
import pytest

from Classes import Data
from Classes.common import translation
from Classes.common.errors import DataError
from Classes.dataset import leakage_probe, synthetic_smears
from tests.support import smears
from tests.support.folders import configuration, manifest, put


@pytest.fixture
def labels():
    return numpy.arange(200) % 2 == 1


def names(count=200):
    return [f"original {number}" for number in range(count)]


def test_chance_is_near_a_half(labels):
    rows = numpy.random.default_rng(1).normal(size=(200, 3))

    found = leakage_probe.predict_class_from_artifacts(rows, labels, names())

    assert 0.35 < found["auc"] < 0.65
    assert found["interval"][0] < 0.5 < found["interval"][1] + 0.05
    assert found["images"] == 200


@pytest.mark.parametrize("kind", ["line", "islands", "size"])
def test_a_difference_is_found_regardless_of_its_shape(labels, kind):
    generator = numpy.random.default_rng(2)
    noise = generator.normal(size=(200, 2))
    if kind == "line":
        noise[labels, 0] += 6
    elif kind == "islands":
        noise[labels, 0] += generator.choice([-8, 8], 100)
    else:
        noise = numpy.where(labels[:, None], [640, 480], [[300, 300]])

    found = leakage_probe.predict_class_from_artifacts(noise, labels, names())

    assert found["auc"] > 0.97
    assert 0.95 < leakage_probe.lowest(found) <= found["auc"]
    assert found["interval"] or found["note"], "an AUC of 1 in all bootstrap samples has no interval but a note"


def test_images_of_one_patient_do_not_predict_each_other():
    """Each patient has a background and a class of their own: that alone predicts nothing of other patients."""
    generator = numpy.random.default_rng(3)
    rows = numpy.repeat(generator.normal(size=(60, 3)), 10, axis=0)
    labels = numpy.repeat(numpy.arange(60) % 2 == 1, 10)
    patients = numpy.repeat(names(60), 10)

    by_patient = leakage_probe.predict_class_from_artifacts(rows, labels, patients)
    by_image = leakage_probe.predict_class_from_artifacts(rows, labels, names(600))

    assert by_patient["auc"] < 0.7
    assert by_image["auc"] > 0.95
    width = numpy.diff(by_patient["interval"])[0]
    assert width > 0.15, "the interval depends on the number of patients, not of images"


def test_too_few_groups_and_constant_values(labels):
    same = leakage_probe.predict_class_from_artifacts(numpy.full((200, 2), 300), labels, names())
    few = leakage_probe.predict_class_from_artifacts(
        numpy.arange(200), labels, [f"patient {number % 25}" for number in range(200)]
    )
    one = leakage_probe.predict_class_from_artifacts(numpy.arange(30), numpy.ones(30), names(30))

    assert (same["auc"], same["interval"], same["note"]) == (0.5, None, "the same for all images")
    assert leakage_probe.lowest(same) == 0.5
    assert leakage_probe.lowest(one) is None
    assert few["auc"] is not None
    assert one["auc"] is one["interval"] is None
    assert one["note"] == "needs 20 source images or patients per class, the smaller class has 0"
    with translation.use_language("es"):
        assert translation.localize(one["note"]) != one["note"]
        assert translation.localize(same["note"]) != same["note"]


def test_the_same_seed_gives_the_same_result(labels):
    rows = numpy.random.default_rng(4).normal(size=(200, 2)) + labels[:, None] * 0.5

    assert leakage_probe.predict_class_from_artifacts(
        rows, labels, names()
    ) == leakage_probe.predict_class_from_artifacts(rows, labels, names())


def three_classes(count=210):
    return [("a", "b", "c")[number % 3] for number in range(count)]


def test_the_class_that_differs_is_named_and_the_others_are_not():
    classes = three_classes()
    rows = numpy.random.default_rng(5).normal(size=(210, 2))
    rows[numpy.array(classes) == "c", 0] += 6

    found = leakage_probe.predict_each_class_from_artifacts(rows, classes, names(210))

    assert found["c"]["auc"] > 0.97
    assert found["c"]["images"] == 70
    # They differ from c, but not from each other: at best, a or b against the rest is right for all of c.
    assert max(found["a"]["auc"], found["b"]["auc"]) < 0.9
    probe = {"auc": None, "interval": None, "classes": found}
    assert [name for name, _ in leakage_probe.predictable_classes(probe, 0.95)] == ["c"]


def test_chance_is_near_a_half_for_every_class():
    rows = numpy.random.default_rng(6).normal(size=(210, 2))

    found = leakage_probe.predict_each_class_from_artifacts(rows, three_classes(), names(210))

    for probe in found.values():
        assert 0.35 < probe["auc"] < 0.65
        assert probe["interval"][0] < 0.5 < probe["interval"][1] + 0.05


def test_a_class_with_few_images_is_only_one_of_the_others():
    classes = [*three_classes(), "rare", "rare"]
    rows = numpy.random.default_rng(7).normal(size=(212, 2))

    found = leakage_probe.predict_each_class_from_artifacts(rows, classes, names(212))

    assert found["rare"]["auc"] is found["rare"]["interval"] is None
    assert found["rare"]["note"]
    assert found["a"]["auc"] is not None


def test_constant_values_tell_no_class_apart():
    found = leakage_probe.predict_each_class_from_artifacts(numpy.ones((210, 2)), three_classes(), names(210))

    assert {probe["auc"] for probe in found.values()} == {0.5}
    assert {probe["note"] for probe in found.values()} == {"the same for all images"}


@pytest.mark.parametrize("positive", ['"c"', '["a", "b"]', '""'])
def test_the_class_is_named_whatever_means_disease(tmp_path, positive):
    classes = three_classes()
    rows = numpy.random.default_rng(8).normal(size=(210, 1))
    rows[numpy.array(classes) == "c"] += 9
    options = configuration(tmp_path, f"PositiveClass={positive}", "NumClasses=3")

    probe = leakage_probe.probe_artifacts(options, {"size": rows}, classes, names(210))["size"]

    assert set(probe["classes"]) == {"a", "b", "c"}
    assert [name for name, _ in leakage_probe.predictable_classes(probe, 0.95)] == ["c"]


def test_two_classes_have_one_result(tmp_path, labels):
    rows = numpy.where(labels[:, None], 1.0, 0.0)
    class_names = numpy.where(labels, "1", "0").tolist()

    probe = leakage_probe.probe_artifacts(configuration(tmp_path), {"size": rows}, class_names, names())["size"]

    assert probe == leakage_probe.predict_class_from_artifacts(rows, labels, names())
    assert leakage_probe.predictable_classes(probe, 0.95) == [("", probe)]


def fill(folder, leak):
    for label in (0, 1):
        for number in range(24):
            pixels = synthetic_smears.draw_smear(bool(label), [label, number])
            if leak == "background" and label:
                pixels = (pixels * [0.8, 0.9, 1.0]).astype("uint8")
            if leak == "size" and label:
                pixels = numpy.ascontiguousarray(pixels[:280])
            put(folder, f"Data/{label}/Cell{number:03d}_{label}.png", content=smears.png(pixels))


@pytest.mark.slow
def test_smears_of_one_source_pass(tmp_path, caplog):
    fill(tmp_path, None)

    Data.prepare_dataset(configuration(tmp_path))

    probes = manifest(tmp_path)["probes"]
    assert set(probes) == {"background colour", "image size", "file format"}
    assert all(probe["auc"] < 0.75 for probe in probes.values())
    assert "bias" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("leak", "words"), [("background", "background colour"), ("size", "image size")])
def test_a_planted_bias_is_rejected(tmp_path, leak, words, caplog):
    fill(tmp_path, leak)

    with pytest.raises(DataError, match=words) as caught:
        Data.prepare_dataset(configuration(tmp_path))
    assert caught.value.code == "dataset_bias"
    assert not list(tmp_path.glob("Model/Data/*.tfrecord"))

    assert Data.prepare_dataset(configuration(tmp_path, "AllowDatasetBias=true")) == 0
    assert words in caplog.text
