"""Keep an evaluation in the folder of the run that made the model: files, and what TensorBoard shows of it."""

import io
import logging
import pathlib
from typing import Any

import numpy
import PIL.Image

from Classes.common.config import Configuration
from Classes.common.errors import ALLError
from Classes.dataset import tfrecords
from Classes.evaluation import field_report, html_report, report_examples, runs, validation_metrics
from Classes.imaging import decode
from Classes.inference import class_activation, model_card, prediction

# Folder of the TensorBoard events, beside train/ and validation/.
EVENTS = "evaluation"

# Thresholds of the precision-recall curve.
N_THRESHOLDS = 201

log = logging.getLogger("Validation")


def keep_evaluation(
    configuration: Configuration,
    card: model_card.ModelCard,
    manifest: tfrecords.Manifest,
    metrics: dict[str, Any],
    explainer: class_activation.Explainer,
) -> None:
    """Copy what Validation.py wrote into the run's folder, and write events with the metrics and the worst errors.

    A model that no run made, such as imported weights, gets a run of its own.

    Args:
      configuration: Configuration.
      card: model card.
      manifest: of the data set.
      metrics: as in metrics.json, with `predictions`.
      explainer: of the model that was measured.
    """
    folder = runs.find_run(configuration, card.graph_sha256) or _adopt(configuration, card, manifest)
    if folder is None:
        return
    runs.remove_stale_temp_files(folder.parent)
    measured, report = configuration.path("LogDirEval"), configuration.path("ReportDir")
    plots = [measured / name for plot in html_report.PLOTS for name in (plot, f"{plot.removesuffix('.png')}.svg")]
    texts = [report / "Report.html", report / "Data.html", report / "Data.json", report / field_report.PAGE]
    runs.keep_files(folder, [*plots, *texts, configuration.card, configuration.card.with_name("MODEL_CARD.md")])
    _write_events(configuration, card, metrics, explainer, folder / EVENTS)
    # Last, because a run counts as evaluated once it has metrics.
    runs.keep_files(folder, [measured / runs.METRICS])
    log.info("Kept the results in %s.", folder)


def _adopt(
    configuration: Configuration, card: model_card.ModelCard, manifest: tfrecords.Manifest
) -> pathlib.Path | None:
    about = {
        "identity": card.training.get("run"),
        "network": card.network,
        "manifest_sha256": manifest.sha256,
        "synthetic": card.synthetic,
        "imported": card.imported,
        "images": {split: len(items) for split, items in manifest.splits.items()},
        "finished": card.created,
        "graph_sha256": card.graph_sha256,
        "step": card.training.get("step"),
    }
    folder = runs.create_run(configuration, about)
    if folder:
        runs.keep_files(folder, [card.graph_path], link=True)
        runs.remove_old_models(configuration, folder)
    return folder


def _write_events(
    configuration: Configuration,
    card: model_card.ModelCard,
    metrics: dict[str, Any],
    explainer: class_activation.Explainer,
    folder: pathlib.Path,
) -> None:
    """Write metrics, the precision-recall curve and the worst errors; the events of an earlier evaluation go."""
    import tensorflow as tf
    from tensorboard.plugins.pr_curve import summary

    former = list(folder.glob("events.out.tfevents.*"))
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(int(card.training.get("step") or 0)):
        for name, value in validation_metrics.event_scalars(metrics).items():
            tf.summary.scalar(f"final/{name}", value)
        rows = metrics["predictions"]
        if rows and card.positive:
            labels = numpy.array([row["label"] in card.positive for row in rows], bool)
            scores = numpy.array([prediction.positive_score(card, row) for row in rows], float)
            curve = summary.pb("precision_recall", labels, scores, num_thresholds=N_THRESHOLDS)
            tf.summary.experimental.write_raw_pb(curve.SerializeToString())
        for name, picture, text in _worst_errors(configuration, card, rows, explainer):
            tf.summary.image(name, picture[None], description=text)
    writer.close()
    for path in former:
        path.unlink(missing_ok=True)


def _worst_errors(
    configuration: Configuration,
    card: model_card.ModelCard,
    rows: list[dict[str, Any]],
    explainer: class_activation.Explainer,
) -> list[tuple[str, numpy.ndarray, str]]:
    """Return (tag, image and class activation map side by side, uint8 [H, W, 3], text) of the most confident errors."""
    worst = report_examples.worst_errors(rows)
    wanted = {row["sha256"]: (number, row) for number, row in enumerate(worst, 1)}
    found = []
    try:
        for record in tfrecords.iter_records(configuration, "validation") if wanted else ():
            if record.sha256 not in wanted:
                continue
            number, row = wanted[record.sha256]
            image = card.input_spec.decode_and_resize(record.encoded, decode.decode_limits(configuration))
            with PIL.Image.open(io.BytesIO(explainer.draw(image))) as heat_map:
                drawn = numpy.asarray(heat_map.convert("RGB").resize(image.shape[1::-1]))
            short = card.condition.short
            text = (
                f"{row['filename']}: predicted {row['predicted']}, label {row['label']}"
                if "predicted" in row
                else (
                    f"{row['filename']}: predicted {'' if row['detected'] else 'not '}{short}, probability of {short} "
                    f"{prediction.positive_score(card, row):.3f}, label {row['label']}"
                )
            )
            name = f"worst_errors/{number:02} {row['filename']}"
            found.append((name, numpy.concatenate([image, drawn], axis=1), text))
    except ALLError as error:
        # Some networks have no class activation map; the report says so too.
        log.debug("No pictures of errors: %s", error)
    return sorted(found, key=lambda each: each[0])
