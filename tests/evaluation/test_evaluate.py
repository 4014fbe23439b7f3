import errno
import hashlib
import json
import logging
import math
import re
import sys

import pytest
from PIL import Image

import Validation
from Classes import Helpers
from Classes.common import cli, locks, logs
from Classes.common.errors import GraphError
from Classes.dataset import shard_writer
from Classes.dataset.image_records import ImageRecord
from Classes.evaluation import classification_metrics
from Classes.inference import model_card
from tests.support import graphs, smears

# (class, red) of the validation images in their order; by graphs.RED the third ALL and the fourth healthy are wrong.
VALIDATION = [("0", 64), ("0", 64), ("1", 192), ("1", 160), ("1", 96), ("0", 160), ("0", 0)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["Validation.py"])
    build(tmp_path, VALIDATION)
    yield tmp_path
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, (logging.FileHandler, logs.OutputHandler)):
            logging.getLogger().removeHandler(handler)
            handler.close()


def build(folder, validation, apart=False, patients=None, **card):
    """Shards of flat images, and a graph that was 'trained' beside them; two images are a group unless `apart`.

    `patients` gives each validation image its patient; two images then are still a group, named after the first.
    """
    splits = {
        "train": [item(folder, "train", number, "1", 128) for number in range(2)],
        "validation": [item(folder, "validation", number, *image) for number, image in enumerate(validation)],
    }
    if apart:
        for each in splits["validation"]:
            each.group = each.path.stem
    for number, patient in enumerate(patients or ()):
        splits["validation"][number].group = f"patient {patients[number // 2 * 2]}"
        splits["validation"][number].patient = patient
    (folder / "Model" / "Data").mkdir(parents=True, exist_ok=True)
    manifest = shard_writer.write_shards(
        graphs.configuration(folder), splits, {"classes": ["0", "1"], "synthetic": False}
    )
    data = {"manifest_sha256": manifest.sha256}
    return graphs.write(folder / "Model", **{"data": data, **card})


def item(folder, split, number, label, red):
    # Every image has a size of its own, so that no two files are the same.
    content = smears.png(graphs.red(red, size=300 + number))
    path = folder / "images" / split / f"Im{number:03d}_{label}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return ImageRecord(
        str(path), label, int(label), f"Im{number // 2}", digest, len(content), "png", 300 + number, 300 + number
    )


def validate(folder, *settings):
    return cli.run_cli(lambda: Validation.main(arguments(folder, *settings)), ())


def arguments(folder, *settings):
    options = [f"NetworkPath={folder}", "Precision=f32", "BatchTestSize=3", "Shards=2", *settings]
    return [part for text in options for part in ("--set", text)]


def metrics(folder):
    return json.loads((folder / "Model" / "_logs_eval" / "metrics.json").read_text())


def steps(capsys):
    """The printed streaming lines, without the seconds."""
    lines = capsys.readouterr().out.splitlines()
    return [re.sub(r" \(\d+\.\d\d sec/step\)$", "", line) for line in lines if line.startswith("INFO:tensorflow")]


def test_the_historic_lines_with_the_last_partial_batch(folder, capsys):
    assert validate(folder) == 0

    assert steps(capsys) == [
        "INFO:tensorflow:Global Step 1: Streaming Accuracy: 1.0000",
        "INFO:tensorflow:Global Step 2: Streaming Accuracy: 0.6667",
        "INFO:tensorflow:Global Step 3: Streaming Accuracy: 0.7143",
        "INFO:tensorflow:Final Streaming Accuracy: 0.7143",
        "INFO:tensorflow:Model evaluation has completed! Visit TensorBoard for more information regarding your "
        "evaluation.",
    ]


def test_metrics_json_has_every_record_once_with_its_probabilities(folder):
    validate(folder, "EpochsTest=2")

    found = metrics(folder)
    predictions = found["predictions"]
    assert [row["filename"] for row in predictions] == [
        f"{label}/Im{number:03d}_{label}.png" for number, (label, _) in enumerate(VALIDATION)
    ]
    for row, (label, red) in zip(predictions, VALIDATION, strict=True):
        assert row["label"] == label
        assert row["probabilities"]["1"] == pytest.approx(graphs.RED[red], abs=1e-6)
    assert [row["group"] for row in predictions] == ["Im0", "Im0", "Im1", "Im1", "Im2", "Im2", "Im3"]
    assert (found["images"], found["groups"]) == (7, 4)


