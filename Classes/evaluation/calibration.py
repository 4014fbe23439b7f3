"""Fit a temperature to validation images and measure how reliable confidences are.

Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

from typing import Any

import numpy

from Classes.common import statistics
from Classes.evaluation import classification_metrics

N_BINS = 10

# Standard deviation of the normal prior of the temperature's logarithm. Without a prior, the temperature would go to 0
# if all images are right.
PRIOR_DEVIATION = 1.0


def fit_temperature(logits: numpy.ndarray, labels: numpy.ndarray) -> float:
    """Return the temperature that maximizes the posterior of the labels, int [N], given logits, float [N, classes]."""
    from scipy import optimize

    rows = numpy.arange(len(labels))

    def cost(exponent: float) -> float:
        return -_log_softmax(logits / numpy.exp(exponent))[rows, labels].sum() + (exponent / PRIOR_DEVIATION) ** 2 / 2

    return float(numpy.exp(optimize.minimize_scalar(cost, bounds=(-4, 4), method="bounded").x))


def softmax_at_temperature(logits: Any, temperature: float = 1.0) -> numpy.ndarray:
    """Return the probabilities, float [N, classes], of logits or log-probabilities divided by a temperature."""
    return numpy.exp(_log_softmax(numpy.asarray(logits, float) / temperature))


def log_probabilities(probabilities: Any) -> numpy.ndarray:
    """Return log-probabilities, float [N, classes], which differ from logits by a constant per image."""
    return numpy.log(numpy.maximum(numpy.asarray(probabilities, float), numpy.finfo("float32").tiny))


def fold_temperature(arrays: dict[str, numpy.ndarray], layer: str, temperature: float) -> dict[str, numpy.ndarray]:
    """Divide the weights and biases of the last layer by the temperature.

    Args:
      arrays: {variable name: array} of a network.
      layer: name of the last layer.
      temperature: positive.
    """
    names = (f"{layer}/weights", f"{layer}/biases")
    return {**arrays, **{name: (arrays[name] / temperature).astype("float32") for name in names}}


def reliability_bins(probabilities: Any, labels: Any, groups: Any = None, predicted: Any = None) -> dict[str, Any]:
    """Compare confidences with the fraction of correct predictions.

    Args:
      probabilities: float [N, classes].
      labels: int [N].
      groups: [N] names of source images or patients; None: each image is its own group.
      predicted: int [N], the predicted classes, whose probability is the confidence; None: the most likely ones.
    Returns:
      {"ece": expected calibration error, "chance": its mean for perfectly calibrated confidences of so few images,
      "bins": [{"confidence": mean, "accuracy", "interval", "images"}]} with the non-empty ones of N_BINS bins of equal
      width; both errors are None without images.
    """
    probabilities, labels = numpy.asarray(probabilities, float), numpy.asarray(labels, int)
    if not len(labels):
        return {"ece": None, "chance": None, "bins": []}
    predicted = probabilities.argmax(1) if predicted is None else numpy.asarray(predicted, int)
    confidences, correct = probabilities[numpy.arange(len(labels)), predicted], predicted == labels
    numbers = numpy.minimum((confidences * N_BINS).astype(int), N_BINS - 1)

    def error(correct: numpy.ndarray) -> float:
        gaps = numpy.bincount(numbers, correct - confidences, N_BINS)
        return float(numpy.abs(gaps).sum() / len(labels))

    members, generator = statistics.group_numbers(groups, len(labels)), numpy.random.default_rng(0)
    chance = [error(generator.random(len(labels)) < confidences) for _ in range(statistics.N_BOOTSTRAP)]
    bins = []
    for number in numpy.unique(numbers):
        inside = numbers == number
        accuracy = classification_metrics.proportion_metric(correct[inside], members[inside], "")
        counts = {"accuracy": accuracy["value"], "interval": accuracy["interval"], "images": int(inside.sum())}
        bins.append({"confidence": float(confidences[inside].mean()), **counts})
    return {"ece": error(correct), "chance": float(numpy.mean(chance)), "bins": bins}


def calibration_errors(probabilities: numpy.ndarray, labels: numpy.ndarray) -> dict[str, float]:
    """Return {"ece", "cross_entropy"} of probabilities, float [N, classes], and labels, int [N]."""
    likelihoods = probabilities[numpy.arange(len(labels)), labels]
    entropy = float(-numpy.log(numpy.maximum(likelihoods, numpy.finfo("float32").tiny)).mean())
    return {"ece": reliability_bins(probabilities, labels)["ece"], "cross_entropy": entropy}


def _log_softmax(values: numpy.ndarray) -> numpy.ndarray:
    from scipy import special

    return special.log_softmax(values, axis=1)
