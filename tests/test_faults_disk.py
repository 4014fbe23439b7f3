"""A disk that is full, in every writer: a line that names the file, nothing lost, and the next run works."""

import pytest

from tests import faults

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def printed(capsys):
    """What is printed is kept in memory: pytest's own file would be the first to be full."""
    return capsys


def told(call):
    with pytest.raises(Exception) as caught:
        call()
    return faults.line(caught.value)


# (what is run, bytes that a file may have, what the line has to name)
WRITERS = [
    (["Data", "--set", "RandomSeed=7"], 30_000, "Model/Data"),
    (["Data", "Augment"], 0, "Model/Data/"),
    # Half a view would be a view that cannot be read, and Pillow says nothing.
    (["Data", "Augment"], 700, "Model/Data/"),
    (["Data", "Check"], 0, "Model/Report/Data."),
    (["Data", "Check"], 5_000, "Model/Report/Data."),
    (["Trainer", "--set", "RandomSeed=7"], 0, "Model/"),
    (["Trainer", "--set", "Epochs=3"], 400_000, "Model/_logs/model.ckpt-"),
    (["Trainer", "--set", "Epochs=3"], 1_180_000, "Model/ALLGraph.pb"),
    (["Trainer", "Export"], 0, "Model/Export"),
    (["Trainer", "Export"], 100_000, "Model/Export"),
    (["Validation"], 0, "Model/_logs_eval/events.out"),
    (["Validation"], 4_096, "Model/_logs_eval/metrics.json"),
    (["Validation"], 20_000, "Model/_logs_eval/confusion.png"),
    (["Validation"], 150_000, "Model/Report/Report.html"),
    (["Validation", "Folds", "2"], 0, "Model/"),
    (["Classifier", "--csv", "rows.csv"], 0, "rows.csv"),
    (["Classifier", "--json", "rows.json"], 300, "rows.json"),
]


@pytest.mark.parametrize(("words", "room", "named"), WRITERS)
def test_a_full_disk(project, monkeypatch, words, room, named):
    monkeypatch.chdir(project)
    before = faults.tree(project)

    with faults.full_disk(room):
        line = told(lambda: faults.main(project, *words))

    assert named in line
    assert "File too large" in line
    assert ".tmp" not in line, "our own folder for the time being is of no use to anybody"
    after = faults.tree(project)
    # Another run is moved aside; of a run's own settings and figures the newest count.
    renewed = ("run.json", "metrics.json", "ALLGraph.json")
    assert {content for name, content in before.items() if not name.endswith(renewed)} <= set(after.values())
    assert not [name for name in after if name.endswith(".tmp")]
    assert faults.main(project, *words) == 0


def test_synthetic_smears_on_a_full_disk(tmp_path):
    with faults.full_disk(1000):
        line = told(lambda: faults.main(tmp_path, "Data", "Demo"))

    assert "Model/Data/0/Synthetic_0001_0.jpg: File too large" in line
    assert faults.tree(tmp_path) == {}
