import base64
import dataclasses
import hashlib
import html
import json
import re

import pytest

from Classes.common import conditions, json_files, statistics
from Classes.dataset import tfrecords
from Classes.evaluation import (
    classification_metrics,
    evaluate,
    field_metrics,
    html_report,
    model_card_markdown,
    operating_point,
    tensorboard_events,
)
from Classes.imaging.annotations.record import AnnotatedCell
from Classes.inference import class_activation, model_card
from tests.support import evaluations, graphs


@pytest.fixture
def measured(tmp_path):
    """A project whose model has been validated on four planted images, one of them answered wrongly."""
    return evaluations.measured_project(tmp_path)


def page(configuration):
    return (configuration.path("ReportDir") / "Report.html").read_text()


@pytest.mark.slow
def test_the_page_is_self_contained(measured):
    text = page(measured)

    assert not re.search(r'(?:src|href)="(?!data:|Data\.html|#)', text)
    assert "not a diagnosis" in text
    assert text.count('<figure class="plot">') == 4, "no training, so no curves"
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(identifiers)


def test_only_the_script_of_the_page_may_run(measured):
    text = page(measured)

    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(text)


def test_the_threshold_slider_has_the_counts_of_every_threshold(measured):
    metrics = json.loads((measured.path("LogDirEval") / "metrics.json").read_text())
    [content] = re.findall(r'id="threshold-points">(.*?)</script>', page(measured))
    found = json.loads(content)

    assert found["points"][found["deployed"]][0] == model_card.load_model_card(measured.card).threshold
    for threshold, sensitivity, specificity, accuracy, called in found["points"]:
        scores = {row["sha256"]: row["probabilities"]["1"] for row in metrics["predictions"]}
        positive = [scores[row["sha256"]] >= threshold for row in metrics["predictions"] if row["label"] == "1"]
        negative = [scores[row["sha256"]] < threshold for row in metrics["predictions"] if row["label"] == "0"]
        assert sensitivity[:2] == [sum(positive), 2]
        assert specificity[:2] == [sum(negative), 2]
        assert accuracy[:2] == [sum(positive) + sum(negative), 4]
        assert called[0] == sum(positive) + 2 - sum(negative)
        # Wilson's interval, as for the metrics; rounded for the page.
        low, high = statistics.wilson_interval(sensitivity[0] / 2, 2)
        assert sensitivity[2:] == pytest.approx([low, high], abs=1e-4)


def test_the_page_shows_the_measured_metrics(measured):
    metrics = json.loads((measured.path("LogDirEval") / "metrics.json").read_text())
    text = page(measured)

    assert metrics["accuracy"]["of"] == [3, 4]
    assert '<th scope="row">Accuracy</th><td>0.7500</td>' in text
    assert "<td>3 of 4</td>" in text
    assert "2 true positives, 0 false negatives, 1 true negatives, 1 false positives" in text


@pytest.mark.slow
def test_an_error_is_shown_with_its_class_activation_map(measured):
    errors = page(measured).split("Errors, most confident first (1 in all)")[1].split("<h3>")[0]

    assert errors.count('<figure class="example">') == 1
    assert errors.count('alt="Image 0/c.png"') == errors.count('alt="Class activation map of 0/c.png"') == 1
    assert "c.png" in errors
    assert re.search(r"Predicted: ALL\. Probability of ALL: \d+\.\d %\. Label: not ALL", errors)


@pytest.mark.slow
def test_the_page_counts_source_images_in_both_splits(measured):
    assert "1 training images of 1 source images or patients. 4 validation images of 4" in page(measured)
    assert "0 of them are in both splits" in page(measured)


