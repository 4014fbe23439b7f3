"""One page a model: what it learned from, how well it does, where it errs, and what its verdicts rest on."""

import io
import logging

import PIL.Image

from Classes import Helpers
from Classes.common import atomic_files, html
from Classes.common.errors import ALLError
from Classes.dataset import tfrecords
from Classes.evaluation import classification_metrics, model_card_markdown, plots, tensorboard_events
from Classes.imaging import decode
from Classes.inference import class_activation

# Pictures of a gallery at most.
N_WORST, N_OTHERS = 12, 6
SIDE = 240
MAX_LISTED = 120

log = logging.getLogger("Validation")


def write_report(configuration, card, manifest, metrics):
    """Write ReportDir/Report.html and the model card for people, MODEL_CARD.md beside the frozen graph.

    Args:
      configuration: Configuration.
      card: model_card.ModelCard, with `metrics`.
      manifest: tfrecords.Manifest.
      metrics: what metrics.json holds, `predictions` included.
    """
    folder = configuration.path("ReportDir")
    audit = _read(folder / "Data.json")
    folds = _read(configuration.path("LogDirEval") / "folds.json")
    measured = (manifest.sha256, card.network)
    if folds and (folds.get("manifest_sha256"), folds.get("network", "InceptionV3")) != measured:
        folds = None
    sections = [
        _warning(card),
        _metrics_section(card, metrics),
        _calibration_section(card, metrics),
        _plots_section(configuration, card, metrics),
        _cross_validation_section(folds),
        _gallery_section(configuration, card, metrics["predictions"]),
        _data_section(configuration, manifest, audit),
        _provenance_section(card, metrics),
    ]
    under = f"{html.escape_html(metrics['created'])}. {html.escape_html(Helpers.DISCLAIMER)}"
    with atomic_files.folder_lock(folder, wait=True):
        atomic_files.write_atomic(
            folder / "Report.html", html.html_document("ALL detection: report", under, "".join(sections))
        )
    log.info("Wrote %s", folder / "Report.html")
    text, path = (
        model_card_markdown.render_model_card(card, manifest, metrics, folds),
        configuration.card.with_name("MODEL_CARD.md"),
    )
    try:
        with atomic_files.folder_lock(path.parent, wait=True):
            atomic_files.write_atomic(path, text)
        log.info("Wrote %s", path)
    except OSError as error:
        if error.errno not in atomic_files.FORBIDDEN:
            raise
        log.warning("%s: %s. The model card for people was not written.", path, error.strerror)


def _read(path):
    """A JSON file that another command may have written, or None; one that is not as it was written is named."""
    try:
        values = atomic_files.read_json(path)
        if not atomic_files.checksum_ok(values):
            raise ValueError("changed after it was written")
        return values
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s: damaged (%s); the report leaves it out, make it anew or remove it", path, error)
        return None


def _warning(card):
    if not card.synthetic:
        return ""
    return '<p class="problem">Trained on synthetic smears: nothing here says anything about real cells.</p>'


def _metrics_section(card, metrics):
    counts = metrics["counts"]
    seen = "which may have been among those of the imported weights" if card.imported else "no step of training on them"
    words = (
        f"{metrics['images']} images of {metrics['groups']} originals or patients, {seen}. "
        f"{html.escape_html(' '.join(classification_metrics.describe_basis(metrics)))} "
        f"{counts['true_positives']} true positives, {counts['false_negatives']} false negatives, "
        f"{counts['true_negatives']} true negatives, {counts['false_positives']} false positives."
    )
    body = (
        f"<h2>How well it does</h2><p>{words}</p>{_table('validation', classification_metrics.iter_metrics(metrics))}"
    )
    patients = metrics.get("patients")
    if patients:
        mixed = f"; {patients['mixed']} with images of both classes are left out" * bool(patients["mixed"])
        body += f"<h3>Over patients, by the mean of their images</h3><p>{patients['images']} patients{mixed}.</p>"
        body += _table("patients", classification_metrics.iter_metrics(patients))
    return body


def _table(title, figures):
    """A table of (name, figure)."""
    rows = [
        tuple(html.escape_html(cell) for cell in (name, *classification_metrics.format_metric(figure)))
        for name, figure in figures
    ]
    return html.html_table((title, "value", "95 % interval", ""), rows)