def test_patients_of_merged_groups_are_counted_separately(folder):
    build(folder, [("1", 192), ("1", 64), ("0", 64), ("0", 64)], patients=["12", "13", "02", "02"])

    validate(folder)

    found = metrics(folder)
    assert (found["images"], found["groups"], found["patients"]["images"]) == (4, 2, 3)
    assert found["patients"]["counts"] == {
        "true_positives": 1, "false_negatives": 1, "true_negatives": 1, "false_positives": 0,
    }  # fmt: skip


def test_metrics_are_in_the_json_the_card_and_on_the_terminal(folder, capsys):
    validate(folder)

    found = metrics(folder)
    assert found["counts"] == {"true_positives": 2, "false_positives": 1, "true_negatives": 3, "false_negatives": 1}
    assert found["accuracy"]["value"] == pytest.approx(5 / 7)
    assert found["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert found["specificity"]["value"] == pytest.approx(3 / 4)
    assert found["precision"]["value"] == pytest.approx(2 / 3)
    # Pairs that are ranked right: 192 over all four, 160 over three and one tie, 96 over three: 4 + 3.5 + 3 of 12.
    assert found["roc_auc"]["value"] == pytest.approx(10.5 / 12)
    assert (found["arithmetic"], found["engine"]) == ("f32", "OpenVINO CPU")
    assert found["notice"] == Helpers.DISCLAIMER
    card = model_card.load_model_card(folder / "Model" / "ALLGraph.json")
    card.verify_graph()
    assert card.metrics == {key: found[key] for key in card.metrics}
    assert {"accuracy", "counts", "roc_auc", "manifest_sha256"} <= set(card.metrics)
    assert "predictions" not in card.metrics
    printed = capsys.readouterr().out
    assert "Accuracy            0.7143" in printed
    assert "5 of 7" in printed


def test_a_second_pass_repeats_the_lines_but_counts_no_image_twice(folder, capsys):
    validate(folder, "EpochsTest=2")

    lines = steps(capsys)
    assert lines[5] == "INFO:tensorflow:Global Step 6: Streaming Accuracy: 0.7143"
    assert len(lines) == 8
    assert metrics(folder)["images"] == 7


def test_events_for_tensorboard(folder):
    from tensorboard.backend.event_processing import event_file_loader
    from tensorboard.util import tensor_util

    validate(folder)

    (events,) = (folder / "Model" / "_logs_eval").glob("events.out.tfevents.*")
    found = {}
    for event in event_file_loader.EventFileLoader(str(events)).Load():
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = tensor_util.make_ndarray(value.tensor).item()
    assert found["Validation_Accuracy"] == pytest.approx({1: 1.0, 2: 4 / 6, 3: 5 / 7})
    # Cross-entropy of the first batch: 64, 64 and 192 each give 0.880797 to the right class.
    assert found["Validation_losses/Total_Loss"][1] == pytest.approx(-math.log(0.880797), abs=1e-5)
    assert found["Validation_losses/Total_Loss"][3] == pytest.approx(-math.log(1 - 0.017986), abs=1e-5)
    assert found["Validation_metrics/specificity"] == pytest.approx({3: 0.75})


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_model_on_a_read_only_volume_is_evaluated(folder, monkeypatch, number):
    before = (folder / "Model" / "ALLGraph.json").read_bytes()
    lock = locks.folder_lock

    def refusing(path, wait=False):
        if path == folder / "Model":
            raise OSError(number, "refused", str(path))
        return lock(path, wait)

    monkeypatch.setattr(locks, "folder_lock", refusing)
    assert validate(folder) == 0

    assert metrics(folder)["images"] == 7
    assert (folder / "Model" / "Report" / "Report.html").exists()
    assert (folder / "Model" / "ALLGraph.json").read_bytes() == before


def test_tensorboard_shows_each_run_as_its_own_curve(folder):
    runs = []
    for _ in range(3):
        validate(folder)
        runs += (folder / "Model" / "_logs_eval").glob("events.out.tfevents.*")

    found = (folder / "Model" / "_logs_eval").rglob("events.out.tfevents.*")
    newest, *earlier = sorted(found, key=lambda path: len(path.parts))
    assert newest == runs[-1]
    assert {path.name for path in earlier} == {path.name for path in runs[:-1]}
    assert all(re.fullmatch(r"\d{8}-\d{6}", path.parent.name) for path in earlier)


def test_plots(folder):
    validate(folder)

    for name in ("confusion.png", "roc.png"):
        with Image.open(folder / "Model" / "_logs_eval" / name) as picture:
            assert picture.format == "PNG"
            assert picture.size == (720, 768)


@pytest.mark.parametrize("data", [{"manifest_sha256": "0" * 64}, {}])
def test_a_model_of_other_or_unknown_shards_is_rejected(folder, data):
    build(folder, VALIDATION, data=data)

    with pytest.raises(GraphError) as error:
        Validation.main(arguments(folder))

    assert error.value.code == "other_shards"
    assert not (folder / "Model" / "_logs_eval" / "metrics.json").exists()
    assert model_card.load_model_card(folder / "Model" / "ALLGraph.json").metrics is None


def test_a_model_of_other_classes_is_rejected(folder):
    card = model_card.load_model_card(folder / "Model" / "ALLGraph.json")
    graphs.write(folder / "Model", classes=("1", "0"), data=card.data)

    with pytest.raises(GraphError) as error:
        Validation.main(arguments(folder))

    assert error.value.code == "other_classes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "missing", "value"),
    [([("1", 192), ("1", 64)], "specificity", 0.5), ([("0", 64)], "sensitivity", 1.0)],
)
def test_a_split_of_one_class_has_metrics_and_a_note(folder, capsys, images, missing, value):
    build(folder, images)

    assert validate(folder) == 0

    found = metrics(folder)
    assert found["accuracy"]["value"] == value
    assert found[missing]["value"] is None
    assert found[missing]["note"] in capsys.readouterr().out


