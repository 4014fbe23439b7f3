"""Real runs that are killed, stopped, started twice or may not write: nothing is lost, and the next one works."""

import contextlib
import functools
import json
import operator
import os
import pathlib
import signal

import pytest

from Classes.common import provenance
from Classes.dataset import tfrecords
from Classes.inference import model_card
from Classes.networks import checkpoint_files
from tests.support import changes, faults, processes, servers, services, small_networks, waiting

pytestmark = pytest.mark.slow


def images(folder):
    return {name: content for name, content in faults.tree(folder).items() if name.endswith(".png")}


def leftovers(folder):
    return [path for path in folder.rglob(".*") if path.name.endswith(".tmp") or path.name.endswith("-moving")]


def signalled(project, tmp_path, number, script, *arguments, settings=(), **how):
    """Yield each faults.Run that was sent a signal, at one change after the other; the last one was sent none.

    Args:
      number: of the signal.
      how: see changes.at_the_next.
    """
    noted = tmp_path / "changes.json"
    noted.write_text("[]")
    before = functools.partial(changes.signalled_at_the_next, number, project, noted, **how)
    while True:
        met = noted.read_text()
        yield faults.run(project, script, *arguments, settings=settings, before=before)
        if noted.read_text() == met:
            assert met != "[]"
            return


# After the others nothing is there yet under a name that anybody reads.
SHOWN = ("os.rename", "os.remove", "os.rmdir")


def kind(change):
    """What a script does to a folder; of the model's own folder, the graph and its card are apart from the rest."""
    operation, name = change
    folder = pathlib.PurePath(name).parent
    return operation, str(folder), folder.name == "Model" and "Graph" in name


def moments(project, tmp_path, script, pattern, settings):
    """Yield a project folder for each moment at which a kill of a script would show: what it would leave."""
    copies = tmp_path / "copies"
    before = functools.partial(changes.copied_before_every_change, project, pattern, copies, SHOWN)
    assert faults.run(project, script, settings=settings, before=before).code == 0
    yield from sorted(copies.iterdir())


def is_readable(read, command):
    """Whether something can be read; if not, the error says which command writes it again."""
    try:
        read()
    except Exception as error:
        assert command in faults.line(error)
        return False
    return True


def count_images(folder):
    return sum(map(len, tfrecords.load_manifest(small_networks.configuration(folder)).splits.values()))


def verify_graph(folder):
    model_card.load_model_card(small_networks.configuration(folder).card).verify_graph()


# A third seed than that of the project, so that the shards are others.
ANOTHER_SPLIT = ["RandomSeed=1", "Shards=3"]


def test_a_killed_data_leaves_the_former_shards_or_the_new_ones_or_none(project, tmp_path):
    states = []
    for folder in moments(project, tmp_path, "Data", "Model/Data", ANOTHER_SPLIT):
        states.append(is_readable(lambda folder=folder: count_images(folder), "python3 Data.py"))
        assert not states[-1] or count_images(folder) == 40

    # While files are renamed there is no manifest.
    assert states[0] and states[-1] and len(states) > 10
    first, last = states.index(False), len(states) - states[::-1].index(False)
    assert not any(states[first:last])


def test_a_killed_trainer_leaves_no_graph_with_the_card_of_another(project, tmp_path):
    states = []
    for folder in moments(project, tmp_path, "Trainer", "Model/ALLGraph*", ["RandomSeed=1", "Epochs=1"]):
        states.append(is_readable(lambda folder=folder: verify_graph(folder), "python3 Trainer.py"))

    assert states[0] and states[-1] and False in states


def test_data_killed_again_and_again(project, tmp_path):
    before, codes = images(project), []
    for run in signalled(
        project, tmp_path, signal.SIGKILL, "Data", operations=SHOWN, distinct=kind, settings=ANOTHER_SPLIT
    ):
        codes.append(run.code)

    assert set(codes[:-1]) == {-signal.SIGKILL}
    assert codes[-1] == 0
    assert count_images(project) == 40
    assert images(project) == before
    assert leftovers(project) == []