def _calibration_section(card, metrics):
    """Calibration and operating point: cross-fitted, and on the images that chose them."""
    certainty, calibration = metrics["certainty"], card.calibration or {}
    if certainty["after"]["ece"] is None:
        return ""
    limits = "none" if card.uncertain is None else "from {:.3f} to below {:.3f}".format(*card.uncertain)
    target = calibration.get("target_sensitivity")
    chosen = f", for a sensitivity of {target:g} or more" if target else ""
    words = (
        f"The verdict is ALL from a probability of {card.threshold:.3f}{chosen}; uncertain, for a person to decide: "
        f"{limits}. Logits are divided by the temperature {card.temperature:g}, in the graph itself."
    )
    if calibration.get("note"):
        words += f" Nothing was fitted: {calibration['note']}."
    columns = [(_BASIS[metrics.get("basis", "held_out")], metrics)]
    if "in_sample" in metrics:
        words += " Cross-fitted, each image is judged with what images of other originals or patients choose. "
        words += "In-sample metrics are those of the served operating point on the images that chose it: optimistic."
        columns.append((_BASIS["in_sample"], metrics["in_sample"]))
    before = certainty["before"] and certainty["before"]["ece"]
    rows = [("Calibration error without the temperature", "-" if before is None else f"{before:.4f}")]
    rows += [("Expected calibration error", *(f"{each['certainty']['after']['ece']:.4f}" for _, each in columns))]
    rows += [("The same, if every confidence were true", f"{certainty['after']['chance']:.4f}")]
    for key, name in _CALIBRATION_ROWS.items():
        values = (classification_metrics.format_metric({**each, **each["certainty"]}[key]) for _, each in columns)
        rows.append((name, *(f"{value} [{interval}] ({rest})" for value, interval, rest in values)))
    rows = [(*row, *[""] * (len(columns) + 1 - len(row))) for row in rows]
    table = html.html_table(("", *(title for title, _ in columns)), rows)
    problems = "".join(
        f'<p class="problem">{html.escape_html(each["text"])}</p>' for each in calibration.get("warnings", ())
    )
    return f"<h2>How certain it is</h2><p>{html.escape_html(words)}</p>{problems}{table}"


_BASIS = {
    "held_out": "as served",
    "cross_fitted": "cross-fitted",
    "in_sample": "in-sample, as served (optimistic)",
}
_CALIBRATION_ROWS = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "uncertain": "Share of uncertain verdicts",
    "accuracy_of_rest": "Accuracy of the rest",
}


def _plots_section(configuration, card, metrics):
    folder = configuration.path("LogDirEval")
    labels = [row["label"] == metrics["positive"] for row in metrics["predictions"]]
    scores = [row["probabilities"][metrics["positive"]] for row in metrics["predictions"]]
    plots.plot_precision_recall(folder / "precision_recall.png", labels, scores, "Validation")
    pictures = {
        "confusion.png": "Confusion matrix",
        "roc.png": "ROC curve",
        "precision_recall.png": "Precision and sensitivity",
        "reliability.png": "Reliability: confidence against how often it is right",
    }
    history = {} if card.imported else tensorboard_events.read_scalars(configuration.path("LogDir"))
    if history:
        plots.plot_training_curves(folder / "curves.png", history)
        pictures["curves.png"] = "Training"
    found = [(folder / name, words) for name, words in pictures.items() if (folder / name).is_file()]
    images = "".join(
        f'<img class="plot" alt="{words}" src="{html.data_uri(path.read_bytes())}">' for path, words in found
    )
    return f"<h2>Curves</h2>{images}"


def _cross_validation_section(folds):
    if not folds:
        return "<h2>Folds</h2><p>Not measured on these data; python3 Validation.py Folds 5 does.</p>"
    lines = {
        str(number): {key: fold[key]["value"] for key in classification_metrics.FOLD_METRICS}
        for number, fold in enumerate(folds["folds"], 1)
    }
    lines |= {"mean": folds["mean"], "spread": folds["spread"]}
    rows = [
        (name, *("-" if values[key] is None else f"{values[key]:.4f}" for key in classification_metrics.FOLD_METRICS))
        for name, values in lines.items()
    ]
    words = (
        "The last layer trained anew for each fold, on all groups but the fold's. Spread: standard deviation over the "
        "folds. Under it all folds together, each original judged once."
    )
    head = ("fold", *(classification_metrics.METRIC_NAMES[key] for key in classification_metrics.FOLD_METRICS))
    together = _table("together", classification_metrics.iter_metrics(folds["together"]))
    return f"<h2>Folds</h2><p>{words}</p>{html.html_table(head, rows)}{together}"


def _gallery_section(configuration, card, rows):
    """Pictures of the worst errors, the least and the most certain verdicts, each with what it rests on."""

    def certainty(row):
        return max(row["probabilities"].values())

    errors = sorted((row for row in rows if not row["correct"]), key=certainty, reverse=True)
    rest = sorted((row for row in rows if row["correct"]), key=certainty)
    galleries = {
        f"Errors, the most confident first ({len(errors)} in all)": errors[:N_WORST],
        "Right, and least certain": rest[:N_OTHERS],
        "Right, and most certain": rest[-N_OTHERS:],
    }
    wanted = {row["sha256"] for chosen in galleries.values() for row in chosen}
    try:
        pictures = _image_uris(configuration, card, wanted)
    except ALLError as error:
        return f"<h2>Verdicts</h2><p>No pictures: {html.escape_html(error)}</p>"
    body = "".join(
        f"<h3>{html.escape_html(title)}</h3>{''.join(_figure(row, pictures) for row in chosen) or '<p>None.</p>'}"
        for title, chosen in galleries.items()
    )
    return (
        "<h2>Verdicts and what they rest on</h2><p>Beside each image its class activation map (Zhou et al., "
        f"arXiv:1512.04150): red speaks for ALL, blue against it.</p>{body}"
    )