def test_an_empty_split_is_evaluated(folder, capsys):
    build(folder, [])

    assert validate(folder) == 0

    printed = capsys.readouterr().out
    assert "the validation split is empty" in printed
    assert metrics(folder)["accuracy"] == {
        "value": None, "interval": None, "of": None, "note": "no images"
    }  # fmt: skip


@pytest.mark.slow
def test_a_synthetic_model_is_reported_as_such(folder, capsys):
    data = model_card.load_model_card(folder / "Model" / "ALLGraph.json").data
    graphs.write(folder / "Model", synthetic=True, data=data)

    assert validate(folder) == 0

    assert "trained on synthetic smears" in capsys.readouterr().out
    assert metrics(folder)["synthetic"] is True


@pytest.mark.slow
def test_a_model_written_in_the_meantime_does_not_get_these_metrics(folder, monkeypatch):
    table = classification_metrics.format_table

    def trained_meanwhile(*arguments):
        graphs.write(folder / "Model", content=b"a newer graph")
        return table(*arguments)

    monkeypatch.setattr(classification_metrics, "format_table", trained_meanwhile)

    assert validate(folder) == 0
    assert model_card.load_model_card(folder / "Model" / "ALLGraph.json").metrics is None


def test_without_a_model_or_shards_the_message_names_the_command(folder, capsys):
    for shard in (folder / "Model" / "Data").glob("*.json"):
        shard.unlink()
    assert validate(folder) == 1
    assert "python3 Data.py" in capsys.readouterr().err

    (folder / "Model" / "ALLGraph.json").unlink()
    assert validate(folder) == 1
    assert "python3 Trainer.py" in capsys.readouterr().err


@pytest.mark.slow
def test_calibration_and_uncertainty_are_reported(folder, capsys):
    build(folder, VALIDATION, uncertain=[0.2, 0.4], temperature=2.0, calibration={"rules": NO_RULES})

    assert validate(folder) == 0

    found = metrics(folder)["in_sample"]["certainty"]
    # By graphs.RED only the image of red 96, which is wrong, lies between 0.2 and 0.4.
    assert found["uncertain"]["of"] == [1, 7]
    assert found["accuracy_of_rest"]["of"] == [5, 6]
    assert sum(each["images"] for each in found["after"]["bins"]) == 7
    # Without a temperature of 2 the odds are squared.
    odds = [max(score, 1 - score) / min(score, 1 - score) for score in (graphs.RED[red] for _, red in VALIDATION)]
    confidence = sum(each["confidence"] * each["images"] for each in found["before"]["bins"])
    assert confidence == pytest.approx(sum(each**2 / (1 + each**2) for each in odds), abs=1e-4)
    out = capsys.readouterr().out
    assert "Uncertain (ALL from 0.200 to 0.400): " in out
    assert "uncertain 1 of 7; accuracy of the rest 0.8333." in out
    assert (folder / "Model" / "_logs_eval" / "reliability.png").stat().st_size > 5000


