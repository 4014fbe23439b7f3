import os
import pathlib
import re

import pytest

from Classes.common import config
from Classes.common.errors import ConfigurationError
from Classes.evaluation import runs


@pytest.fixture
def configuration(tmp_path):
    return config.load_config(settings=[f"NetworkPath={tmp_path}", "RunsWithModel=2", "Epochs=7"])


def test_runs_are_numbered_and_the_newest_is_latest(configuration, tmp_path):
    first, second = (runs.create_run(configuration, {"network": "AllCNN"}) for _ in range(2))

    assert re.fullmatch(r"001-\d{4}-\d\d-\d\d", first.name)
    assert second.name.startswith("002-")
    assert runs.list_runs(tmp_path / "Model/Runs") == [first, second]
    latest = tmp_path / "Model/latest"
    assert latest.readlink() == pathlib.Path("Runs", second.name), "relative, so that the folder can be moved"
    assert runs.latest_run(tmp_path / "Model/Runs") == second.resolve()
    assert runs.read_run(second)["network"] == "AllCNN"
    assert runs.read_settings(second)["Epochs"] == 7


def test_the_settings_of_a_run_are_a_configuration(configuration):
    folder = runs.create_run(configuration, {})

    repeated = config.load_config(folder / runs.SETTINGS)

    assert repeated.values == configuration.values


def test_latest_is_a_file_without_links(configuration, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr(pathlib.Path, "symlink_to", refuse)
    for number in (1, 2):
        folder = runs.create_run(configuration, {})
        assert (tmp_path / "Model/latest").read_text() == f"Runs/{folder.name}\n"
        assert folder.name.startswith(f"00{number}")

    assert runs.latest_run(tmp_path / "Model/Runs") == folder
    assert runs.choose_runs(configuration, ["latest"]) == [folder.resolve()]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_text("mine")])
def test_a_latest_of_the_user_stays(configuration, tmp_path, make):
    (tmp_path / "Model").mkdir()
    make(tmp_path / "Model/latest")

    folder = runs.create_run(configuration, {})

    assert folder.is_dir()
    assert not (tmp_path / "Model/latest").is_symlink()
    assert (tmp_path / "Model/latest").is_dir() or (tmp_path / "Model/latest").read_text() == "mine"


def test_without_a_folder_no_runs_are_kept(tmp_path):
    configuration = config.load_config(settings=[f"NetworkPath={tmp_path}", "RunsDir="])

    assert runs.create_run(configuration, {}) is None
    assert runs.find_run(configuration, "0" * 64) is None
    assert not list(tmp_path.iterdir())


def test_a_result_table_is_read_as_it_was_written(tmp_path):
    rows = [{"epoch": 1, "loss": 0.125, "auc": None}, {"epoch": 2, "loss": 0.0625, "auc": 0.5}]
    runs.write_results(tmp_path, rows)

    assert (tmp_path / "results.csv").read_text() == "epoch,loss,auc\n1,0.125,\n2,0.0625,0.5\n"
    assert runs.read_results(tmp_path) == rows
    assert runs.read_results(tmp_path / "none") == []


def test_links_keep_the_content_of_a_replaced_file(tmp_path):
    graph, folder = tmp_path / "ALLGraph.pb", tmp_path / "run"
    folder.mkdir()
    graph.write_bytes(b"first")
    runs.keep_files(folder, [graph, tmp_path / "missing"], link=True)
    assert (folder / "ALLGraph.pb").samefile(graph)
    runs.keep_files(folder, [graph], link=True)

    other = tmp_path / "new"
    other.write_bytes(b"second")
    other.replace(graph)

    assert (folder / "ALLGraph.pb").read_bytes() == b"first"
    assert [path.name for path in folder.iterdir()] == ["ALLGraph.pb"]


def test_files_are_copied_where_links_are_not_possible(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "ALLGraph.pb").write_bytes(b"graph")
    (tmp_path / "run").mkdir()

    runs.keep_files(tmp_path / "run", [tmp_path / "ALLGraph.pb"], link=True)

    assert (tmp_path / "run/ALLGraph.pb").read_bytes() == b"graph"
    assert not (tmp_path / "run/ALLGraph.pb").samefile(tmp_path / "ALLGraph.pb")


@pytest.mark.parametrize(("keep", "with_model"), [(1, [3]), (2, [2, 3]), (9, [1, 2, 3]), (0, [])])
def test_old_runs_lose_only_their_model(configuration, keep, with_model):
    folders = [runs.create_run(configuration, {}) for _ in range(3)]
    for folder in folders:
        for name in ("model.ckpt-5.index", "model.ckpt-5.data-00000-of-00001", "ALLGraph.pb", "metrics.json"):
            (folder / name).write_text("{}")

    runs.remove_old_models(configuration.replace(RunsWithModel=keep), folders[-1])

    kept = [number for number, folder in enumerate(folders, 1) if (folder / "ALLGraph.pb").exists()]
    assert kept == with_model
    assert kept == [number for number, folder in enumerate(folders, 1) if list(folder.glob("model.ckpt-*"))]
    assert all((folder / "metrics.json").exists() and (folder / "run.json").exists() for folder in folders)


def test_a_new_run_sweeps_what_killed_runs_left(configuration, tmp_path):
    killed = runs.create_run(configuration, {})
    folders = [tmp_path / "Model", tmp_path / "Model/Runs", killed]
    for folder in folders:
        (folder / ".run.json.0123456789ab.tmp").write_text("half")
        (folder / ".mine.tmp").write_text("mine")
    (killed / "run.json").unlink()
    before = {path.name for path in killed.iterdir()}

    runs.create_run(configuration, {})

    assert [[path.name for path in folder.glob(".*.tmp")] for folder in folders] == [[".mine.tmp"]] * 3
    assert {path.name for path in killed.iterdir()} == before - {".run.json.0123456789ab.tmp"}


def test_a_run_is_found_by_its_model_and_its_metrics_are_of_that_model(configuration):
    folder = runs.create_run(configuration, {})
    runs.amend_run(folder, graph_sha256="a" * 64)
    runs.create_run(configuration, {})
    (folder / "metrics.json").write_text('{"graph_sha256": "%s"}' % ("a" * 64))

    assert runs.find_run(configuration, "a" * 64) == folder
    assert runs.find_run(configuration, "b" * 64) is None
    assert runs.read_metrics(folder)
    runs.amend_run(folder, graph_sha256="b" * 64)
    assert runs.read_metrics(folder) == {}


def test_runs_are_chosen_by_number_name_and_path(configuration, tmp_path):
    first, second = (runs.create_run(configuration, {}) for _ in range(2))

    assert runs.choose_runs(configuration, []) == [first, second]
    assert runs.choose_runs(configuration, ["2", first.name]) == [second, first]
    assert runs.choose_runs(configuration, [str(first)]) == [first.resolve()]
    assert runs.choose_runs(configuration, ["001"]) == [first]
    for wrong in ("3", "nothing"):
        with pytest.raises(ConfigurationError) as caught:
            runs.choose_runs(configuration, [wrong])
        assert caught.value.code == "no_runs"


def test_a_run_that_was_killed_while_it_began_is_not_listed(configuration, tmp_path):
    kept = runs.create_run(configuration, {})
    kept.with_name("002-2026-11-27").mkdir()

    assert runs.choose_runs(configuration, []) == [kept]
    assert runs.create_run(configuration, {}).name.startswith("003-")


def test_without_runs_nothing_can_be_chosen(configuration):
    with pytest.raises(ConfigurationError) as caught:
        runs.choose_runs(configuration, [])
    assert caught.value.code == "no_runs"