@pytest.mark.slow
def test_names_and_findings_are_escaped(measured):
    (measured.path("ReportDir") / "Data.json").write_text(
        json.dumps(
            {
                "created": "2026-01-02T03:04:05+00:00",
                "images_sha256": hash_images(measured),
                "manifest_sha256": None,
                "problems": [{"title": "<b>copies</b>", "text": "a & b"}],
                "exact": [1, 2],
                "probes": {"size": {"auc": 0.5, "interval": [0.25, 0.75]}, "none": {"auc": None, "interval": None}},
            }
        )
    )
    write(measured)

    assert "<li><strong>&lt;b&gt;copies&lt;/b&gt;</strong>: a &amp; b</li>" in page(measured)
    assert '<th scope="row">Exact duplicates</th><td>2</td>' in page(measured)
    assert '<th scope="row">Near duplicates</th><td>0</td>' in page(measured)
    assert '<th scope="row">size</th><td>0.500</td><td>0.250 to 0.750</td>' in page(measured)
    assert ">none</th>" not in page(measured)


@pytest.mark.slow
def test_only_folds_of_this_data_set_are_shown(measured):
    metric = {"value": 0.9, "interval": None, "of": None, "note": None}
    fold = dict.fromkeys(classification_metrics.FOLD_METRICS, metric)
    rest = {
        "mean": dict.fromkeys(classification_metrics.FOLD_METRICS, 0.9),
        "spread": dict.fromkeys(classification_metrics.FOLD_METRICS, 0.0125),
        "together": fold,
    }
    path = measured.path("LogDirEval") / "folds.json"
    for digest, shown in ((tfrecords.load_manifest(measured).sha256, True), ("0" * 64, False)):
        path.write_text(json.dumps({"manifest_sha256": digest, "folds": [fold, fold], **rest}))
        write(measured)
        assert ('<th scope="row">2</th><td>0.9000</td>' in page(measured)) == shown
        assert ('<th scope="row">spread</th><td>0.0125</td>' in page(measured)) == shown
        assert ("2 folds: 0.9000, 0.9000; mean 0.9000, spread 0.0125." in markdown(measured)) == shown


def test_metrics_of_annotated_photographs_are_shown(measured):
    fields = field_metrics.evaluate_fields(
        [field_metrics.MeasuredField("a", "a", (AnnotatedCell(5, 5, 4, 4, ""),), ())]
    )
    path = measured.path("ReportDir") / "FieldValidation.json"
    path.write_text(json.dumps({**fields, "created": "2026-01-01T00:00:00Z"}))
    write(measured)
    assert 'href="FieldValidation.html"' in page(measured) and "0 of 1" in page(measured)


def hash_images(configuration):
    """The hash of all images, which is written into the manifest here because no Data.py wrote it."""
    path = tfrecords.manifest_path(configuration)
    json_files.write_json(path, {**json_files.read_json(path), "images_sha256": "a" * 64})
    return "a" * 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, True),
        ({"manifest_sha256": None}, True),
        ({"manifest_sha256": "0" * 64}, False),
        ({"images_sha256": "0" * 64}, False),
        ({"images_sha256": None}, False),
    ],
)
def test_an_audit_of_other_data_is_left_out(measured, change, shown):
    found = {
        "created": "2026-01-02T03:04:05+00:00",
        "images_sha256": hash_images(measured),
        "manifest_sha256": tfrecords.load_manifest(measured).sha256,
        "problems": [{"title": "Copies", "text": "found long ago"}],
    }
    (measured.path("ReportDir") / "Data.json").write_text(json.dumps({**found, **change}))

    write(measured)

    assert ("found long ago" in page(measured)) == shown
    assert ('href="Data.html"' in page(measured)) == shown
    # The date is stated either way.
    assert "2026-01-02" in page(measured)