# The threshold is one half, and nothing is uncertain.
NO_RULES = {"target": 0, "share": 1, "specificity": 0, "limit": 1, "confidence": 0.5}
# Every ALL image of those that choose has to be found.
ALL_FOUND = {**NO_RULES, "target": 1}

# (class, red): the ALL image of red 64 is below four others, of which red 96 is the highest.
CHOSEN = [*[("1", 192)] * 3, ("1", 64), *[("0", 0)] * 2, *[("0", 96)] * 2]


def test_the_main_metrics_are_cross_fitted(folder, capsys):
    """A threshold of 0.1 finds the ALL image of red 64, which is why it was chosen; no other image would choose it."""
    calibration = {"rules": ALL_FOUND, "seed": 50}
    build(folder, CHOSEN, apart=True, threshold=0.1, calibration=calibration)

    assert validate(folder) == 0

    found = metrics(folder)
    assert found["basis"] == "cross_fitted"
    # Served: 0.119 and 0.269 reach 0.1, so that the two others of red 96 are called ALL.
    assert found["in_sample"]["sensitivity"]["of"] == [4, 4]
    assert found["in_sample"]["specificity"]["of"] == [2, 4]
    # With the thresholds of the others the image of red 64 is not found.
    assert found["sensitivity"]["of"] == [3, 4]
    assert found["counts"]["false_negatives"] == 1
    (missed,) = [row for row in found["predictions"] if row["label"] == "1" and not row["cross_fitted"]["detected"]]
    assert missed["probabilities"]["1"] == pytest.approx(graphs.RED[64], abs=1e-6)
    assert missed["detected"], "what is served stays what it is"
    assert model_card.load_model_card(folder / "Model" / "ALLGraph.json").metrics["basis"] == "cross_fitted"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Sensitivity")]
    assert line.split()[1] == "0.7500"
    assert "sensitivity 0.7500" in (folder / "Model" / "MODEL_CARD.md").read_text()


def test_images_not_used_for_a_choice_are_held_out(folder):
    for calibration in (None, {"note": "9 validation images are too few"}):
        build(folder, VALIDATION, calibration=calibration)
        assert validate(folder) == 0
        found = metrics(folder)
        assert (found["basis"], found["selected"]) == ("held_out", [])
        assert "in_sample" not in found


def test_too_few_groups_for_cross_fitting_are_in_sample(folder, capsys):
    build(folder, [("1", 192), ("1", 160), ("0", 64), ("0", 0)], calibration={"rules": ALL_FOUND})

    assert validate(folder) == 0

    found = metrics(folder)
    assert found["basis"] == "in_sample"
    for text in (
        capsys.readouterr().out,
        (folder / "Model" / "MODEL_CARD.md").read_text(),
        (folder / "Model" / "Report" / "Report.html").read_text(),
    ):
        assert classification_metrics.BASES["in_sample"] in text


def test_an_epoch_chosen_on_these_images_is_reported(folder, capsys):
    build(folder, VALIDATION, training={"patience": 3})

    assert validate(folder) == 0

    assert metrics(folder)["selected"] == ["epoch"]
    for text in (
        capsys.readouterr().out,
        (folder / "Model" / "MODEL_CARD.md").read_text(),
        (folder / "Model" / "Report" / "Report.html").read_text(),
    ):
        assert classification_metrics.SELECTED["epoch"] in text


@pytest.mark.parametrize("arguments", [["Folds", "1"], ["Folds", "many"], ["Fold"], ["Folds", "--device", "CPU"]])
def test_an_unknown_command_is_rejected(folder, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        Validation.main(arguments)

    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err
