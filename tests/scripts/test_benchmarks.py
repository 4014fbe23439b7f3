"""The way the benchmarks measure, and that each of ours still runs; no test checks the measured values."""

import importlib
import importlib.util
import json
import sys

import numpy
import pytest

from benchmarks import timing
from Classes import Helpers
from Classes.common import input_files
from Classes.Helpers import PROJECT
from Classes.inference import model_card, openvino_backend
from tests.support import faults

SCRIPTS = sorted(path.stem for path in (PROJECT / "benchmarks").glob("*.py") if "\ndef main(" in path.read_text())


def test_a_row_is_the_median_with_its_spread():
    row = timing.row("a call", [0.005, 0.001, 0.002, 0.004, 0.003], "ms", 1000, wanted="at most 4")

    assert (row["median"], row["count"]) == (3, 5)
    assert (row["low"], row["high"]) == pytest.approx(numpy.percentile([1, 2, 3, 4, 5], [10, 90]))
    assert timing.table([row]).splitlines()[-1] == "| a call | 3 | 1.4 to 4.6 | ms | at most 4 |"


def test_one_value_has_no_spread():
    row = timing.row("memory", [1536.4], "MiB")
    assert timing.table([row]).splitlines()[-1] == "| memory | 1536 | 1536 to 1536 | MiB |  |"


def test_a_ratio_is_that_of_each_turn():
    # The second turn met a busy machine: both took twice as long.
    row = timing.ratio("ours faster", [8, 16, 9], [2, 4, 3], 3.5)
    assert (row["median"], row["wanted"]) == (4, "at least 3.5")


def test_turns_alternate_and_the_first_do_not_count():
    called = []

    def way(name):
        return lambda: called.append(name) or len(called)

    assert timing.in_turns({"one": way("one"), "other": way("other")}, 2) == {"one": [3, 5], "other": [4, 6]}
    assert called == ["one", "other"] * 3


def test_a_peer_answers_line_by_line(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\nfrom benchmarks import timing\n"
        "print('a remark of a library')\n"
        "timing.serve({'about': sys.argv[1]}, lambda question: {'twice': 2 * question['number']})\n"
    )
    with timing.Peer(script, "doubling") as peer:
        assert peer.about == {"about": "doubling"}
        assert [peer.ask({"number": number}) for number in (1, 4)] == [{"twice": 2}, {"twice": 8}]


def test_a_peer_that_ends_is_named(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text("")
    with pytest.raises(SystemExit, match=r"peer\.py: ended without an answer; run it by itself"):
        timing.Peer(script)


def test_a_report_is_a_table_and_json(tmp_path, capsys):
    rows = [timing.row("a call", [2.0], "s")]
    timing.report({"Calls": rows}, timing.machine(), tmp_path)

    assert json.loads((tmp_path / "benchmarks.json").read_text())["parts"] == {"Calls": rows}
    assert (tmp_path / "benchmarks.md").read_text() == capsys.readouterr().out
    assert "### Calls\n\n| what |" in (tmp_path / "benchmarks.md").read_text()


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_does(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    if name == "lit" and not importlib.util.find_spec("litserve"):
        pytest.skip("the peers of benchmarks/requirements.txt are not installed")
    script = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as end:
        script.main(["--help"])
    assert end.value.code == 0
    assert script.__doc__.splitlines()[0] in capsys.readouterr().out
    assert not importlib.util.find_spec("mvnc"), "the stand-in stick is not for whoever runs next"


@pytest.fixture
def small(trained):
    """The configuration of the tiny project."""
    return Helpers.load_config(None, [f"NetworkPath={trained}", *faults.QUICK, "Pretrained=none"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f32", "Mixed_7a"])
def test_our_training_is_measured(small, kind):
    from benchmarks import trainers

    step = trainers.KINDS[kind](small)
    losses = [step(None)[0] for _ in range(2)]

    assert numpy.isfinite(losses).all()
    assert losses[0] != losses[1], "the step before has changed the weights"


@pytest.mark.slow
def test_our_features_are_measured_again_each_time(small):
    from benchmarks import trainers

    found = trainers.KINDS["features"](small)(3)

    assert len(found) == 3


@pytest.mark.parametrize("kind", ["f32", "bare", "tensorflow"])
def test_our_graph_is_measured(small, kind):
    from benchmarks import engines

    card = model_card.load_model_card(small.card)
    files = input_files.resolve_inputs(small, [])
    run, _ = engines.KINDS[kind](small, card, files)
    with openvino_backend.OpenVINOBackend(card, "CPU", "f32") as engine:
        expected = engine.classify(
            numpy.stack([card.input_spec.decode_and_resize(files[each % len(files)]) for each in (0, 1)])
        )

    for batch in (1, 2):
        numpy.testing.assert_allclose(run(0, batch), expected[:batch], atol=1e-4)


def test_the_networks_operations_are_counted(small):
    from benchmarks import run

    context = run.Context(small, model_card.load_model_card(small.card), [], 1, 1, [], False)
    assert context.operations() > 10**7
