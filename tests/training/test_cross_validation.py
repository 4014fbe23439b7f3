import json
import types

import numpy
import pytest

from Classes import Data
from Classes.common import conditions
from Classes.common.errors import ConfigurationError
from Classes.dataset import grouping, tfrecords
from Classes.evaluation import classification_metrics, histogram_store
from Classes.imaging import color_histogram
from Classes.networks import checkpoint_files
from Classes.training import cross_validation
from tests.support import small_networks, smears

QUICK = ("Epochs=6", "LearningRate=0.01", "Shards=2", "BatchSize=5")


def manifest(items, classes=("0", "1")):
    """A stand-in for shards whose items are (file, label, group)."""
    listed = [
        {"file": file, "label": label, "group": group, "sha256": str(number)}
        for number, (file, label, group) in enumerate(items)
    ]
    half = len(items) // 2
    splits = {"train": listed[:half], "validation": listed[half:]}
    return types.SimpleNamespace(classes=list(classes), splits=splits, sha256="a" * 64, synthetic=False)


def use_shards(monkeypatch, items, spread=0.1, seed=0, classes=("0", "1")):
    """Replace the shards by `items` whose first feature is the label plus noise of size `spread`."""
    labels = numpy.array([label for _, label, _ in items])
    features = numpy.random.default_rng(seed).normal(0, spread, (len(items), 3))
    features[:, 0] += labels
    monkeypatch.setattr(tfrecords, "load_manifest", lambda _: manifest(items, classes))
    monkeypatch.setattr(cross_validation, "_features", lambda *_: features.astype("float32"))
    histograms = numpy.random.default_rng(seed).random((len(items), color_histogram.SIZE))
    colors = histogram_store.HistogramStore((str(number), row) for number, row in enumerate(histograms))
    monkeypatch.setattr(histogram_store, "read_histograms", lambda *_: colors)


def run(folder, count, *settings):
    weights = folder / "weights.h5"
    weights.touch()
    configuration = small_networks.configuration(folder, *QUICK, f"Pretrained={weights}", *settings)
    assert cross_validation.cross_validate(configuration, count) == 0
    return json.loads((configuration.path("LogDirEval") / "folds.json").read_text())


@pytest.mark.parametrize("count", [2, 5])
def test_every_image_and_every_group_is_in_one_fold(count):
    labels = numpy.repeat([0, 0, 1], 20)
    groups = [f"patient {number // 2}" for number in range(60)]

    parts = cross_validation.stratified_group_folds(labels, groups, count, 50)

    assert sorted(numpy.concatenate([rows for _, rows in parts])) == list(range(60))
    for others, rows in parts:
        assert sorted([*others, *rows]) == list(range(60))
        assert not {groups[row] for row in others} & {groups[row] for row in rows}
        assert abs(labels[rows].mean() - 1 / 3) < 0.15


@pytest.mark.parametrize("count", [7, 1])
def test_more_folds_than_groups_of_the_smallest_class_are_rejected(count):
    with pytest.raises(ConfigurationError) as raised:
        cross_validation.stratified_group_folds(
            numpy.array([0] * 20 + [1] * 12), [f"g{number // 2}" for number in range(32)], count, 50
        )

    assert raised.value.code == "fold_count"


@pytest.mark.slow
def test_every_source_image_is_predicted_once_by_a_layer_that_did_not_see_it(tmp_path, monkeypatch, capsys):
    items = [(f"{number % 2}/a{number}.png", number % 2, f"original a{number}") for number in range(40)]
    use_shards(monkeypatch, items)

    found = run(tmp_path, 4, "Epochs=20")

    assert [fold["images"] for fold in found["folds"]] == [10] * 4
    assert found["together"]["images"] == 40
    for key in classification_metrics.FOLD_METRICS:
        values = [fold[key]["value"] for fold in found["folds"]]
        assert found["mean"][key] == pytest.approx(numpy.mean(values))
        assert found["spread"][key] == pytest.approx(numpy.std(values, ddof=1))
    right = sum(fold["accuracy"]["of"][0] for fold in found["folds"])
    assert found["together"]["accuracy"]["of"] == [right, 40]
    assert right >= 36, "the classes are ten deviations apart"
    # Colors that are noise tell nothing about the class.
    assert found["color_baseline"]["images"] == 40
    assert found["color_baseline"]["accuracy"]["value"] < 0.8
    assert found["color_baseline"]["clearly_better"] is True
    assert "multiclass" not in found
    printed = capsys.readouterr().out
    assert "40 images of 40 source images or patients" in printed
    (mean,) = [line.split() for line in printed.splitlines() if line.startswith("mean")]
    assert mean[1:] == [f"{found['mean'][key]:.4f}" for key in classification_metrics.FOLD_METRICS]


