"""The network of the cell finder: a small U-shaped network that draws a heat map of cell centers.

After Zhou et al., Objects as Points (CenterNet, 2019): one heat map per kind of cell, and at every center the size and
the offset from the middle of its pixel.
"""

from typing import Any

import numpy
import tensorflow as tf
import tf_keras

# Pixels of the image per pixel of the heat map.
STRIDE = 4

# Sides of an image must be multiples of this.
MULTIPLE = 16

# Sizes are learned as logarithms of multiples of this number of pixels.
SIZE_UNIT = 24.0

# Channels of the output: two heat maps (WHITE, RED), logarithm of width and height, offset x and y.
CHANNELS = 6

INPUT, OUTPUT = "input", "Finder/Output"


def build_network(width: int = 24) -> Any:
    """Return a tf_keras.Model: float32 [N, H, W, 3] in -1 to 1 to float32 [N, H/4, W/4, CHANNELS].

    The heat maps of the output are logits.

    Args:
      width: channels at the finest level; the others have multiples of it.
    """
    layers = tf_keras.layers

    def conv(values: Any, channels: int, size: int = 3, stride: int = 1, activate: bool = True) -> Any:
        values = layers.Conv2D(channels, size, stride, "same", use_bias=False, kernel_initializer="he_normal")(values)
        values = layers.BatchNormalization(momentum=0.98, epsilon=1e-3)(values)
        return layers.ReLU()(values) if activate else values

    def residual(values: Any, channels: int) -> Any:
        inner = conv(conv(values, channels), channels, activate=False)
        return layers.ReLU()(layers.Add()([values, inner]))

    fine, middle, coarse = width, width * 8 // 3, width * 4
    image = layers.Input((None, None, 3), name=INPUT)
    values = conv(image, fine * 2 // 3, stride=2)
    at_4 = residual(conv(values, fine, stride=2), fine)
    at_8 = residual(residual(conv(at_4, middle, stride=2), middle), middle)
    at_16 = residual(residual(conv(at_8, coarse, stride=2), coarse), coarse)
    values = layers.UpSampling2D(2, interpolation="nearest")(conv(at_16, middle, 1))
    values = conv(layers.Add()([values, at_8]), middle)
    values = layers.UpSampling2D(2, interpolation="nearest")(conv(values, fine, 1))
    values = conv(layers.Add()([values, at_4]), fine)
    values = conv(values, fine * 4 // 3)
    # Before the first step nearly every pixel is background (Lin et al., Focal Loss, 2017).
    bias = tf.constant_initializer([-4.0, -3.0, 0, 0, 0, 0])
    return tf_keras.Model(image, layers.Conv2D(CHANNELS, 1, bias_initializer=bias, name="Output")(values))


def normalize(images: Any) -> Any:
    """Return uint8 [N, H, W, 3] as the network's input, float32 from -1 to 1."""
    return tf.cast(images, tf.float32) / 127.5 - 1


def make_targets(boxes: numpy.ndarray, red_known: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return what the network should answer for one image.

    Args:
      boxes: float32 [N, 6]: center x and y, width, height in pixels, kind, weight; see finder_composition.Canvas.
      red_known: bool [S, S].
    Returns:
      (float32 [S/4, S/4, CHANNELS], weights float32 [S/4, S/4, 3]): targets with heat maps from 0 to 1; weights of the
      two heat maps, and 1 at the centers of cells, where size and offset count.
    """
    side = len(red_known) // STRIDE
    targets = numpy.zeros((side, side, CHANNELS), "float32")
    weights = numpy.ones((side, side, 3), "float32")
    weights[..., 2] = 0
    weights[..., 1] = red_known[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    rows, columns = numpy.mgrid[:side, :side]
    for x, y, width, height, kind, weight in boxes:
        u, v = x / STRIDE, y / STRIDE
        column, row = min(side - 1, int(u)), min(side - 1, int(v))
        if not weight:
            inside = abs(columns + 0.5 - u) <= width / STRIDE / 2 + 0.5
            inside &= abs(rows + 0.5 - v) <= height / STRIDE / 2 + 0.5
            weights[inside, int(kind)] = 0
            continue
        sigma = max(0.55, 0.09 * (width + height) / 2 / STRIDE)
        peak = numpy.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * sigma**2))
        targets[..., int(kind)] = numpy.maximum(targets[..., int(kind)], peak)
        targets[row, column, 2:] = (
            numpy.log(width / SIZE_UNIT),
            numpy.log(height / SIZE_UNIT),
            u - column - 0.5,
            v - row - 0.5,
        )
        weights[row, column, 2] = 1
        weights[row, column, int(kind)] = 1
    return targets, weights


def loss(targets: Any, weights: Any, outputs: Any) -> dict[str, Any]:
    """Return the parts of the loss of a batch: penalty-reduced focal loss of the heat maps, L1 of size and offset."""
    logits, wanted = outputs[..., :2], targets[..., :2]
    found = tf.sigmoid(logits)
    log_found, log_missing = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    centers = tf.cast(wanted >= 1, tf.float32)
    hit = -centers * (1 - found) ** 2 * log_found
    false = -(1 - centers) * (1 - wanted) ** 4 * found**2 * log_missing
    # A red cell that is not found costs less than a white one: they only give the scale.
    heat = tf.reduce_sum((hit + false) * weights[..., :2], [0, 1, 2]) * (1.0, 0.3)
    counts = tf.maximum(tf.reduce_sum(centers * weights[..., :2], [0, 1, 2]), 4.0)
    at_centers = weights[..., 2:]
    cells = tf.reduce_sum(at_centers) + 1
    size = tf.reduce_sum(tf.abs(outputs[..., 2:4] - targets[..., 2:4]) * at_centers) / cells
    offset = tf.reduce_sum(tf.abs(outputs[..., 4:6] - targets[..., 4:6]) * at_centers) / cells
    heat = heat / counts
    return {"white": heat[0], "red": heat[1], "size": 0.5 * size, "offset": 0.5 * offset}
