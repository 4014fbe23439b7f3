"""Decide whether an image shows one centered, stained white cell, and if not, why.

A small neural network on the features of `cell_features`; benchmarks/image_check.py fits it and measures it.
"""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from Classes.imaging import cell_features

WEIGHTS = pathlib.Path(__file__).with_name("image_check.json")

# Features are cut at this many standard deviations, so that an image unlike all known ones stays in the known range.
CLIP = 5.0

# An image needs review if its probability to be such a cell is below the limit. A model whose training images have
# lower ones gets a lower limit, with which at most this fraction of them is flagged.
DEFAULT_LIMIT = 0.5
FLAGGED_FRACTION = 0.003


class Weights(NamedTuple):
    """The fitted network.

    Attributes:
      kinds: "cell", then reasons for a review; the outputs of the network.
      middle, scale: float32 [features], subtracted and divided.
      layers: (weights [inputs, outputs], bias [outputs]) of each layer.
    """

    kinds: tuple[str, ...]
    middle: numpy.ndarray
    scale: numpy.ndarray
    layers: tuple[tuple[numpy.ndarray, numpy.ndarray], ...]


def check_image(
    image: numpy.ndarray, limit: float = DEFAULT_LIMIT, features: numpy.ndarray | None = None
) -> tuple[str, ...]:
    """Return why an image is not one that a model of single cells can judge: codes of outcome.REASONS, or nothing.

    Args:
      image: uint8 [S, S, 3], RGB, the part that a network sees.
      limit: probability of a cell below which there is a reason; 0: no check.
      features: cell_features.measure_small, if that is known already; None: it is made of `image`.
    """
    if limit <= 0:
        return ()
    found = cell_features.measure(image) if features is None else cell_features.complete(features, image)
    return reasons_of(scores(found[None])[0], limit)


def reasons_of(probabilities: numpy.ndarray, limit: float = DEFAULT_LIMIT) -> tuple[str, ...]:
    """Return the most likely reason if the probability of a cell is below `limit`; one row of `scores`."""
    if probabilities[0] >= limit:
        return ()
    return (load_weights().kinds[1 + int(probabilities[1:].argmax())],)


def scores(features: numpy.ndarray) -> numpy.ndarray:
    """Return float32 [N, kinds]: the probability of each kind, for features [N, features]."""
    weights = load_weights()
    values = ((features - weights.middle) / weights.scale).clip(-CLIP, CLIP)
    for matrix, bias in weights.layers[:-1]:
        values = numpy.maximum(values @ matrix + bias, 0)
    matrix, bias = weights.layers[-1]
    values = values @ matrix + bias
    values = numpy.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def fit_reference(features: Sequence[numpy.ndarray]) -> dict[str, Any] | None:
    """Return the field `image_check` of a model card: the limit with which few training images are flagged.

    A model of drawings, or of other images than single cells, gets a limit near 0, and then nothing is flagged.

    Args:
      features: cell_features.measure of the training images.
    Returns:
      {"images": number, "limit": see `check_image`}; None without images.
    """
    if not len(features):
        return None
    found = scores(numpy.stack(list(features)))[:, 0]
    limit = min(DEFAULT_LIMIT, float(numpy.quantile(found, FLAGGED_FRACTION)))
    return {"images": len(found), "limit": round(limit, 6)}


@functools.cache
def load_weights() -> Weights:
    """Return the network in WEIGHTS."""
    content = json.loads(WEIGHTS.read_text("utf-8"))
    layers = tuple((_rows(layer["weights"]), _numbers(layer["bias"])) for layer in content["layers"])
    return Weights(tuple(content["kinds"]), _numbers(content["middle"]), _numbers(content["scale"]), layers)


def _numbers(text: str) -> numpy.ndarray:
    return numpy.array(text.split(), "float32")


def _rows(lines: Sequence[Any]) -> numpy.ndarray:
    return numpy.stack([_numbers(line) for line in lines])
