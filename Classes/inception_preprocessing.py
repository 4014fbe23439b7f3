"""Inception's training distortions, as graph operations that depend on a seed alone."""

import tensorflow as tf


def distort(image, size, area, seed):
    """A random view of one training image: crop, mirror, colour.

    The crop and the colour operations are those of the Inception training (Szegedy et al., arXiv:1512.00567, and
    Howard, arXiv:1312.5402), with a lower limit to the crop, since a white cell outside the crop is no example any
    more. A smear has no top and no bottom, so it is mirrored both ways.

    Args:
      image: uint8 [H, W, 3], RGB.
      size: side of the result in pixels.
      area: smallest share of the image that the crop keeps, above 0 and up to 1.
      seed: int [2]; the same seed gives the same view.
    Returns:
      uint8 [size, size, 3].
    """
    seeds = tf.unstack(tf.random.split(seed, 7))
    image = _crop(image, area, seeds[0])
    image = tf.image.resize(image, [size, size], antialias=True) / 255
    image = tf.image.stateless_random_flip_left_right(image, seeds[1])
    image = tf.image.stateless_random_flip_up_down(image, seeds[2])
    image = tf.image.stateless_random_brightness(image, 32 / 255, seeds[3])
    image = tf.image.stateless_random_saturation(image, 0.5, 1.5, seeds[4])
    image = tf.image.stateless_random_hue(image, 0.05, seeds[5])
    image = tf.image.stateless_random_contrast(image, 0.5, 1.5, seeds[6])
    return tf.cast(tf.clip_by_value(tf.round(image * 255), 0, 255), tf.uint8)


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