@pytest.mark.slow
@pytest.mark.parametrize(("run", "shown"), [("this one", True), ("another", False), (None, False)])
def test_curves_of_another_run_are_left_out(measured, monkeypatch, run, shown):
    tags = ("Validation_losses/Total_Loss", "Validation_Accuracy")
    scalars = {tag: [(1, 0.5), (2, 0.75)] for tag in tags}
    monkeypatch.setattr(tensorboard_events, "read_scalars", lambda folder: scalars)
    json_files.write_json(measured.path("LogDir") / "run.json", {"identity": "this one"})
    card = model_card.load_model_card(measured.card)
    model_card.write_model_card(measured.card, dataclasses.replace(card, training={"run": run}))

    write(measured)

    assert ('aria-label="Training"' in page(measured)) == shown


@pytest.mark.slow
def test_the_model_card_claims_nothing_about_stains_and_precision_that_was_not_measured(measured):
    assert not re.search(r"one (stain|camera|laborator)|hundredths", markdown(measured))


def markdown(configuration):
    return configuration.card.with_name("MODEL_CARD.md").read_text()


def write(configuration):
    metrics = json.loads((configuration.path("LogDirEval") / "metrics.json").read_text())
    card = model_card.load_model_card(configuration.card)
    manifest, explainer = tfrecords.load_manifest(configuration), class_activation.Explainer(card)
    html_report.write_report(configuration, card, manifest, metrics, explainer)


@pytest.mark.slow
def test_the_model_card_states_metrics_and_limits(measured):
    text = markdown(measured)

    for title in (
        "Intended use",
        "Out of scope",
        "Data",
        "Metrics",
        "Calibration and operating point",
        "Limits",
        "Provenance",
    ):
        assert f"\n## {title}\n" in text
    assert "| Accuracy | 0.7500 | " in text
    assert "- validation: 4 images of 4 source images or patients, class 0: 2, class 1: 2\n" in text
    assert model_card.load_model_card(measured.card).graph_sha256 in text
    assert "The patient of 5 of 5 images is unknown" in text
    assert "synthetic" not in text


@pytest.mark.slow
def test_the_model_card_states_patients_and_synthetic_images(measured):
    import dataclasses

    card, manifest = model_card.load_model_card(measured.card), tfrecords.load_manifest(measured)
    metrics = json.loads((measured.path("LogDirEval") / "metrics.json").read_text())
    splits = {split: [{**image, "group": "patient 7"} for image in images] for split, images in manifest.splits.items()}

    text = model_card_markdown.render_model_card(
        dataclasses.replace(card, synthetic=True), dataclasses.replace(manifest, splits=splits), metrics
    )

    assert "is unknown, so" not in text
    assert "**synthetic images**" in text


def chosen(measured, monkeypatch, **changes):
    """The report once more, for a model whose operating point was chosen; `changes` to its card's calibration."""
    monkeypatch.setattr(operating_point, "MIN_PER_CLASS", 2)
    manifest = tfrecords.load_manifest(measured)
    labels = [item["label"] for item in manifest.splits["validation"]]
    logits = [[0.0, 2.0 if label else -2.0] for label in labels]
    choice, about = operating_point.choose_operating_point(measured, manifest, lambda: logits)
    card = json.loads(measured.card.read_text())
    extra = {"threshold": 0.25, "uncertain": [0.1, 0.75], "temperature": choice.temperature}
    model_card.write_model_card(measured.card, {**card, **extra, "calibration": {**about, **changes}})
    evaluate.evaluate_model(measured)
    return about


@pytest.mark.slow
def test_the_operating_point_is_reported_cross_fitted_and_in_sample(measured, monkeypatch):
    about = chosen(measured, monkeypatch)

    assert about["cross_fitted"]["sensitivity"]["of"] == [2, 2]
    for text in (page(measured), markdown(measured)):
        assert "a sensitivity of 0.95 or more" in text
        assert "0.100 to below 0.750" in text
    metrics = json.loads((measured.path("LogDirEval") / "metrics.json").read_text())
    assert metrics["in_sample"]["specificity"]["of"] != metrics["specificity"]["of"]
    for found in (metrics, metrics["in_sample"]):
        value, interval, _ = classification_metrics.format_metric(found["specificity"])
        assert f"<td>{value} [{interval}]" in page(measured)
        assert f"specificity {value} ({interval})" in markdown(measured)
    assert '<th scope="col">Cross-fitted</th>' in page(measured)
    for each in about["warnings"]:
        assert each["text"] in page(measured)
        assert each["text"] in markdown(measured)


