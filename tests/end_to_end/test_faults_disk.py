"""A disk that is full at any file of any writer: a line that names the file, nothing lost, and the next run works."""

import tempfile

import pytest

from tests.support import changes, faults

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def printed(capsys):
    """What is printed is kept in memory: pytest's own file would be the first to be full."""
    return capsys


def error_line(call):
    with pytest.raises(Exception) as caught:
        call()
    return faults.line(caught.value)


# (what is run, bytes that a file may have once the disk is full: with some a file is cut, not empty)
WRITERS = [
    (["Data", "--set", "RandomSeed=7"], 0),
    (["Data", "Augment"], 0),
    # Half a view would be a view that cannot be read, and Pillow says nothing.
    (["Data", "Augment"], 100),
    (["Data", "Check"], 0),
    (["Data", "Check"], 100),
    (["Trainer", "--set", "RandomSeed=7"], 0),
    (["Trainer", "Export"], 0),
    (["Validation"], 0),
    (["Validation", "Folds", "2"], 0),
    (["Classifier", "--csv", "rows.csv"], 0),
    (["Classifier", "--json", "rows.json"], 100),
]


@pytest.mark.parametrize(("arguments", "free_bytes"), WRITERS)
def test_a_full_disk(project, monkeypatch, arguments, free_bytes):
    monkeypatch.chdir(project)
    # Where a log cannot be written the run goes on.
    known, failures = {("os.mkdir", "Logs")}, 0

    while True:
        before, met = faults.tree(project), len(known)
        with changes.disk_full_at_the_next(project, known, free_bytes):
            try:
                code = faults.main(project, *arguments)
            except Exception as error:
                code, line = 1, faults.line(error)
        if code == 0 and len(known) == met:
            break
        if code == 0:
            # There was enough space for all that came after it.
            continue
        failures += 1
        assert "File too large" in line
        assert ".tmp" not in line, "our own folder for the time being is of no use to anybody"
        # Temporary files have a folder of their own, which can be full as well.
        assert "Model/" in line or "rows." in line or line.startswith(f"{tempfile.gettempdir()}: ")
        after = faults.tree(project)
        # Another run is moved aside; of what a run says of itself the newest counts.
        renewed = (
            "Data.json",
            "run.json",
            "results.csv",
            "metrics.json",
            "ALLGraph.json",
            "Report.html",
            "MODEL_CARD.md",
        )
        # Part files go as soon as the rest of a run no longer needs them.
        kept = {content for name, content in before.items() if not name.endswith(renewed) and "/Jobs/" not in name}
        assert kept <= set(after.values())
        assert not [name for name in after if name.endswith(".tmp")]

    # The last run is the next one that works.
    assert failures


def test_synthetic_smears_on_a_full_disk(tmp_path):
    with faults.full_disk(1000):
        line = error_line(lambda: faults.main(tmp_path, "Data", "Demo"))

    assert "Model/Data/0/Synthetic_0001_0.jpg: File too large" in line
    assert faults.tree(tmp_path) == {}
