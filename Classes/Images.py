"""The one decoder and the one resize: training and serving see the same pixels."""

import io
import math
import os
import pathlib
import warnings

import numpy
import PIL.Image
import PIL.ImageOps

from Classes.Errors import ImageError

# Told by content, never by name. What is not here (EPS, PDF, …) would start another program or hide many pages.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")

# Share of the shorter side that the network sees: Inception's own evaluation crop (Szegedy et al., arXiv:1512.00567).
# On real cells it gives 0.975 instead of 0.957 in five-fold cross-validation of the last layer.
CENTRE = 0.875

# What a JPEG decoded at a reduced scale must still have in each side, in units of the network's side: from twice
# the size on, the antialiased resize forgets what the reduced scale left out.
REDUCED = 2

# Whatever Pillow and the libraries under it raise on broken bytes.
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    MemoryError,
    ArithmeticError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    AssertionError,
    PIL.Image.DecompressionBombError,
)


def load(source, *, max_pixels=40_000_000, max_side=20_000, at_least=None):
    """Decode one image.

    The orientation that a camera noted (EXIF) is applied, an image of several frames gives its first, transparency
    is laid on white, 16-bit and floating-point values are scaled to their range.

    Args:
      source: the file's bytes, or its path.
      max_pixels: limit from the configuration key `MaxPixels`, held against the header before anything is decoded.
      max_side: limit from `MaxSide`, in pixels.
      at_least: the shorter side that the caller needs, in pixels; a much larger JPEG is then decoded at 1/2, 1/4 or
        1/8 scale, which is faster and loses nothing that a resize to that side would keep.
    Returns:
      uint8 [H, W, 3], RGB.
    Raises:
      ImageError: not one readable image within the limits.
    """
    name = "the image" if isinstance(source, (bytes, bytearray, memoryview)) else os.fspath(source)
    try:
        data = source if name == "the image" else pathlib.Path(source).read_bytes()
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror}") from error
    if not data:
        raise ImageError(f"{name}: empty; send the image again")
    try:
        with warnings.catch_warnings():
            # Limits are ours and checked below; a remark on odd metadata is no reason to stop.
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, name, max_pixels, max_side)
                _reduce(image, at_least)
                image.load()
                return _rgb(PIL.ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except PIL.UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise ImageError(f"{name}: no image, or of a kind that is not read; {known} are") from error
    except _BROKEN as error:
        reason = str(error).strip("'\"") or type(error).__name__
        raise ImageError(f"{name}: damaged image ({reason}); send it again or leave it out") from error


def square(image, size):
    """The central square of an image, CENTRE of its shorter side wide, resized.

    Args:
      image: uint8 [H, W, 3].
      size: side of the result in pixels.
    Returns:
      uint8 [size, size, 3].
    """
    height, width = image.shape[:2]
    side = min(height, width) * CENTRE
    top, left = (height - side) / 2, (width - side) / 2
    # Bicubic, widened where it shrinks: Pillow averages over all pixels under the kernel, so nothing aliases.
    resized = PIL.Image.fromarray(image).resize(
        (size, size), PIL.Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return numpy.asarray(resized)


def prepare(source, size, **limits):
    """What both wings call: `load`, then `square`.

    Args:
      source: the file's bytes, or its path.
      size: side of the network's input in pixels.
      limits: max_pixels and max_side of `load`.
    Returns:
      uint8 [size, size, 3], RGB.
    """
    return square(load(source, at_least=size / CENTRE, **limits), size)


def network_input(images, mean=128):
    """Scale pixels to what the network was trained on.

    Args:
      images: [N, H, W, 3], RGB, 0..255; numpy uint8, or a float32 tensor of a training framework.
      mean: configuration key `Mean`.
    Returns:
      float32 [N, H, W, 3]: (pixel - mean) / mean, in [-1, 0.992] for the historic mean of 128.
    """
    if isinstance(images, numpy.ndarray):
        images = images.astype("float32")
    return (images - mean) / mean


def _check_size(image, name, max_pixels, max_side):
    width, height = image.size
    if max(width, height) > max_side:
        raise ImageError(f"{name}: {width}x{height} pixels, the longest side allowed is {max_side} (MaxSide)")
    if width * height > max_pixels:
        raise ImageError(f"{name}: {width}x{height} pixels, {max_pixels} in all are allowed (MaxPixels)")


def _reduce(image, at_least):
    """Let libjpeg decode at the smallest scale that still has REDUCED times the pixels a side that are needed."""
    if image.format not in ("JPEG", "MPO") or not at_least:
        return
    factor = min(image.size) / (REDUCED * at_least)
    if factor >= 2:
        image.draft(None, tuple(math.ceil(side / factor) for side in image.size))


def _rgb(image):
    """A decoded image of any mode as uint8 [H, W, 3]."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return numpy.repeat(_eight_bits(numpy.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return numpy.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _eight_bits(values):
    """Values of 16-bit or floating-point pixels as uint8 [H, W].

    A microscope camera stores 10, 12, 14 or 16 bits in 16; the smallest of these ranges that holds the largest
    value is taken for its range. Floating-point values in [0, 1] are shares, others are treated like integers.
    """
    values = values.astype("float64")
    if not numpy.isfinite(values).all():
        raise ImageError("the image: has pixels that are no numbers; export it again")
    largest = values.max(initial=0)
    ranges = [2**bits - 1 for bits in (8, 10, 12, 14, 16, 32)]
    full = 1 if largest <= 1 else next((limit for limit in ranges if largest <= limit), largest)
    return (values.clip(0) * (255 / full)).round().clip(0, 255).astype("uint8")