@pytest.mark.slow
def test_without_a_choice_the_report_states_the_reason(measured, monkeypatch):
    chosen(measured, monkeypatch, note="3 validation images are too few", cross_fitted=None)

    for text in (page(measured), markdown(measured)):
        assert "Nothing was fitted: 3 validation images are too few." in text
    assert "Cross-fitted" not in page(measured)


@pytest.mark.slow
def test_metrics_per_patient_are_reported_if_patients_are_known(measured):
    metrics = json.loads((measured.path("LogDirEval") / "metrics.json").read_text())
    card, manifest = model_card.load_model_card(measured.card), tfrecords.load_manifest(measured)
    names = ["patient 1", "patient 2", "patient 3", "patient 3"]
    metrics["patients"] = classification_metrics.evaluate_by_patient([1, 0, 1, 0], [0.9, 0.2, 0.8, 0.7], names, 0.5)

    html_report.write_report(measured, card, manifest, metrics, class_activation.Explainer(card))

    assert "1 with images of both classes is left out." in page(measured)
    assert "2 patients, 1 with images of both classes are left out." in markdown(measured)


@pytest.mark.slow
def test_a_graph_without_class_activation_maps_gets_a_report(measured, tmp_path):
    graphs.write(tmp_path / "Model", data={"manifest_sha256": tfrecords.load_manifest(measured).sha256})
    write(measured)

    assert "No pictures: " in page(measured)
    assert '<figure class="example">' not in page(measured)


def test_curves_of_a_resumed_run_are_read_as_one(tmp_path):
    import tensorflow as tf

    for part, steps in (("a", (1, 2, 3)), ("b", (3, 4))):
        writer = tf.summary.create_file_writer(str(tmp_path), filename_suffix=part)
        with writer.as_default():
            for step in steps:
                tf.summary.scalar("Validation_Accuracy", step / 8, step)
                tf.summary.scalar("other", 1, step)
        writer.close()

    assert tensorboard_events.read_scalars(tmp_path) == {
        "Validation_Accuracy": [(1, 0.125), (2, 0.25), (3, 0.375), (4, 0.5)]
    }
    assert tensorboard_events.read_scalars(tmp_path / "nothing") == {}


@pytest.mark.slow
def test_the_report_shows_the_model_that_was_measured(measured, monkeypatch):
    before = page(measured)
    write_results = evaluate._write_results

    def published_meanwhile(configuration, card, *rest):
        found = write_results(configuration, card, *rest)
        graphs.write(configuration.card.parent, content=graphs.dense(), size=graphs.SIZE)
        return found

    monkeypatch.setattr(evaluate, "_write_results", published_meanwhile)

    evaluate.evaluate_model(measured)

    def heat_maps(text):
        return re.findall(r'<img[^>]*alt="[^"]*map[^"]*"[^>]*>', text)

    assert heat_maps(before)
    assert heat_maps(page(measured)) == heat_maps(before)


def test_report_card_and_metrics_name_the_condition_of_the_model(tmp_path, caplog):
    configuration = evaluations.measured_project(tmp_path, condition=conditions.AML.to_json())

    card = (tmp_path / "Model" / "MODEL_CARD.md").read_text()
    metrics = (configuration.path("LogDirEval") / "metrics.json").read_text()
    assert "Acute Myeloid Leukemia" in card and "class 1 means AML" in card
    assert "missed 0 of 2 AML images" in page(configuration)
    for text in (card, metrics, page(configuration).replace("ALLGraph", "")):
        assert not re.findall(r"\bALL\b", text)
    assert "the model detects AML, but Condition is ALL" in caplog.text
