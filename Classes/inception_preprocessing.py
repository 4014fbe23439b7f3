"""Inception's training augmentation, as graph operations that depend only on a seed."""

import math
import typing
from collections.abc import Sequence
from typing import Any

import numpy
import tensorflow as tf

from Classes.common.config import Configuration

# Absorption of red, green and blue by methylene blue and eosin, the dyes of a blood smear (Ruifrok and Johnston 2001,
# Analytical and Quantitative Cytology and Histology 23:291; values of Landini's color deconvolution for Giemsa), and a
# third, orthogonal vector for the residual.
_STAIN_VECTORS = numpy.array([[0.834750, 0.513556, 0.196330], [0.092789, 0.954111, 0.283111]])
_STAIN_VECTORS = numpy.vstack([_STAIN_VECTORS, numpy.cross(*_STAIN_VECTORS)])
STAIN_MATRIX = (_STAIN_VECTORS / numpy.linalg.norm(_STAIN_VECTORS, axis=1, keepdims=True)).astype("float32")


class DistortionConfig(typing.NamedTuple):
    """Strength of each step of `distort_image`; 0 or False skips the step.

    Attributes:
      area: smallest fraction of the image that the crop keeps, above 0 and up to 1.
      flip: mirror at random, horizontally and vertically.
      rotation: largest angle, in degrees.
      brightness: largest change, in levels of 0 to 255.
      saturation, contrast: largest change, as a fraction.
      hue: largest rotation, as a fraction of the color circle.
      stain: largest change of the amount of each dye, as a fraction.
      scale: largest enlargement or reduction, as a fraction; 0.25 draws a factor between 0.8 and 1.25.
      light: largest change of the light, as a fraction; its color changes by up to a quarter of that.
      blur: largest standard deviation of a Gaussian blur, in pixels of the result.
    """

    area: float = 0.6
    flip: bool = True
    rotation: float = 0
    brightness: float = 32
    saturation: float = 0.5
    hue: float = 0.05
    contrast: float = 0.5
    stain: float = 0
    scale: float = 0
    light: float = 0
    blur: float = 0


def distortion_config(configuration: Configuration) -> DistortionConfig:
    """Return the values of the configuration keys Distortion…"""
    return DistortionConfig(
        **{name: configuration[f"Distortion{name.capitalize()}"] for name in DistortionConfig._fields}
    )


def distort_image(image: tf.Tensor, size: int, distortion: DistortionConfig, seed: tf.Tensor) -> tf.Tensor:
    """Rotate, crop, mirror and recolor a training image at random.

    The crop and the color operations are as in the Inception training (Szegedy et al., arXiv:1512.00567, and
    Howard, arXiv:1312.5402); the smallest crop is larger, so that it contains the white cell. A smear has no natural
    orientation, so it is mirrored both ways and may be rotated. The amounts of the dyes vary, as they do between
    laboratories (Tellez et al., arXiv:1808.05896), and magnification, light and focus, as they do between microscopes.

    Args:
      image: uint8 [H, W, 3], RGB.
      size: side of the result in pixels.
      distortion: strength of each step.
      seed: int [2]; the same seed gives the same result.
    Returns:
      uint8 [size, size, 3].
    """
    seeds = tf.unstack(tf.random.split(seed, 7))
    # Separate seeds, so that the other steps give the same results as in versions without these.
    rotation, stain, scale, light, blur = (tf.random.fold_in(seed, number) for number in range(1, 6))
    if distortion.rotation or distortion.scale:
        image = _rotate_and_scale(image, distortion, rotation, scale)
    image = _crop(image, distortion.area, seeds[0])
    image = tf.image.resize(image, [size, size], antialias=True) / 255
    if distortion.flip:
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
        image = tf.image.stateless_random_flip_up_down(image, seeds[2])
    if distortion.stain:
        image = _stain(image, distortion.stain, stain)
    if distortion.light:
        image = _light(image, distortion.light, light)
    if distortion.blur:
        image = _blur(image, distortion.blur, blur)
    image = _color_jitter(image, distortion, seeds[3:])
    return tf.cast(tf.clip_by_value(tf.round(image * 255), 0, 255), tf.uint8)


