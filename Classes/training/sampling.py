"""How often each training image is used in an epoch: as it is, or so that every class is used equally often."""

from typing import Any

import numpy

from Classes.common.config import Configuration

NATURAL, BALANCED = "natural", "balanced"


def is_balanced(configuration: Configuration) -> bool:
    """Return whether `Sampling` asks for the same number of images of every class."""
    return configuration["Sampling"] == BALANCED


def balanced_order(labels: Any, seed: int, epoch: int) -> numpy.ndarray:
    """Return as many image indexes as there are images, with every class equally often, in random order.

    Images of a rare class are repeated, each as often as the others of its class or once more; of a frequent class,
    some images wait for another epoch. Only the arguments decide the order, so that a resumed run continues it.

    Args:
      labels: int [N].
      seed: `RandomSeed`.
      epoch: number of the epoch, from 0.
    Returns:
      int [N].
    """
    labels = numpy.asarray(labels, int)
    generator = numpy.random.default_rng([seed, epoch])
    present = numpy.unique(labels)
    drawn = []
    for place, label in enumerate(present):
        rows = numpy.flatnonzero(labels == label)
        # The remainder goes to other classes in every epoch.
        extra = (place + epoch) % len(present) < len(labels) % len(present)
        wanted = len(labels) // len(present) + extra
        rounds = [generator.permutation(rows) for _ in range(-(-wanted // len(rows)))]
        drawn += [numpy.concatenate(rounds)[:wanted]] if rounds else []
    return generator.permutation(numpy.concatenate(drawn)) if drawn else numpy.zeros(0, int)


def images_per_epoch(configuration: Configuration, labels: Any, classes: int) -> numpy.ndarray:
    """Return how many images of each class an epoch uses, float [classes]."""
    counts = numpy.bincount(labels, minlength=classes).astype(float)
    if is_balanced(configuration) and counts.any():
        return numpy.where(counts > 0, counts.sum() / (counts > 0).sum(), 0)
    return counts
