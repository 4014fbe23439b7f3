"""Small images of known pixels, and their files."""

import io

import numpy
import PIL.Image
import PIL.TiffImagePlugin

PATCH = (200, 100, 50)


def encoded(image, kind, **options):
    if isinstance(image, numpy.ndarray):
        image = PIL.Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(mode="RGB", color=PATCH, size=(8, 6)):
    return PIL.Image.new(mode, size, color)


def noise(height, width, seed=0):
    return numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def smooth(height, width):
    """Soft colors, which JPEG keeps well."""
    rows, columns = numpy.mgrid[:height, :width]
    waves = [120 + 90 * numpy.sin(rows / 9 + shift) * numpy.cos(columns / 11) for shift in (0, 1, 2)]
    return numpy.stack(waves, -1).astype("uint8")