def _color_jitter(image: tf.Tensor, distortion: DistortionConfig, seeds: Sequence[tf.Tensor]) -> tf.Tensor:
    if distortion.brightness:
        image = tf.image.stateless_random_brightness(image, distortion.brightness / 255, seeds[0])
    if distortion.saturation:
        image = tf.image.stateless_random_saturation(
            image, 1 - distortion.saturation, 1 + distortion.saturation, seeds[1]
        )
    if distortion.hue:
        image = tf.image.stateless_random_hue(image, distortion.hue, seeds[2])
    if distortion.contrast:
        image = tf.image.stateless_random_contrast(image, 1 - distortion.contrast, 1 + distortion.contrast, seeds[3])
    return image


def _crop(image: tf.Tensor, area: float, seed: tf.Tensor) -> tf.Tensor:
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([1, 0, 4]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(area, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    return tf.slice(image, begin, extent)


def _rotate_and_scale(image: tf.Tensor, distortion: DistortionConfig, of_angle: Any, of_scale: Any) -> tf.Tensor:
    """Rotate and scale about the center; what is missing is filled with the mirrored image."""
    angle = tf.constant(0.0)
    if distortion.rotation:
        angle = tf.random.stateless_uniform([], of_angle, -distortion.rotation, distortion.rotation)
        angle *= numpy.pi / 180
    height, width = (tf.cast(side - 1, tf.float32) for side in tf.unstack(tf.shape(image)[:2]))
    cosine, sine = tf.cos(angle), tf.sin(angle)
    if distortion.scale:
        largest = numpy.log1p(distortion.scale)
        factor = tf.exp(tf.random.stateless_uniform([], of_scale, -largest, largest))
        cosine, sine = cosine / factor, sine / factor
    across = (width - cosine * width + sine * height) / 2
    down = (height - sine * width - cosine * height) / 2
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32)[None],
        transforms=tf.stack([cosine, -sine, across, sine, cosine, down, 0.0, 0.0])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    return changed[0]


def _stain(image: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Change the amount of each dye in optical densities, which add up (Beer-Lambert law)."""
    density = -tf.math.log((image * 255 + 1) / 256)
    dyes = tf.reshape(density, [-1, 3]) @ numpy.linalg.inv(STAIN_MATRIX)
    factors = tf.random.stateless_uniform([2], seed, 1 - largest, 1 + largest)
    density = dyes * tf.concat([factors, [1.0]], 0) @ STAIN_MATRIX
    return tf.reshape(tf.exp(-density) * 256 - 1, tf.shape(image)) / 255


def _light(image: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Multiply all channels by one factor, and each by one of its own."""
    seeds = tf.unstack(tf.random.split(seed, 2))
    common = tf.random.stateless_uniform([], seeds[0], 1 - largest, 1 + largest)
    return image * common * tf.random.stateless_uniform([3], seeds[1], 1 - largest / 4, 1 + largest / 4)


def _blur(image: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Blur half of the images with a Gaussian."""
    deviation = tf.maximum(tf.random.stateless_uniform([], seed, -largest, largest), 1e-3)
    reach = math.ceil(2 * largest)
    weights = tf.exp(-0.5 * (tf.range(-reach, reach + 1, dtype=tf.float32) / deviation) ** 2)
    kernel = tf.tile((weights / tf.reduce_sum(weights))[:, None, None, None], [1, 1, 3, 1])
    padded = tf.pad(image, [[reach, reach], [reach, reach], [0, 0]], "REFLECT")[None]
    for each in (kernel, tf.transpose(kernel, [1, 0, 2, 3])):
        padded = tf.nn.depthwise_conv2d(padded, each, [1, 1, 1, 1], "VALID")
    return padded[0]
