"""The white-cell types that the shipped model knows, and how well a model distinguishes them.

The types and their short names are those of Acevedo et al., "A dataset of microscopic peripheral blood cell images for
development of automatic recognition systems", Data in Brief 30 (2020) 105474.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy

from Classes.evaluation import multiclass_metrics

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

# Labels of images whose group is known, but not their type.
COARSE = {"NEUTROPHIL": "neutrophil", "IG": "immature granulocyte"}


def label_of(name: str) -> str | None:
    """Return the label at the beginning of a file name, as in BNE_1234.jpg; None if there is none."""
    match = re.match(r"([A-Z]+)_\d+", name)
    return match[1] if match and match[1] in {**NAMES, **COARSE} else None


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
      {"groups" and "types": see `multiclass_metrics.evaluate_multiclass`}; images with a coarse label count for the
      groups only.
    """
    names = list(GROUPS)
    coarse = [names.index(group_of(label)) for label in labels]
    fine = [row for row, label in enumerate(labels) if label in classes]
    types, sources = [classes.index(labels[row]) for row in fine], [groups[row] for row in fine]
    return {
        "groups": multiclass_metrics.evaluate_multiclass(
            coarse, group_probabilities(probabilities, classes), names, groups, seed
        ),
        "types": multiclass_metrics.evaluate_multiclass(types, probabilities[fine], classes, sources, seed),
    }
