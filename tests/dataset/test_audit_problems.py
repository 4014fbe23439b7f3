import subprocess

import pytest

from Classes.dataset import audit_problems
from tests.support.folders import configuration, names, put

NOTHING = {
    "exact": [],
    "alike": [],
    "crops": [],
    "probes": {},
    "unreadable": [],
    "odd_sizes": [],
    "odd_modes": [],
    "classes": {name: {"originals": 4} for name in "01"},
}


def pair(*files, **borders):
    crossed = dict.fromkeys(("across_classes", "across_splits", "across_test"), False)
    return {"files": list(files), "similarity": 1.0, **crossed, **borders}


def problems(folder, **findings):
    return audit_problems.list_problems(configuration(folder), {**NOTHING, **findings})


def run(folder, problem, number=0):
    """Run a command of a problem as a person does who copies it from the page."""
    command = problem["commands"][number]["command"]
    subprocess.run(["sh", "-e", "-c", command], cwd=folder, check=True, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path):
    for name in ("0/a.png", "0/it's $(touch oops).png", "1/a copy.png", "1/-b.png"):
        put(tmp_path, f"Data/{name}", content=name.encode())
    return tmp_path


def test_nothing_found_is_no_problem(folder):
    assert problems(folder) == []


def test_the_command_sets_all_but_the_first_copy_aside(folder):
    files = ["0/a.png", "0/it's $(touch oops).png", "1/a copy.png", "1/-b.png"]
    [problem] = problems(folder, exact=[pair(*files)])

    run(folder, problem)

    assert problem["code"] == "exact_duplicates"
    assert names(folder / "Model/Data/0") == ["a.png"]
    assert names(folder / "Model/Data/1") == []
    assert names(folder / "Model/SetAside/0") == ["it's $(touch oops).png"]
    assert names(folder / "Model/SetAside/1") == ["-b.png", "a copy.png"]
    assert not (folder / "oops").exists()


def test_contradicting_labels_have_a_command_for_each_class(folder):
    found = problems(folder, exact=[pair("0/a.png", "1/a copy.png", across_classes=True)])

    assert found[0]["code"] == "several_classes"
    run(folder, found[0], 1)
    assert names(folder / "Model/SetAside/1") == ["a copy.png"]
    assert (folder / "Model/Data/0/a.png").exists()


def test_unreadable_files_are_set_aside_and_missing_ones_are_not_named(folder):
    rows = [
        {"file": "0/a.png", "reason": "…"},
        {"file": "0/gone.png", "reason": "…"},
        {"file": "0/x\ny.png", "reason": ""},
    ]
    [problem] = problems(folder, unreadable=rows)

    run(folder, problem)

    assert names(folder / "Model/SetAside/0") == ["a.png"]


def test_a_leak_between_splits_is_repaired_by_a_new_split(folder):
    found = problems(folder, exact=[pair("0/a.png", "0/b.png", across_splits=True)])

    assert [each["code"] for each in found] == ["leak_between_splits", "exact_duplicates"]
    assert found[0]["commands"][0]["command"].splitlines()[0] == "python3 Data.py"


def test_every_problem_has_advice_and_a_command(folder):
    probe = {"auc": 0.99, "interval": [0.98, 1.0], "note": ""}
    row = {"file": "0/a.png", "size": "1x1", "reasons": ["smaller"], "mode": "L"}
    found = problems(
        folder,
        probes={"background colour": probe, "bytes per pixel": probe},
        crops=[pair("0/a.png", "1/-b.png", across_test=True)],
        alike=[{**pair("0/a.png", "1/-b.png"), "similarity": 0.9}],
        odd_sizes=[row],
        odd_modes=[row],
        classes={"0": {"originals": 10}, "1": {"originals": 4}},
    )

    assert [each["code"] for each in found] == [
        "leak_into_test",
        "dataset_bias",
        "near_duplicates",
        "overlapping_crops",
        "unusual_sizes",
        "unusual_modes",
        "class_imbalance",
    ]
    assert all(each["advice"] and each["commands"] for each in found)
