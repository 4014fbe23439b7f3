"""What a color histogram alone reaches on the same images: a logistic regression that sees no shapes.

A model that is not clearly better may have learned the stain and the camera instead of the cells. The regression is
trained on the same training images, or many of them, and predicts the same validation images, so both accuracies can be
compared.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from Classes.common import statistics, translation
from Classes.common.class_scheme import ClassScheme
from Classes.common.config import Configuration
from Classes.common.translation import Message
from Classes.dataset import grouping, tfrecords
from Classes.dataset.manifest_rows import ManifestRows
from Classes.evaluation import histogram_store, multiclass_metrics
from Classes.evaluation.classification_metrics import Metric, make_metric, proportion_metric
from Classes.evaluation.histogram_store import HistogramStore

METHOD = "logistic regression on histograms of RGB and HSV"

# Inverse strength of the regularization. The histograms are between 0 and 1, so the default of 1 would fit too little.
REGULARIZATION = 10.0
MAX_ITERATIONS = 1000

# A positive side from this probability, as argmax of two classes.
_THRESHOLD = 0.5

_NO_TRAINING = translation.mark("needs training images of at least two classes")

# More training images need time and memory, and teach the regression little: with 12 types of cells, its accuracy is
# 0.735 after 2,000 images, 0.766 after 4,000 and 0.778 after 6,500.
MAX_TRAINING = 20_000

# Histograms that are in memory at a time, unless they are of training images.
BLOCK = 1_000


def select_training(sources: numpy.ndarray) -> numpy.ndarray:
    """Return the rows to train on: all, or MAX_TRAINING of them at equal distances.

    Args:
      sources: rows of source images, int64 [N]; augmented views have the colors of theirs.
    """
    if len(sources) <= MAX_TRAINING:
        return sources
    return sources[numpy.linspace(0, len(sources) - 1, MAX_TRAINING).astype(int)]


def predict_from_color(
    histograms: HistogramStore,
    train: numpy.ndarray,
    labels: numpy.ndarray,
    predicted: numpy.ndarray,
    classes: int,
) -> numpy.ndarray | None:
    """Return the probabilities of images from their color histograms alone.

    Args:
      histograms: of all these images.
      train: SHA-256 of the training images, bytes [N].
      labels: int [N].
      predicted: SHA-256 of the images to predict, bytes [M].
      classes: number of classes.
    Returns:
      float [M, classes]; None if the training images are of fewer than two classes.
    """
    import threadpoolctl
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(numpy.unique(labels)) < 2:
        return None
    probabilities = numpy.zeros((len(predicted), classes))
    if not len(predicted):
        return probabilities
    # One thread: several wait for each other at every step, which took a hundred times as long on a busy computer, and
    # the result would depend on their number.
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1):
        # A regression that has not converged by then is a baseline, too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=REGULARIZATION, max_iter=MAX_ITERATIONS).fit(histograms.table(train), labels)
    for start in range(0, len(predicted), BLOCK):
        block = slice(start, start + BLOCK)
        probabilities[block, model.classes_] = model.predict_proba(histograms.table(predicted[block]))
    return probabilities


def measure_on_split(
    configuration: Configuration,
    manifest: tfrecords.Manifest,
    scheme: ClassScheme,
    rows: Sequence[Mapping[str, Any]],
    predicted: Sequence[int],
) -> dict[str, Any]:
    """Return "color_baseline" of metrics.json: what color alone reaches on the validation images.

    Args:
      configuration: Configuration.
      manifest: of the data set.
      scheme: classes of the model.
      rows: predictions as in metrics.json, with "sha256", "label" and "group".
      predicted: int [N], the class that the model predicts for each row.
    """
    items = ManifestRows(manifest.splits["train"])
    sources = numpy.flatnonzero([not grouping.is_augmented_view(item["file"]) for item in items])
    train = select_training(sources)
    hashes = items.hashes()[train]
    predicted_hashes = numpy.array([row["sha256"] for row in rows], "S64")
    wanted = {*hashes.tolist(), *predicted_hashes.tolist()}
    histograms = histogram_store.read_histograms(configuration, lambda record: record.sha256.encode() in wanted)
    probabilities = predict_from_color(histograms, hashes, items.labels()[train], predicted_hashes, len(scheme.names))
    truths = [scheme.names.index(row["label"]) for row in rows]
    return compare(scheme, truths, [row["group"] for row in rows], probabilities, predicted, len(train))


def compare(
    scheme: ClassScheme,
    labels: Sequence[int] | numpy.ndarray,
    groups: Sequence[str],
    probabilities: numpy.ndarray | None,
    predicted: Sequence[int] | numpy.ndarray,
    training_images: int | None,
) -> dict[str, Any]:
    """Compare a model with what color alone predicts for the same images.

    Args:
      scheme: classes of the model.
      labels: int [N].
      groups: [N] names of source images or patients.
      probabilities: float [N, classes] from `predict_from_color`.
      predicted: int [N], the classes that the model predicts.
      training_images: number of images from which the regression was trained; None: it differs.
    Returns:
      dict for JSON: "method", "training_images", "images", "note" (why there is no baseline, or None), "accuracy" of
      disease or not (None if no class means disease), "difference" (accuracy of the model minus accuracy of color
      alone, with Tango's interval), "clearly_better" (the whole interval is above 0), and "multiclass": the same three
      and "macro_f1" of the classes, or None for two classes.
    """
    found: dict[str, Any] = {"method": METHOD, "training_images": training_images, "images": len(labels)}
    empty: dict[str, Any] = {"accuracy": None, "difference": None, "clearly_better": None}
    if probabilities is None or not len(labels):
        note = _NO_TRAINING if probabilities is None else translation.mark("no images")
        return {**found, "note": note, **empty, "multiclass": None}
    truths, called = numpy.asarray(labels, int), numpy.asarray(predicted, int)
    found["note"] = None
    if scheme.positive:
        positive = scheme.are_positive(truths)
        detected = scheme.positive_probability(probabilities) >= _THRESHOLD
        found |= _compare(detected == positive, scheme.are_positive(called) == positive, groups)
    else:
        found |= empty
    found["multiclass"] = None
    if scheme.several:
        guessed = probabilities.argmax(1)
        measured = multiclass_metrics.evaluate_multiclass(truths, probabilities, scheme.names, groups)
        both = _compare(guessed == truths, called == truths, groups)
        found["multiclass"] = {**both, "macro_f1": measured["macro_f1"]}
    return found


def _compare(by_color: numpy.ndarray, by_model: numpy.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """Return accuracy, difference and whether it is clear; both arguments say which images are right, bool [N]."""
    gains = by_model.astype(int) - by_color.astype(int)
    interval = statistics.paired_difference(gains, groups)
    missing = None if interval else translation.mark("a single source image or patient has no interval")
    difference: Metric = make_metric(float(gains.mean()), interval, missing)
    return {
        "accuracy": proportion_metric(by_color, groups, ""),
        "difference": difference,
        "clearly_better": bool(interval and interval[0] > 0),
    }


def describe(baseline: Mapping[str, Any] | None) -> list[Message]:
    """Return what color alone reaches, and how much better the model is, as sentences.

    Args:
      baseline: "color_baseline" of metrics.json or folds.json; None in files of earlier versions.
    """
    if not baseline:
        return []
    if baseline["note"]:
        return [Message("There is no baseline of color alone: {reason}.", reason=Message(baseline["note"]))]
    sentences = []
    if baseline["accuracy"]:
        sentences.append(
            Message(
                "Color alone reaches an accuracy of {accuracy} on the same images, by a logistic regression on color "
                "histograms. The accuracy of the model minus that is {difference} points.",
                **_texts(baseline),
            )
        )
    if baseline["multiclass"]:
        sentences.append(
            Message(
                "Color alone names the right class for {accuracy} of the same images. The accuracy of the model minus "
                "that is {difference} points.",
                **_texts(baseline["multiclass"]),
            )
        )
    return sentences


def find_warning(baseline: Mapping[str, Any] | None) -> Message | None:
    """Return a warning if the model is not clearly better than color alone, else None."""
    if not baseline or baseline["note"]:
        return None
    compared = [each for each in (baseline, baseline["multiclass"]) if each and each["accuracy"]]
    if all(each["clearly_better"] for each in compared):
        return None
    return Message(
        "The model is not clearly better than color alone, so it may have learned the stain or the camera instead of "
        "the cells. Run python3 Data.py Check, and evaluate it on images of another source."
    )


def _texts(compared: Mapping[str, Any]) -> dict[str, str]:
    """Return the accuracy in percent and the difference in points, each with its interval."""
    accuracy, difference = compared["accuracy"], compared["difference"]

    def text(metric: Mapping[str, Any], layout: str, unit: str) -> str:
        value = f"{100 * metric['value']:{layout}}{unit}"
        if not metric["interval"]:
            return value
        low, high = (f"{100 * end:{layout}}{unit}" for end in metric["interval"])
        return Message("{value} (95 % interval {low} to {high})", value=value, low=low, high=high)

    return {"accuracy": text(accuracy, ".1f", " %"), "difference": text(difference, "+.1f", "")}
