"""What colours an image has, and whether they are those that a model was trained on; numpy only."""

import numpy

# ITU-R BT.601: how bright red, green and blue look.
LUMA = numpy.array([0.299, 0.587, 0.114], "float32")


def background(image):
    """The colour of the empty part of a smear: the most frequent among the brighter half of an image.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      three whole numbers, 0..255.
    """
    # A hundred places a side are enough, and bound the time for any image.
    height, width = image.shape[:2]
    pixels = image[:: -(-height // 100), :: -(-width // 100)].reshape(-1, 3)
    light = pixels @ LUMA
    bright = light >= light.mean()
    # Bins of four levels, smoothed, so that noise does not decide which is the fullest.
    counts = numpy.bincount((light[bright] / 4).astype(int), minlength=64)
    fullest = numpy.convolve(counts, [1, 2, 3, 2, 1], "same").argmax()
    near = bright & (numpy.abs(light / 4 - fullest - 0.5) <= 1.5)
    chosen = pixels[near] if near.any() else pixels[bright]
    return tuple(int(value) for value in numpy.median(chosen, axis=0).round())
