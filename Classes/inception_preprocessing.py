"""Inception's training distortions, as graph operations that depend on a seed alone."""

import typing

import numpy
import tensorflow as tf

# How much light methylene blue and eosin, the dyes of a blood smear, take out of red, green and blue (Ruifrok and
# Johnston 2001, Analytical and Quantitative Cytology and Histology 23:291; values of Landini's colour deconvolution
# for Giemsa), and a third direction for what is neither.
_STAIN_VECTORS = numpy.array([[0.834750, 0.513556, 0.196330], [0.092789, 0.954111, 0.283111]])
_STAIN_VECTORS = numpy.vstack([_STAIN_VECTORS, numpy.cross(*_STAIN_VECTORS)])
STAIN_MATRIX = (_STAIN_VECTORS / numpy.linalg.norm(_STAIN_VECTORS, axis=1, keepdims=True)).astype("float32")


class DistortionConfig(typing.NamedTuple):
    """How much `distort` changes; 0 or False leaves a step out.

    Attributes:
      area: smallest share of the image that the crop keeps, above 0 and up to 1.
      flip: mirrored at random, both ways.
      rotation: largest angle, in degrees.
      brightness: largest change, in levels of 0 to 255.
      saturation, contrast: largest change, as a share.
      hue: largest turn, as a share of the colour circle.
      stain: largest change of the amount of each dye, as a share.
    """

    area: float = 0.6
    flip: bool = True
    rotation: float = 0
    brightness: float = 32
    saturation: float = 0.5
    hue: float = 0.05
    contrast: float = 0.5
    stain: float = 0


def distortion_config(configuration):
    """The Amounts of the configuration keys Distortion…"""
    return DistortionConfig(
        **{name: configuration[f"Distortion{name.capitalize()}"] for name in DistortionConfig._fields}
    )


def distort_image(image, size, amounts, seed):
    """A random view of one training image: turned, cropped, mirrored, recoloured.

    The crop and the colour operations are those of the Inception training (Szegedy et al., arXiv:1512.00567, and
    Howard, arXiv:1312.5402), with a lower limit to the crop, since a white cell outside the crop is no example any
    more. A smear has no top and no bottom, so it is mirrored both ways and may be turned. The amounts of the dyes vary
    as from one laboratory to the next (Tellez et al., arXiv:1808.05896).

    Args:
      image: uint8 [H, W, 3], RGB.
      size: side of the result in pixels.
      amounts: Amounts.
      seed: int [2]; the same seed gives the same view.
    Returns:
      uint8 [size, size, 3].
    """
    seeds = tf.unstack(tf.random.split(seed, 7))
    # Of their own, so that the other steps give what they gave before these two came.
    rotation, stain = (tf.random.fold_in(seed, number) for number in (1, 2))
    if amounts.rotation:
        image = _rotate(image, amounts.rotation, rotation)
    image = _crop(image, amounts.area, seeds[0])
    image = tf.image.resize(image, [size, size], antialias=True) / 255
    if amounts.flip:
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
        image = tf.image.stateless_random_flip_up_down(image, seeds[2])
    if amounts.stain:
        image = _stain(image, amounts.stain, stain)
    image = _color_jitter(image, amounts, seeds[3:])
    return tf.cast(tf.clip_by_value(tf.round(image * 255), 0, 255), tf.uint8)


def _color_jitter(image, amounts, seeds):
    if amounts.brightness:
        image = tf.image.stateless_random_brightness(image, amounts.brightness / 255, seeds[0])
    if amounts.saturation:
        image = tf.image.stateless_random_saturation(image, 1 - amounts.saturation, 1 + amounts.saturation, seeds[1])
    if amounts.hue:
        image = tf.image.stateless_random_hue(image, amounts.hue, seeds[2])
    if amounts.contrast:
        image = tf.image.stateless_random_contrast(image, 1 - amounts.contrast, 1 + amounts.contrast, seeds[3])
    return image


def _crop(image, area, seed):
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


def _rotate(image, largest, seed):
    """Turned about the middle; the corners show what lies inside of them, mirrored, and not a colour of their own."""
    angle = tf.random.stateless_uniform([], seed, -largest, largest) * (numpy.pi / 180)
    height, width = (tf.cast(side - 1, tf.float32) for side in tf.unstack(tf.shape(image)[:2]))
    cosine, sine = tf.cos(angle), tf.sin(angle)
    across = (width - cosine * width + sine * height) / 2
    down = (height - sine * width - cosine * height) / 2
    turned = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32)[None],
        transforms=tf.stack([cosine, -sine, across, sine, cosine, down, 0.0, 0.0])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    return turned[0]


def _stain(image, largest, seed):
    """More or less of each dye, in optical densities, where amounts of dyes add up (Beer and Lambert)."""
    density = -tf.math.log((image * 255 + 1) / 256)
    dyes = tf.reshape(density, [-1, 3]) @ numpy.linalg.inv(STAIN_MATRIX)
    factors = tf.random.stateless_uniform([2], seed, 1 - largest, 1 + largest)
    density = dyes * tf.concat([factors, [1.0]], 0) @ STAIN_MATRIX
    return tf.reshape(tf.exp(-density) * 256 - 1, tf.shape(image)) / 255