def _image_uris(configuration, card, wanted):
    """{sha256: (image, map) as what <img> shows} of validation images."""
    explainer, found = class_activation.Explainer(card), {}
    for record in tfrecords.iter_records(configuration, "validation"):
        if record.sha256 in wanted:
            image = card.input_spec.decode_and_resize(record.encoded, decode.decode_limits(configuration))
            drawn = PIL.Image.open(io.BytesIO(explainer.draw(image))).convert("RGB")
            found[record.sha256] = _small(PIL.Image.fromarray(image)), _small(drawn)
    return found


def _small(picture):
    file = io.BytesIO()
    picture.resize((SIDE, SIDE)).save(file, "JPEG", quality=85)
    return html.data_uri(file.getvalue(), "jpeg")


def _figure(row, pictures):
    said = "ALL" if row["detected"] else "not ALL"
    share = max(row["probabilities"].values())
    uncertain = ", uncertain" * row["uncertain"]
    images = "".join(
        f'<img alt="{words}" width="{MAX_LISTED}" src="{src}">'
        for words, src in zip(("image", "map"), pictures[row["sha256"]], strict=True)
    )
    words = f"said {said} with {share:.3f}{uncertain}; the truth is class {html.escape_html(row['label'])}"
    caption = f"{html.escape_html(row['filename'])}<br>{words}"
    return f"<figure>{images}<figcaption>{caption}</figcaption></figure>"


def _data_section(configuration, manifest, audit):
    counts = ", ".join(f"{len(items)} {split}" for split, items in manifest.splits.items())
    groups = {split: {item["group"] for item in items} for split, items in manifest.splits.items()}
    both = len(groups["train"] & groups["validation"])
    sides = " and ".join(str(len(groups[split])) for split in manifest.splits)
    images = sum(map(len, manifest.splits.values()))
    known = model_card_markdown.known_patients(manifest)
    proof = (
        f"{counts} images of {sides} originals or patients, {both} of them on both sides. The patient is known for "
        f"{known} of {images} images. Data set {manifest.sha256}."
    )
    kind = "problem" if both else "fine"
    if audit is None:
        told = "<p>The images were not audited; python3 Data.py Check does.</p>"
    else:
        problems = "".join(
            f"<li>{html.escape_html(each['title'])}: {html.escape_html(each['text'])}</li>"
            for each in audit["problems"]
        )
        listed = f"<ul>{problems}</ul>" if problems else "<p>It found nothing.</p>"
        told = f'<p>The images were audited: <a href="Data.html">Data.html</a>.</p>{listed}{_audit_summary(audit)}'
    return f'<h2>Data</h2><p class="{kind}">{proof}</p>{told}'


def _audit_summary(audit):
    """What the audit found, in short; the pictures are on its own page."""
    lists = {
        "copies": "exact",
        "near copies": "alike",
        "odd sizes": "odd_sizes",
        "odd modes": "odd_modes",
        "unreadable": "unreadable",
    }
    found = ", ".join(f"{len(audit.get(key, ()))} {name}" for name, key in lists.items())
    rows = [
        (
            html.escape_html(name),
            f"{probe['auc']:.3f}",
            "{:.3f} to {:.3f}".format(*probe["interval"]) if probe["interval"] else html.escape_html(probe["note"]),
        )
        for name, probe in audit.get("probes", {}).items()
        if probe.get("auc") is not None
    ]
    table = (
        html.html_table(("how well this alone tells the classes apart", "ROC AUC", "95 % interval"), rows)
        if rows
        else ""
    )
    return f"<p>{found}.</p>{table}"


def _provenance_section(card, metrics):
    rows = [
        ("frozen graph", f"{html.escape_html(card.graph)}, SHA-256 {card.graph_sha256}"),
        ("made", html.escape_html(card.created + (f" at commit {card.commit}" if card.commit else ""))),
        ("measured on", html.escape_html(f"{metrics['engine']}, {metrics['arithmetic']}")),
        ("threshold, temperature", f"{card.threshold:g}, {card.temperature:g}"),
        ("versions", html.escape_html(", ".join(f"{name} {version}" for name, version in card.versions.items()))),
    ]
    return f"<h2>Where it comes from</h2>{html.html_table(('', ''), rows)}"