def test_a_trainer_killed_again_and_again(project, tmp_path):
    """While it moves another run aside, saves, and freezes."""
    checkpoint, codes = (project / "Model/_logs/model.ckpt-10.index").read_bytes(), []
    settings = ["RandomSeed=1", "Epochs=1"]
    for run in signalled(
        project, tmp_path, signal.SIGKILL, "Trainer", operations=SHOWN, distinct=kind, settings=settings
    ):
        codes.append(run.code)

    assert set(codes[:-1]) == {-signal.SIGKILL}
    assert codes[-1] == 0
    verify_graph(project)
    kept = [path.read_bytes() for path in project.rglob("model.ckpt-10.index")]
    assert checkpoint in kept
    assert leftovers(project) == []


@pytest.mark.parametrize(
    ("arguments", "folders"),
    [
        (["Data"], ["Model/Data", "Model/Report"]),
        (["Data", "Check"], ["Model/Report"]),
        (["Trainer"], ["Model/_logs", "Model/Features/*", "Model", "Model/Runs", "Model/Runs/*"]),
        (["Trainer", "Export"], ["Model/Export/all"]),
        (["Validation", "Folds", "2"], ["Model/_logs_eval"]),
        (["Validation"], ["Model/_logs_eval", "Model/Report", "Model", "Model/Runs/*"]),
        (["Validation", "Compare"], ["Model/Runs"]),
    ],
)
def test_the_next_run_sweeps_what_a_killed_one_left(project, arguments, folders):
    (project / "Model/Export/all").mkdir(parents=True)
    found = [path for name in folders for path in project.glob(name)]
    assert len(found) >= len(folders)
    # Temporary files of atomic_replace, one of them of the card's own temporary name, and a file of somebody else.
    for folder in found:
        for name in (".ALLGraph.json.0123456789ab.tmp", "..ALLGraph.json.0123456789ab.tmp.ba9876543210.tmp", ".me.tmp"):
            (folder / name).write_text("half")

    # The features that the killed run did not come to write.
    for path in project.glob("Model/Features/*/*.npz"):
        path.unlink()

    assert faults.run(project, *arguments).code == 0

    assert {path for folder in found for path in folder.glob(".*.tmp")} == {folder / ".me.tmp" for folder in found}


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("Data", []),
        ("Data", ["Augment"]),
        ("Data", ["Check"]),
        ("Trainer", []),
        ("Trainer", ["Export"]),
        ("Validation", []),
        ("Classifier", []),
    ],
)
def test_ctrl_c_at_changes_of_every_kind(project, tmp_path, script, arguments):
    operation = operator.itemgetter(0)
    for run in signalled(
        project, tmp_path, signal.SIGINT, script, *arguments, distinct=operation, settings=["RandomSeed=3"]
    ):
        # It may have been all but done.
        assert (run.code == 130 and run.said.endswith("\nStopped.\n")) or run.code == 0, run.said
        assert "Traceback" not in run.said, run.said
        assert [path for path in leftovers(project) if path.suffix == ".tmp"] == []
    assert run.code == 0, run.said


def test_a_stopped_and_continued_trainer_ends_as_one_that_never_was(project):
    settings = ["Epochs=20", "SaveSeconds=0"]
    folder = project / "Model/_logs"
    with faults.started(project, "Trainer", settings=settings) as process:
        waiting.until(
            lambda: checkpoint_files.saved_steps(folder)[-1] > 10, process.said, ended=lambda: not process.is_alive()
        )
        processes.pause(process.pid)
        before = checkpoint_files.saved_steps(folder)
        # Whoever looks meanwhile finds whole files, and the lock held.
        assert checkpoint_files.latest_checkpoint(folder)[0] == before[-1]
        second = faults.run(project, "Trainer", settings=settings)
        os.kill(process.pid, signal.SIGCONT)
        process.join(waiting.LIMIT)
        assert process.exitcode == 0, process.said()

    assert second.code == 1
    assert str(folder) in second.error
    assert checkpoint_files.saved_steps(folder)[-1] == 100