@pytest.mark.slow
@pytest.mark.parametrize("positive", ['["1", "2"]', '""'])
def test_folds_of_several_classes(tmp_path, monkeypatch, positive):
    items = [(f"{number % 3}/a{number}.png", number % 3, f"original a{number}") for number in range(60)]
    use_shards(monkeypatch, items, classes=["0", "1", "2"])

    found = run(tmp_path, 3, "Epochs=40", f"PositiveClass={positive}", 'ClassGroups={"ill": ["1", "2"]}')

    assert found["multiclass"]["images"] == 60
    assert sum(map(sum, found["multiclass"]["confusion"])) == 60
    values = [fold["macro_f1"]["value"] for fold in found["folds"]]
    assert found["mean"]["macro_f1"] == pytest.approx(numpy.mean(values))
    assert list(found["multiclass"]["groups"]["classes"]) == ["0", "ill"]
    assert found["color_baseline"]["multiclass"]["accuracy"]["of"][1] == 60
    assert ("sensitivity" in found["together"]) == (positive != '""')


@pytest.mark.slow
def test_random_labels_are_not_learned(tmp_path, monkeypatch):
    # More features than images: a layer that had seen the evaluated images would classify them correctly.
    items = [(f"{number % 2}/a{number}.png", number % 2, f"original a{number}") for number in range(60)]
    use_shards(monkeypatch, items)
    noise = numpy.random.default_rng(1).normal(size=(60, 400)).astype("float32")
    monkeypatch.setattr(cross_validation, "_features", lambda *_: noise)

    found = run(tmp_path, 5, "Epochs=30")

    assert found["together"]["roc_auc"]["value"] < 0.75


def test_augmented_views_are_used_for_training_only(tmp_path, monkeypatch):
    view = grouping.AUGMENTATIONS[0]
    names = [(number, suffix) for number in range(20) for suffix in ("", f"__{view}")]
    items = [(f"{number % 2}/a{number}{suffix}.png", number % 2, f"original a{number}") for number, suffix in names]
    use_shards(monkeypatch, items)
    trained = []
    train = cross_validation._train_fold
    monkeypatch.setattr(cross_validation, "_train_fold", lambda *each: trained.append(each[3:]) or train(*each))

    found = run(tmp_path, 2)

    assert found["together"]["images"] == found["together"]["groups"] == 20
    for others, rows in trained:
        assert (len(others), len(rows)) == (20, 10)


def test_more_than_the_last_layer_is_rejected(tmp_path, monkeypatch):
    use_shards(monkeypatch, [("0/a.png", 0, "a"), ("1/b.png", 1, "b")])

    with pytest.raises(ConfigurationError) as raised:
        cross_validation.cross_validate(
            small_networks.configuration(tmp_path, "TrainableScopes=Logits", "Pretrained=none"), 3
        )
    assert raised.value.code == "pretrained_needed"
    with pytest.raises(ConfigurationError) as raised:
        cross_validation.cross_validate(small_networks.configuration(tmp_path), 3)
    assert raised.value.code == "last_layer_only"


def test_an_undefined_metric_is_shown_as_a_dash():
    nothing = classification_metrics.evaluate_predictions([1, 1], [0.9, 0.8], [1, 1])
    mean = dict.fromkeys(classification_metrics.FOLD_METRICS)

    lines = cross_validation.format_table(
        {"folds": [nothing], "mean": mean, "spread": mean, "together": nothing}, conditions.ALL
    )

    assert lines[1].split() == ["1", "1.0000", "-", "1.0000", "-", "-"]
    assert lines[2].split() == ["mean", "-", "-", "-", "-", "-"]


@pytest.mark.slow
def test_from_images_and_weights_to_folds(tmp_path, caplog):
    caplog.set_level("INFO")
    smears.fill(tmp_path, per_class=8)
    configuration = small_networks.configuration(tmp_path, *QUICK)
    Data.prepare_dataset(configuration)
    checkpoint_files.save_checkpoint(tmp_path / "Model/Pretrained", 1, small_networks.arrays(classes=7))

    for known in (0, 16):
        assert cross_validation.cross_validate(configuration, 2) == 0
        assert f"Features of 16 images: {known} from the cache" in caplog.text

    found = json.loads((configuration.path("LogDirEval") / "folds.json").read_text())
    assert found["manifest_sha256"] == tfrecords.load_manifest(configuration).sha256
    assert sum(fold["images"] for fold in found["folds"]) == 16
