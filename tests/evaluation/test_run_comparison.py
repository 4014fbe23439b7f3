import json

import pytest

from Classes.common import conditions, config
from Classes.evaluation import classification_metrics, run_comparison, runs

NAMES = [f"image{number}" for number in range(8)]
LABELS = [True] * 4 + [False] * 4


def make_run(configuration, detected, names=NAMES, epochs=2):
    """A finished run whose predictions are `detected`."""
    folder = runs.create_run(configuration, {"network": "AllCNN", "images": {"train": 20, "validation": len(names)}})
    runs.amend_run(folder, finished="2026-01-02T03:04:05+00:00", graph_sha256=folder.name[0] * 64)
    rows = [{"epoch": epoch, "validation_loss": 1 / epoch, "validation_auc": None} for epoch in range(1, epochs + 1)]
    runs.write_results(folder, rows)
    scores = [0.9 if each else 0.2 for each in detected]
    predictions = [
        {
            "sha256": name,
            "group": name,
            "label": "1" if label else "0",
            "detected": found,
            "probabilities": {"1": score, "0": 1 - score},
        }
        for name, label, found, score in zip(names, LABELS, detected, scores, strict=True)
    ]
    metrics = classification_metrics.evaluate_predictions(LABELS, scores, detected)
    content = {"graph_sha256": folder.name[0] * 64, "positive": "1", **metrics, "predictions": predictions}
    (folder / runs.METRICS).write_text(json.dumps(content))
    return folder


@pytest.fixture
def configuration(tmp_path):
    return config.load_config(settings=[f"NetworkPath={tmp_path}"])


@pytest.fixture
def two_runs(configuration):
    """The second run has one error more, and another learning rate and log folder."""
    first = make_run(configuration, [True] * 4 + [False] * 4)
    second = make_run(configuration.replace(LearningRate=0.25, LogDir="elsewhere"), [True] * 3 + [False] * 5)
    return [run_comparison.read_run(folder) for folder in (first, second)]


def test_only_settings_that_make_another_model_are_listed(two_runs):
    assert run_comparison.differing_settings(two_runs) == {"LearningRate": ["0.0001", "0.25"]}


def test_a_setting_that_an_older_run_does_not_have_is_its_default(two_runs):
    del two_runs[0]["settings"]["LearningRate"], two_runs[0]["settings"]["Epochs"]

    assert run_comparison.differing_settings(two_runs) == {"LearningRate": ["0.0001", "0.25"]}


def test_the_difference_is_that_of_the_same_images(two_runs):
    value, (low, high) = run_comparison.paired_difference(two_runs[0]["metrics"], two_runs[1]["metrics"])

    assert value == 1 / 8
    assert low < 0 < value < high


def test_runs_on_other_images_are_not_subtracted(configuration, two_runs):
    other = run_comparison.read_run(make_run(configuration, LABELS, [f"other{number}" for number in range(8)]))

    assert run_comparison.paired_difference(two_runs[0]["metrics"], other["metrics"]) is None
    assert run_comparison.notes([two_runs[0], other])[-1].startswith(other["name"])


def test_the_table_fits_into_80_columns(two_runs):
    lines = run_comparison.format_table(two_runs, run_comparison.differing_settings(two_runs), 80)
    table = [line for line in lines if line.startswith(("00", "LearningRate"))]

    assert len(table) >= 3
    assert max(map(len, table)) <= 80
    assert "100.0" in table[0]
    assert "75.0" in table[1]


def test_the_page_compares_without_a_network(configuration, two_runs):
    assert run_comparison.compare_runs(configuration, []) == 0

    text = (configuration.path("RunsDir") / "Compare.html").read_text()
    assert 'src="http' not in text
    assert text.count("<svg") == 2, "validation loss and ROC; there is no other curve"
    for run in two_runs:
        assert f'href="{run["name"]}/Report.html"' in text
    assert "<td>0.0001</td><td>0.25</td>" in text


def test_runs_without_metrics_are_shown_as_such(configuration):
    folder = runs.create_run(configuration, {})
    run = run_comparison.read_run(folder)

    lines = run_comparison.format_table([run], {}, 80)

    assert run_comparison.state(run) in lines[1]
    assert "<svg" not in run_comparison.render_page([run], {}, conditions.AML)
