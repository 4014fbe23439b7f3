import pytest
from tensorboard.backend.event_processing import event_multiplexer
from tensorboard.util import tensor_util

from Classes.evaluation import evaluate, runs
from Classes.inference import model_card
from tests.support import evaluations


@pytest.fixture
def measured(tmp_path):
    """A project whose model has been validated on four planted images, one of them answered wrongly."""
    return evaluations.measured_project(tmp_path)


@pytest.mark.slow
def test_an_evaluation_is_kept_with_the_run_of_its_model(measured):
    """The model of the fixture was made by no run, so it gets one; another evaluation goes into the same."""
    evaluate.evaluate_model(measured)

    [folder] = runs.list_runs(measured.path("RunsDir"))
    card = model_card.load_model_card(measured.card)
    assert runs.read_run(folder)["graph_sha256"] == card.graph_sha256
    assert runs.read_metrics(folder)["accuracy"]["of"] == [3, 4]
    assert (folder / "Report.html").read_bytes() == (measured.path("ReportDir") / "Report.html").read_bytes()
    assert (folder / "ALLGraph.pb").samefile(measured.path("ALLGraph"))


@pytest.mark.slow
def test_tensorboard_shows_metrics_the_curve_and_the_worst_errors(measured):
    [folder] = runs.list_runs(measured.path("RunsDir"))
    events = event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
    events.Reload()

    tags = events.Runs()["evaluation"]["tensors"]
    [accuracy] = events.Tensors("evaluation", "final/accuracy")
    assert tensor_util.make_ndarray(accuracy.tensor_proto).item() == 0.75
    assert any(tag.startswith("precision_recall") for tag in tags)
    assert [tag for tag in tags if tag.startswith("worst_errors/")] == ["worst_errors/01 0/c.png"]
