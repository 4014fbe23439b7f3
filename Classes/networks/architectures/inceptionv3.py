"""TF-Slim's Inception V3, the historic network; inception_v3.py and inception_utils.py build it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy
import tensorflow as tf

from Classes import inception_utils, inception_v3
from Classes.common.config import Configuration
from Classes.imaging import network_input
from Classes.networks import download_weights

NAME = "InceptionV3"
OUTPUT = "InceptionV3/Predictions/Softmax"
HEAD = inception_utils.LOGITS_LAYER
BLOCKS = inception_utils.BLOCKS
HAS_GLOBAL_POOL = True
PRETRAINED = download_weights.WEIGHTS_FOLDER
SHIPPED = "Model/WhiteCells/WhiteCells.pb"
SKIP_RESTORE = ("InceptionV3/Logits/", "InceptionV3/AuxLogits/Conv2d_2b_1x1/")

fold_batch_norm = inception_utils.fold_batch_norm
unfold_batch_norm = inception_utils.unfold_batch_norm
folded_moving_means = inception_utils.folded_moving_means


def input_spec(configuration: Configuration) -> network_input.InputSpec:
    """Return the input spec: `ImageSize` pixels, scaled to (pixel - Mean) / Mean."""
    mean = float(configuration["Mean"])
    return network_input.InputSpec(configuration["ImageSize"], mean, mean)


def variable_shapes(configuration: Configuration, blocks: Sequence[str] = ()) -> dict[str, tuple[int, ...]]:
    """Return the shapes by TF-Slim name; the auxiliary head is included if training `blocks` needs it."""
    auxiliary = _needs_aux_head(configuration, blocks)
    return inception_v3.variable_shapes(
        configuration["NumClasses"], configuration["ImageSize"], configuration["DepthMultiplier"], auxiliary
    )


def build_trainable(configuration: Configuration, blocks: Sequence[str], steps: int) -> inception_v3.InceptionV3:
    """Build the network to train `blocks` for `steps` steps."""
    return inception_v3.InceptionV3(
        configuration["NumClasses"],
        configuration["DepthMultiplier"],
        blocks,
        _needs_aux_head(configuration, blocks),
        # With a larger decay a short run would end with a moving average of its first, random statistics.
        decay=min(configuration["BatchNormDecay"], max(0.5, 1 - 10 / steps)),
        keep=1 - configuration["DropoutRate"],
    )


def build_inference_graph(
    configuration: Configuration, arrays: Mapping[str, numpy.ndarray], folded: bool = True
) -> tf.Graph:
    """Build the inference network, with folded batch norms or as it was trained."""
    values = inception_utils.fold_batch_norm(arrays) if folded else arrays
    return inception_v3.inference_graph(
        values, configuration["ImageSize"], configuration["DepthMultiplier"], folded=folded
    )


def read_keras_weights(path: Any, names: Sequence[str]) -> dict[str, numpy.ndarray]:
    """Read Keras's `inception_v3_weights_tf_dim_ordering_tf_kernels*.h5` under TF-Slim's names.

    TF-Slim creates its layers in the order in which Keras numbers them, so their n-th convolutions are the same; a test
    compares the features of both networks.
    """
    with h5py.File(path) as file:
        groups = file.get("model_weights", file)
        convolutions = _numbered(groups, "conv2d")
        norms = _numbered(groups, "batch_normalization")
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in names if name.endswith("/weights")))
    layers = [layer for layer in layers if "/Logits/" not in layer and "/AuxLogits/" not in layer]
    if not len(layers) == len(convolutions) == len(norms):
        raise ValueError(
            f"{len(convolutions)} convolutions and {len(norms)} batch norms; Keras's Inception V3 has "
            f"{len(layers)} of each"
        )
    arrays = {}
    for layer, convolution, norm in zip(layers, convolutions, norms, strict=True):
        arrays[f"{layer}/weights"] = convolution["kernel"]
        for kind in ("beta", "moving_mean", "moving_variance"):
            arrays[f"{layer}/BatchNorm/{kind}"] = norm[kind]
    return arrays


def _needs_aux_head(configuration: Configuration, blocks: Sequence[str]) -> bool:
    return (
        "AuxLogits" in blocks
        and configuration["AuxiliaryWeight"] > 0
        and configuration["ImageSize"] >= inception_v3.MIN_SIZE_FOR_AUX_HEAD
    )


def _numbered(groups: Mapping[str, Any], kind: str) -> list[dict[str, numpy.ndarray]]:
    """Return the layers of one kind in the order of their numbers, each as {"kernel" or "beta" or ...: array}."""
    numbers = {}
    for name in groups:
        match = re.fullmatch(rf"{kind}(?:_(\d+))?", name)
        if match:
            numbers[int(match[1] or 0)] = groups[name]
    layers = []
    for number in sorted(numbers):
        datasets: dict[str, Any] = {}
        numbers[number].visititems(datasets.__setitem__)
        layers.append(
            {
                path.rpartition("/")[2].split(":")[0]: numpy.asarray(item)
                for path, item in datasets.items()
                if isinstance(item, h5py.Dataset)
            }
        )
    return layers
