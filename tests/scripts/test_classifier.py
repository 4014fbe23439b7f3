import csv
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

import Classifier
from Classes import Helpers
from Classes.common import cli, conditions
from Classes.imaging import color_stats, network_input
from Classes.inference import model_card
from Classes.jobs.items import Unit, file_item
from Classes.jobs.job_folder import KILLED, JobFolder
from tests.support import graphs

PROJECT = pathlib.Path(Classifier.__file__).parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A trained model and three test images: right, right, wrong with low confidence (see graphs.RED)."""
    graphs.write(tmp_path / "Model")
    for name, value in (("Im001_0.png", 64), ("Im002_1.png", 192), ("Im003_1.png", 96)):
        save(tmp_path / "Model" / "Test" / name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["Classifier.py"])
    return tmp_path


def save(path, red):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(graphs.red(red, size=300)).save(path)
    return path


def classify(folder, *arguments):
    settings = ["--set", f"NetworkPath={folder}", "--set", "Precision=f32"]
    return cli.run_cli(lambda: Classifier.main([*settings, *map(str, arguments)]), ())


def lines(capsys):
    """What was printed, without the times."""
    return [line.split(" - ", 3)[1:] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("arguments", [[], ["InceptionTest"]])
def test_the_historic_lines_in_their_order(folder, capsys, arguments):
    assert classify(folder, *arguments) == 0

    printed = lines(capsys)
    messages = [message for _, _, message in printed]
    assert messages.pop(1).startswith("Device=AUTO took OpenVINO CPU (f32); not NCS1: ")
    assert messages[:8] == [
        "Helpers class initialization complete.",
        "Connected To OpenVINO CPU (f32) successfully.",
        "Inception loaded successfully.",
        "Classifier class initialization complete.",
        Helpers.DISCLAIMER,
        "AML & ALL Detection System OpenVINO CPU Classifier started.",
        "Loaded test image Model/Test/Im001_0.png",
        "AML & ALL Detection System OpenVINO CPU detection started.",
    ]
    start, seconds = messages[8].rsplit(" ", 1)
    assert start == "AML & ALL Detection System OpenVINO CPU detection ended taking"
    assert messages[9] == f"ALL correctly not detected with confidence of 0.8808 in {seconds}"
    assert float(seconds) > 0
    assert [message for message in messages if message.startswith("ALL ")][1].startswith(
        "ALL correctly detected with confidence of 0.8808 in "
    )
    assert printed[18][:2] == ["Classifier", "WARNING"]
    assert messages[17].startswith("ALL incorrectly not detected with LOW confidence of 0.7311 in ")
    assert messages[18:24] == [
        "Testing ended. 2 correct, 1 incorrect, 1 low confidence: (0 correct, 1 incorrect)",
        "Images Classifier: 3",
        "True Positives: 1",
        "False Positives: 0",
        "True Negatives: 1",
        "False Negatives: 1",
    ]
    assert messages[24] == "Read: 3, Signs of ALL: 1, No signs of ALL: 1, Needs review: 1, Failed: 0"


def test_names_without_a_class_are_classified_and_not_counted(folder, capsys):
    save(folder / "smear.png", 192)

    assert classify(folder, "--labels", "names", "smear.png", folder / "Model" / "Test" / "Im002_1.png") == 0

    messages = [message for _, _, message in lines(capsys)]
    assert any(message.startswith("ALL detected with a confidence of 0.8808 in ") for message in messages)
    assert "Images Classifier: 1" in messages
    assert "1 image without a class in its name was classified and not counted" in messages


def test_some_names_with_a_class_are_no_known_classes(folder, capsys):
    save(folder / "cell_0.png", 192)
    save(folder / "cell_2.png", 192)

    assert classify(folder, "cell_0.png", "cell_2.png", "--json", "rows.json") == 0

    messages = [message for _, _, message in lines(capsys)]
    assert "Images Classifier: 0" in messages
    assert "Read: 2, Signs of ALL: 2, No signs of ALL: 0, Needs review: 0, Failed: 0" in messages
    assert [row["correct"] for row in json.loads(pathlib.Path("rows.json").read_text())["images"]] == [None, None]


def test_classes_from_folders(folder, capsys):
    for name in ("healthy/a.png", "ALL/b.png", "ALL/c.png"):
        save(folder / "photos" / name, 64 if name == "ALL/b.png" else 192)

    assert classify(folder, "photos", "--labels", "folders") == 0

    messages = [message for _, _, message in lines(capsys)]
    counts = [message for message in messages if message.startswith(("True", "False"))]
    assert counts == ["True Positives: 1", "False Positives: 1", "True Negatives: 0", "False Negatives: 1"]


def test_skipped_files_are_counted_at_the_end(folder, capsys):
    save(folder / "photos" / "a.png", 192)
    (folder / "photos" / "notes.docx").touch()

    assert classify(folder, "photos") == 0

    assert any("Skipped files: 1" in message and "notes.docx" in message for _, _, message in lines(capsys))


def test_an_unreadable_image_is_one_error_line_and_a_row(folder, capsys):
    (folder / "Model" / "Test" / "Im002_0.png").write_bytes(b"no image")

    assert classify(folder, "--csv", "rows.csv") == 1

    errors = [line for line in lines(capsys) if line[1] == "ERROR"]
    assert "Im002_0.png" in errors[0][2]
    assert errors[1][2] == "1 image has no result; it is named above"
    with open("rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"Model/Test/Im00{name}.png" for name in ("1_0", "2_0", "2_1", "3_1")]
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    assert rows[1]["class"] == rows[1]["probability_1"] == ""


def test_rows_as_csv_and_json_say_the_same(folder):
    assert classify(folder, "--csv", "new/rows.csv", "--json", "rows.json") == 0

    with open("new/rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads(pathlib.Path("rows.json").read_text())
    assert content["notice"] == Helpers.DISCLAIMER
    assert len(rows) == len(content["images"]) == 3
    for row, image in zip(rows, content["images"], strict=True):
        same = set(row) & set(image) - {"reasons"}
        assert len(same) >= 16
        assert {key: row[key] for key in same} == {key: "" if image[key] is None else str(image[key]) for key in same}
        assert row["reason_codes"] == " ".join(image["reasons"])
    last = content["images"][2]
    assert (last["class"], last["verdict"], last["truth"], last["correct"]) == ("0", "ALL not detected", "1", False)
    assert (last["confidence"], last["low"]) == (0.7311, True)
    assert (last["outcome"], last["reasons"]) == ("review", ["low_confidence"])
    assert [image["outcome"] for image in content["images"][:2]] == ["negative", "positive"]
    assert last["probability_1"] == pytest.approx(graphs.RED[96], abs=1e-6)
    assert last["probability_0"] + last["probability_1"] == pytest.approx(1)
    assert last["seconds"] > 0
    assert (last["engine"], last["precision"]) == ("OpenVINO CPU", "f32")


def test_uncertain_images_are_named_and_counted_apart(folder, capsys):
    # Of 0.12, 0.88 and 0.27 the last, which is wrong, lies in the band.
    graphs.write(folder / "Model", uncertain=[0.2, 0.6])

    assert classify(folder, "--json", "rows.json") == 0

    messages = [message for _, _, message in lines(capsys)]
    assert any(
        message.startswith("ALL incorrectly not detected with LOW confidence of 0.7311 in ") for message in messages
    )
    assert "Model/Test/Im003_1.png: uncertain; a person should look at this image" in messages
    assert "1 image uncertain; of the other 2, 2 correct" in messages
    content = json.loads(pathlib.Path("rows.json").read_text())
    assert [image["uncertain"] for image in content["images"]] == [False, False, True]
    assert content["model"]["uncertain"] == [0.2, 0.6]


def test_an_interrupted_run_keeps_what_is_done(folder, monkeypatch, capsys):
    decode_views = network_input.InputSpec.decode_views

    def stopped(spec, source, *arguments, **options):
        if "Im003" in str(source):
            raise KeyboardInterrupt
        return decode_views(spec, source, *arguments, **options)

    monkeypatch.setattr(network_input.InputSpec, "decode_views", stopped)

    assert classify(folder, "--json", "rows.json", "--csv", "rows.csv") == 130

    assert len(json.loads(pathlib.Path("rows.json").read_text())["images"]) == 2
    assert len(pathlib.Path("rows.csv").read_text().splitlines()) == 3
    printed = capsys.readouterr()
    assert "Stopped." in printed.err
    assert "Stopped after 2 of 3 images." in printed.out


def test_an_invalid_answer_is_never_a_verdict(folder, capsys):
    graphs.write(folder / "Model", kind="nan")

    assert classify(folder) == 1

    printed = capsys.readouterr()
    assert "Error: device result invalid" in printed.err
    assert "ALL correctly" not in printed.out


def test_a_missing_path_is_told_before_any_work(folder, capsys):
    assert classify(folder, "Model/Test", "nowhere.png", "--csv", "rows.csv") == 1

    printed = capsys.readouterr()
    assert printed.err == "Error: nowhere.png: there is no such file or folder; nothing was classified\n"
    assert "loaded" not in printed.out
    assert not pathlib.Path("rows.csv").exists()


def test_no_image_at_all_says_where_to_put_them(folder, capsys):
    for path in (folder / "Model" / "Test").iterdir():
        path.unlink()

    assert classify(folder) == 1
    assert str(folder / "Model/Test") in capsys.readouterr().err

    (folder / "Model" / "Test").rmdir()
    assert classify(folder) == 1
    assert str(folder / "Model/Test") in capsys.readouterr().err


def test_without_a_model_one_line_says_what_to_run(folder, capsys):
    (folder / "Model" / "ALLGraph.json").unlink()

    assert classify(folder) == 1

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "there is no trained model yet; run python3 Trainer.py" in error


def test_a_folder_in_place_of_a_result_file(folder, capsys):
    assert classify(folder, "--csv", "Model") == 2
    assert "Error: Model: is a folder" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_before_any_work(folder, capsys):
    (folder / "file").touch()

    assert classify(folder, "--json", folder / "file" / "rows.json") == 2

    said = capsys.readouterr()
    assert f"rows.json: {folder / 'file'} " in said.err
    assert "detected" not in said.out


def test_a_synthetic_model_warns_once(folder, capsys):
    graphs.write(folder / "Model", synthetic=True)

    classify(folder)

    warnings = [line for line in lines(capsys) if "synthetic" in line[2]]
    assert [line[1] for line in warnings] == ["WARNING"]


def test_a_name_that_is_no_text_is_shown_all_the_same(folder, capsys):
    name = os.fsdecode(b"caf\xe9_1.png")
    save(folder / "Model" / "Test" / "x.png", 192).rename(folder / "Model" / "Test" / name)

    assert classify(folder, "--csv", "rows.csv", "--json", "rows.json") == 0
    assert "caf?_1.png" in pathlib.Path("rows.csv").read_text()


def test_nothing_of_the_training_wing_is_imported(folder):
    program = (
        "import sys, Classifier; code = Classifier.main(sys.argv[1:]);"
        "heavy = {'tensorflow', 'scipy', 'sklearn', 'matplotlib', 'tensorboard'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    settings = ["--set", f"NetworkPath={folder}"]

    done = subprocess.run(
        [sys.executable, "-c", program, *settings], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "Testing ended. 2 correct" in done.stdout


def test_real_cells(folder, capsys):
    if not os.environ.get("ALL_SHARED"):
        pytest.skip("ALL_SHARED does not name the folder of the real cells")
    test = pathlib.Path(os.environ["ALL_SHARED"]) / "data" / "pbc" / "Test"

    assert classify(folder, test, "--json", "rows.json") == 0

    images = json.loads(pathlib.Path("rows.json").read_text())["images"]
    assert [image["truth"] for image in images] == ["1"] * 10 + ["0"] * 10
    assert all(image["probability_1"] > 0.5 for image in images)  # bright fields: the mean red is above 128


def test_an_image_of_other_colours_is_remarked_on(folder, capsys):
    known = [color_stats.color_features(graphs.red(value, size=299)) for value in (64, 65, 191, 192)]
    card = folder / "Model" / "ALLGraph.json"
    model_card.write_model_card(
        card, dataclasses.replace(model_card.load_model_card(card), colours=color_stats.fit_reference(known))
    )

    assert classify(folder, "--json", folder / "rows.json") == 0

    rows = json.loads((folder / "rows.json").read_text())["images"]
    assert [row["remark"] is None for row in rows] == [True, True, False]
    said = [text for name, level, text in lines(capsys) if level == "WARNING" and "colo" in text]
    assert said[0].endswith(f"Im003_1.png: {rows[2]['remark']}")
    assert said[1].startswith("1 image differs in color")


def test_an_image_that_shows_nothing_has_no_verdict(folder, capsys):
    Image.new("RGB", (300, 300), "white").save(folder / "Model/Test/Blank_1.png")

    assert classify(folder, "--csv", folder / "rows.csv") == 1

    with open(folder / "rows.csv", newline="") as file:
        rows = {pathlib.Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert rows["Blank_1.png"]["error"] and not rows["Blank_1.png"]["verdict"]
    assert sum(bool(row["verdict"]) for row in rows.values()) == 3


def test_results_name_the_condition_of_the_model(folder, capsys):
    graphs.write(folder / "Model", condition=conditions.AML.to_json())

    assert classify(folder, "InceptionTest", "--csv", folder / "t.csv") == 0

    messages = [message for _, _, message in lines(capsys)]
    results = [
        message.rsplit(" in ", 1)[0] for message in messages if message.startswith("AML ") and "&" not in message
    ]
    assert results == [
        "AML correctly not detected with confidence of 0.8808",
        "AML correctly detected with confidence of 0.8808",
        "AML incorrectly not detected with LOW confidence of 0.7311",
    ]
    [found, *_] = csv.DictReader((folder / "t.csv").read_text().splitlines())
    assert (found["result"], found["verdict"]) == ("No signs of AML", "AML not detected")


def test_folders_named_after_the_condition_are_the_true_classes(folder, capsys):
    graphs.write(folder / "Model", condition=conditions.AML.to_json())
    for name, value in (("healthy/a.png", 64), ("AML/b.png", 192), ("ALL/c.png", 192)):
        save(folder / "Cells" / name, value)

    assert classify(folder, folder / "Cells", "--labels", "folders") == 0

    # Cells of another disease are neither healthy nor AML.
    assert "2 of 3 images" in "".join(message for _, _, message in lines(capsys))


def without_times(path):
    """The rows of a JSON file without the columns that no two runs share."""
    rows = json.loads(pathlib.Path(path).read_text())["images"]
    return [{name: value for name, value in row.items() if name not in ("seconds", "date")} for row in rows]


def test_shares_of_more_than_one_unit(folder, capsys):
    for number in range(22):
        save(folder / "photos" / f"{number:02d}_1.png", 150 + 2 * number)
    assert classify(folder, "photos", "--set", "Processes=0", "--json", "whole.json") == 0
    whole = [line[2].rsplit(" in ", 1)[0] for line in lines(capsys) if line[2].startswith("ALL ")]
    assert len(whole) == 22

    assert classify(folder, "photos", "--set", "Processes=0", "--json", "rows.json", "--shard", "2/2") == 0
    assert not pathlib.Path("rows.json").exists()
    second = [line[2].rsplit(" in ", 1)[0] for line in lines(capsys) if line[2].startswith("ALL ")]
    assert second == whole[20:]

    assert classify(folder, "photos", "--set", "Processes=0", "--json", "rows.json", "--shard", "1/2") == 0
    assert without_times("rows.json") == without_times("whole.json")


def test_a_stopped_run_is_continued(folder, monkeypatch):
    decode_views = network_input.InputSpec.decode_views
    seen = []

    def stopped(spec, source, *arguments, **options):
        seen.append(pathlib.Path(source).name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return decode_views(spec, source, *arguments, **options)

    monkeypatch.setattr(network_input.InputSpec, "decode_views", stopped)
    assert classify(folder, "--json", "rows.json") == 130
    assert classify(folder, "--json", "rows.json") == 0
    assert seen == ["Im001_0.png", "Im002_1.png", "Im002_1.png", "Im003_1.png"]
    assert [row["confidence"] for row in without_times("rows.json")] == [0.8808, 0.8808, 0.7311]
    assert not list((folder / "Model" / "Jobs").iterdir())


def test_an_image_that_ended_its_process_is_named(folder, monkeypatch, capsys):
    files = sorted((folder / "Model" / "Test").iterdir())
    items = [file_item(path, truth=path.stem[-1]) for path in files]
    answer = network_input.InputSpec.decode_views

    def stopped(spec, source, *arguments, **options):
        if "Im002" in str(source):
            raise KeyboardInterrupt
        return answer(spec, source, *arguments, **options)

    monkeypatch.setattr(network_input.InputSpec, "decode_views", stopped)
    assert classify(folder) == 130
    [job] = (folder / "Model" / "Jobs").iterdir()
    JobFolder(job).write(Unit((items[1],)), [KILLED])
    capsys.readouterr()

    assert classify(folder, "--json", "rows.json") == 1
    rows = json.loads(pathlib.Path("rows.json").read_text())["images"]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert any(line[1] == "ERROR" and "Im002_1.png" in line[2] for line in lines(capsys))


@pytest.mark.slow
def test_a_worker_process_answers_the_same(folder, capsys):
    for number in range(22):
        save(folder / "photos" / f"{number:02d}_1.png", 150 + 2 * number)
    printed = []
    for processes in (0, 2):
        assert classify(folder, "photos", "--set", f"Processes={processes}", "--json", f"{processes}.json") == 0
        printed.append([line[2].rsplit(" in ", 1)[0] for line in lines(capsys) if line[2].startswith("ALL ")])
    assert printed[0] == printed[1]
    assert without_times("0.json") == without_times("2.json")
