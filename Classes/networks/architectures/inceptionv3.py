"""TF-Slim's Inception V3, the network of this project's beginning; it is built by inception_v3 and inception_utils."""

import re

import h5py
import numpy

from Classes import inception_utils, inception_v3
from Classes.imaging import network_input
from Classes.networks import download_weights

NAME = "InceptionV3"
OUTPUT = "InceptionV3/Predictions/Softmax"
HEAD = inception_utils.LOGITS_LAYER
BLOCKS = inception_utils.BLOCKS
HAS_GLOBAL_POOL = True
PRETRAINED = download_weights.WEIGHTS_FOLDER
SKIP_RESTORE = ("InceptionV3/Logits/", "InceptionV3/AuxLogits/Conv2d_2b_1x1/")


def input_spec(configuration):
    """How it sees an image: `ImageSize` pixels, as (pixel - Mean) / Mean."""
    mean = float(configuration["Mean"])
    return network_input.InputSpec(configuration["ImageSize"], mean, mean)


def variable_shapes(configuration, blocks=()):
    """{TF-Slim name: shape}; with the auxiliary head where the training of `blocks` needs it."""
    auxiliary = _needs_aux_head(configuration, blocks)
    return inception_v3.variable_shapes(
        configuration["NumClasses"], configuration["ImageSize"], configuration["DepthMultiplier"], auxiliary
    )


def build_trainable(configuration, blocks, steps):
    """inception_v3.InceptionV3 for a training of `blocks` over `steps` steps."""
    return inception_v3.InceptionV3(
        configuration["NumClasses"],
        configuration["DepthMultiplier"],
        blocks,
        _needs_aux_head(configuration, blocks),
        # An average with a longer memory than the run would still hold the first, random statistics at its end.
        decay=min(configuration["BatchNormDecay"], max(0.5, 1 - 10 / steps)),
        keep=1 - configuration["DropoutRate"],
    )


def build_inference_graph(configuration, arrays, folded=True):
    """The answering network as a tf.Graph: batch norm folded for the stick, or as it was trained."""
    values = inception_utils.fold_batch_norm(arrays) if folded else arrays
    return inception_v3.inference_graph(
        values, configuration["ImageSize"], configuration["DepthMultiplier"], folded=folded
    )


def read_keras_weights(path, names):
    """Keras's `inception_v3_weights_tf_dim_ordering_tf_kernels*.h5` under TF-Slim's names.

    TF-Slim creates its layers in the order in which Keras numbers them, so the n-th convolution of one is the n-th of
    the other; a test holds the features of both networks against each other.
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


def _needs_aux_head(configuration, blocks):
    return (
        "AuxLogits" in blocks
        and configuration["AuxiliaryWeight"] > 0
        and configuration["ImageSize"] >= inception_v3.MIN_SIZE_FOR_AUX_HEAD
    )


def _numbered(groups, kind):
    """The layers of one kind in the order of their numbers, each as {"kernel" or "beta" or ...: array}."""
    numbers = {}
    for name in groups:
        match = re.fullmatch(rf"{kind}(?:_(\d+))?", name)
        if match:
            numbers[int(match[1] or 0)] = groups[name]
    layers = []
    for number in sorted(numbers):
        values = {}
        numbers[number].visititems(
            lambda path, item, values=values: (
                values.__setitem__(path.rpartition("/")[2].split(":")[0], numpy.asarray(item))
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        layers.append(values)
    return layers