@pytest.mark.parametrize("arguments", [["Data"], ["Data", "Check"], ["Trainer"], ["Validation"]])
def test_a_clock_that_is_set_back(project, arguments):
    settings = ["SaveSeconds=0", "Epochs=4"] if arguments == ["Trainer"] else []
    before = tfrecords.load_manifest(small_networks.configuration(project)).sha256
    if arguments == ["Trainer"]:
        # Two checkpoints to choose from.
        assert faults.run(project, "Trainer", settings=["SaveSeconds=0", "Epochs=3"]).code == 0
    faults.clock_back(project)

    run = faults.run(project, *arguments, settings=settings)

    assert run.code == 0, run.said
    assert tfrecords.load_manifest(small_networks.configuration(project)).sha256 == before
    if arguments == ["Trainer"]:
        # From the newest checkpoint, which is not the one with the newest date.
        assert "step 15 " in run.said
        assert checkpoint_files.saved_steps(project / "Model/_logs")[-1] == 20


@pytest.mark.parametrize(
    ("script", "arguments", "named"),
    [
        ("Data", [], "Model/Data"),
        # The part files are the first that is written.
        ("Data", ["Augment"], "Model/Jobs"),
        ("Data", ["Check"], "Model/Jobs"),
        # The folder of the run is the first that is written; without it, that of the checkpoints is.
        ("Trainer", [], "Model/Runs/001-"),
        ("Trainer", ["--set", "RunsDir="], "Model/_logs"),
        ("Trainer", ["Export"], "Model/Export"),
        ("Validation", [], "Model/_logs_eval"),
        ("Validation", ["Folds", "2"], "Model/_logs_eval"),
        ("Classifier", ["--json", "rows.json"], "rows.json"),
    ],
)
def test_a_folder_that_may_not_be_written(project, script, arguments, named):
    before = faults.tree(project)
    arguments = [str(project / word) if word.endswith(".json") else word for word in arguments]
    folders = [path for path in (project, *project.rglob("*")) if path.is_dir() and path.name != "Logs"]
    settings = ["TestImagePath=Model/Data/1"] if script == "Classifier" else []
    for path in folders:
        path.chmod(0o555)
    try:
        run = faults.run(project, script, *arguments, settings=settings, before=faults.no_override)
    finally:
        for path in folders:
            path.chmod(0o755)

    # 2 where the place is one that the command line names.
    assert run.code == (2 if script == "Classifier" else 1)
    assert named in run.error
    assert "ermission denied" in run.error
    assert before.items() <= faults.tree(project).items()


def test_a_server_killed_under_load_serves_again(tmp_path):
    captured = tmp_path / "Model/Data/Captured"
    log = captured / "Captured.jsonl"
    for number in range(2):
        with servers.running(tmp_path, "Capture=true", hold=0.05) as process:
            for red in (64, 192):
                assert servers.request(process.port, body=services.image(red, 40))[0] == 200
            waiting.until(lambda number=number: log.read_text().count("\n") > number)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    with servers.running(tmp_path, "Capture=true") as process:
        assert servers.request(process.port, body=services.image(96, 40))[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(waiting.LIMIT) == 0
    # Lines that a kill has cut off are no JSON.
    lines = []
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    # What waited for the disk when the server was killed is lost, what a stop found waiting is not.
    assert 3 <= len(lines) <= 5
    assert lines[-1]["verdict"] == "ALL not detected"
    assert all(provenance.sha256_file(captured / line["file"]) == line["sha256"] for line in lines)


def test_a_stopped_and_continued_server_answers_what_waited(tmp_path):
    with servers.running(tmp_path) as process:
        processes.pause(process.pid)
        with pytest.raises(TimeoutError):
            servers.request(process.port, body=services.image(64, 40), timeout=0.5)
        os.kill(process.pid, signal.SIGCONT)

        assert servers.request(process.port, body=services.image(64, 40))[0] == 200
