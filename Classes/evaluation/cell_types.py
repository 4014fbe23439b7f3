"""The white-cell types that the shipped model knows, and how well a model tells them apart.

The types and their short names are those of Acevedo et al., "A dataset of microscopic peripheral blood cell images for
development of automatic recognition systems", Data in Brief 30 (2020) 105474.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from Classes.common import statistics
from Classes.evaluation import calibration, classification_metrics

# The fine types, in the order of the model's outputs.
NAMES = {
    "BA": "basophil",
    "BNE": "band neutrophil",
    "EO": "eosinophil",
    "ERB": "erythroblast",
    "LY": "lymphocyte",
    "MMY": "metamyelocyte",
    "MO": "monocyte",
    "MY": "myelocyte",
    "PMY": "promyelocyte",
    "SNE": "segmented neutrophil",
}

# The groups of types that are counted together.
GROUPS = {
    "basophil": ("BA",),
    "eosinophil": ("EO",),
    "erythroblast": ("ERB",),
    "lymphocyte": ("LY",),
    "monocyte": ("MO",),
    "neutrophil": ("BNE", "SNE"),
    "immature granulocyte": ("PMY", "MY", "MMY"),
}

# Labels of images of which only the group is known.
COARSE = {"NEUTROPHIL": "neutrophil", "IG": "immature granulocyte"}


def group_of(label: str) -> str:
    """Return the group of a label, which is a fine type or one of COARSE."""
    return COARSE.get(label) or next(group for group, types in GROUPS.items() if label in types)


def group_probabilities(probabilities: numpy.ndarray, classes: Sequence[str]) -> numpy.ndarray:
    """Return the probability of every group, float [N, groups], which is the sum over its types.

    Args:
      probabilities: float [N, classes].
      classes: fine types in the order of the columns.
    """
    columns = [[classes.index(name) for name in types if name in classes] for types in GROUPS.values()]
    return numpy.stack([probabilities[:, each].sum(1) for each in columns], 1)


def evaluate_cell_types(
    labels: Sequence[str], probabilities: numpy.ndarray, classes: Sequence[str], groups: Sequence[str], seed: int = 50
) -> dict[str, Any]:
    """Return the metrics of a model of cell types.

    Args:
      labels: [N] labels, fine or coarse.
      probabilities: float [N, classes].
      classes: fine types in the order of the columns.
      groups: [N] names of source images; near duplicates have the same name.
      seed: of the bootstrap.
    Returns:
      {"groups" and "types": see `evaluate_multiclass`}; images with a coarse label count for the groups only.
    """
    names = list(GROUPS)
    coarse = [names.index(group_of(label)) for label in labels]
    fine = [row for row, label in enumerate(labels) if label in classes]
    types, sources = [classes.index(labels[row]) for row in fine], [groups[row] for row in fine]
    return {
        "groups": evaluate_multiclass(coarse, group_probabilities(probabilities, classes), names, groups, seed),
        "types": evaluate_multiclass(types, probabilities[fine], classes, sources, seed),
    }


def evaluate_multiclass(
    labels: Sequence[int], probabilities: numpy.ndarray, names: Sequence[str], groups: Sequence[str], seed: int = 50
) -> dict[str, Any]:
    """Return the metrics of predictions of one of several classes, with 95 % intervals.

    Args:
      labels: [N] columns of the true classes.
      probabilities: float [N, classes].
      names: of the classes.
      groups: [N] names of source images.
      seed: of the bootstrap.
    Returns:
      dict for JSON: "images", "source_images", "accuracy", "macro_f1" (each {"value", "interval"}), "ece", "confusion"
      ([true][predicted] counts) and "classes" ({name: {"support", "precision", "recall", "f1"}}). Precision and recall
      have Wilson's interval with the effective sample size, F1 and macro-F1 that of a bootstrap over source images.
    """
    truths, predicted = numpy.asarray(labels, int), probabilities.argmax(1)
    members, count = statistics.group_numbers(groups, len(truths)), len(names)
    confusion = numpy.bincount(truths * count + predicted, minlength=count * count).reshape(count, count)
    samples = _bootstrap_f1(truths, predicted, members, count, seed)
    correct = truths == predicted
    per_class = {}
    for number, name in enumerate(names):
        chosen, true = predicted == number, truths == number
        per_class[name] = {
            "support": int(true.sum()),
            "precision": _proportion(correct[chosen], members[chosen]),
            "recall": _proportion(correct[true], members[true]),
            "f1": _measured(_f1(confusion)[number], samples[:, number]),
        }
    return {
        "images": len(truths),
        "source_images": len(set(members.tolist())),
        "accuracy": _proportion(correct, members),
        "macro_f1": _measured(_f1(confusion).mean(), samples.mean(1)),
        "ece": calibration.reliability_bins(probabilities, truths, members)["ece"],
        "confusion": confusion.tolist(),
        "classes": per_class,
    }


def format_multiclass(metrics: Mapping[str, Any]) -> list[str]:
    """Return metrics of `evaluate_multiclass` as lines of text."""

    def text(metric: Mapping[str, Any]) -> str:
        if metric["value"] is None:
            return "-"
        low, high = metric["interval"] or (float("nan"),) * 2
        return f"{metric['value']:.3f} ({low:.3f}-{high:.3f})"

    lines = [f"{'':22}{'images':>7}  {'precision':21}{'recall':21}{'F1':21}".rstrip()]
    for name, row in metrics["classes"].items():
        lines.append(
            f"{name:22}{row['support']:7}  {text(row['precision']):21}{text(row['recall']):21}{text(row['f1'])}"
        )
    lines.append(
        f"Macro-F1 {text(metrics['macro_f1'])}, accuracy {text(metrics['accuracy'])}, ECE {metrics['ece']:.4f}"
    )
    return lines


def _f1(confusion: numpy.ndarray) -> numpy.ndarray:
    """Return F1 of every class, float [..., classes], for counts [..., true, predicted]; 0 without any image."""
    hits = numpy.diagonal(confusion, axis1=-2, axis2=-1)
    return 2 * hits / numpy.maximum(confusion.sum(-1) + confusion.sum(-2), 1)


def _bootstrap_f1(
    truths: numpy.ndarray, predicted: numpy.ndarray, members: numpy.ndarray, count: int, seed: int
) -> numpy.ndarray:
    """Return F1, float [samples, classes], of resampled source images."""
    generator, number = numpy.random.default_rng(seed), members.max(initial=-1) + 1
    cells, samples = truths * count + predicted, []
    for _ in range(statistics.N_BOOTSTRAP):
        weights = numpy.bincount(generator.integers(0, number, number), minlength=number)[members]
        samples.append(numpy.bincount(cells, weights, count * count).reshape(count, count))
    return _f1(numpy.array(samples))


def _measured(value: Any, samples: numpy.ndarray) -> dict[str, Any]:
    low, high = numpy.quantile(samples, [0.025, 0.975])
    return {"value": float(value), "interval": [float(low), float(high)]}


def _proportion(hits: numpy.ndarray, members: numpy.ndarray) -> dict[str, Any]:
    metric = classification_metrics.proportion_metric(hits, members, "")
    return {"value": metric["value"], "interval": metric["interval"]}
