"""The one decoder and the one resize: training and serving see the same pixels."""

import contextlib
import dataclasses
import io
import math
import os
import pathlib
import stat

import numpy
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from Classes.Errors import ImageError, ImageKindError, ImageSizeError
from Classes.Quiet import QUIET

# Told by content, never by name. What is not here (EPS, PDF, …) would start another program or hide many pages.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP")

# Share of the shorter side that the network sees: Inception's own evaluation crop (Szegedy et al., arXiv:1512.00567).
# On real cells it gives 0.975 instead of 0.957 in five-fold cross-validation of the last layer.
CENTRE = 0.875

# What a JPEG decoded at a reduced scale must still have in each side, in units of the side that is needed. Measured
# on photos of blood cells enlarged to 1,500 … 4,800 pixels: the network's pixels then differ from those of the full
# decode by 0.2 of 255 levels on average, by 0.5 under strong noise, and by 6 in the worst pixel.
REDUCED = 2

# A JPEG of a few kilobytes can ask for thousands of passes over all of its pixels; photos have about ten.
SCANS = 100


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of an image without its pixels.

    Attributes:
      format: "jpg", "png", "gif", "bmp", "ppm", "tiff" or "webp", told by content.
      width, height: pixels as stored, before the orientation that a camera noted is applied.
    """

    format: str
    width: int
    height: int


def load(source, *, at_least=None, **limits):
    """Decode one image.

    The orientation that a camera noted (EXIF) is applied, an image of several frames gives its first, transparency
    is laid on white, 16-bit and floating-point values are scaled to their range (see `_eight_bits`).

    Args:
      source: the file's bytes, or its path.
      at_least: the shorter side that the caller needs, in pixels; a much larger JPEG is then decoded at 1/2, 1/4 or
        1/8 scale, which is faster and loses next to nothing of what a resize to that side would keep (see REDUCED).
      max_pixels: limit from the configuration key `MaxPixels`, held against the header before anything is decoded;
        40,000,000 when not given.
      max_side: limit from `MaxSide`, in pixels; 20,000 when not given.
      name: what an error calls the image; its path, or "the image" for bytes, when not given.
    Returns:
      uint8 [H, W, 3], RGB.
    Raises:
      ImageError: not one readable image within the limits; ImageSizeError and ImageKindError where that is why.
    """
    with _decoded(source, at_least, **limits) as image:
        return numpy.asarray(_rgb(_upright(image)))


def glance(source, side, **limits):
    """Decode one image in full and keep a small picture of it: where a broken file must be found, and little be seen.

    Args:
      source, limits: as for `load`.
      side: pixels that the picture's shorter side keeps at least, where the image has them; less than twice as many.
    Returns:
      (Facts, uint8 [h, w, 3], RGB).
    Raises:
      ImageError: in the cases of `load`.
    """
    with _decoded(source, **limits) as image:
        found, factor = _facts(image), min(image.size) // side
        if factor > 1:
            # Other modes first become what can be averaged.
            plain = image if image.mode in ("RGB", "L") else _rgb(image)
            small = plain.reduce(factor)
            small.info.update(image.info)
            image = small
        return found, numpy.asarray(_rgb(_upright(image)))


def facts(source):
    """What the header of an image says that `load` has read before; nothing is decoded.

    Args:
      source: the file's bytes.
    Returns:
      Facts.
    """
    with QUIET, PIL.Image.open(io.BytesIO(source), formats=FORMATS) as image:
        return _facts(image)


def square(image, size, crop=CENTRE):
    """The central square of an image, resized.

    Args:
      image: uint8 [H, W, 3].
      size: side of the result in pixels.
      crop: width of the square as a share of the image's shorter side.
    Returns:
      uint8 [size, size, 3].
    """
    return _square(PIL.Image.fromarray(image), size, crop)


def _square(image, size, crop):
    """`square` of a PIL.Image."""
    side = min(image.size) * crop
    left, top = ((length - side) / 2 for length in image.size)
    # Bicubic, since it neither blurs chromatin as averaging does nor rings at a nucleus's rim as Lanczos does. Where
    # it shrinks, Pillow widens the kernel over all pixels that fall into one, so nothing aliases.
    resized = image.resize((size, size), PIL.Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return numpy.asarray(resized)


def limits(configuration):
    """The configured max_pixels and max_side, as keyword arguments of `load`, `glance` and `prepare`."""
    return {"max_pixels": configuration["MaxPixels"], "max_side": configuration["MaxSide"]}


def prepare(source, size, crop=CENTRE, **limits):
    """What both wings call: `load`, then `square`, without the copies between them.

    Args:
      source: the file's bytes, or its path.
      size: side of the network's input in pixels.
      crop: see `square`.
      limits: max_pixels, max_side and name of `load`.
    Returns:
      uint8 [size, size, 3], RGB.
    Raises:
      ImageError: in the cases of `load`.
    """
    with _decoded(source, size / crop, **limits) as image:
        return _square(_rgb(_upright(image)), size, crop)


@dataclasses.dataclass(frozen=True)
class View:
    """How a network sees an image; the one thing that both wings have to agree on, and a part of the model card.

    Attributes:
      size: side of its square input in pixels.
      mean, scale: it sees (pixel - mean) / scale.
      channels: "RGB" or "BGR", their order in its input.
      crop: share of the shorter side that it sees.
    """

    size: int
    mean: float = 128.0
    scale: float = 128.0
    channels: str = "RGB"
    crop: float = CENTRE

    def prepare(self, source, **limits):
        """The module's `prepare` with this view's size and crop: uint8 [size, size, 3], RGB."""
        return prepare(source, self.size, self.crop, **limits)

    def network_input(self, images):
        """The module's `network_input` with this view's scaling and channels."""
        return network_input(images, self.mean, self.scale, self.channels)


def network_input(images, mean=128, scale=None, channels="RGB"):
    """Scale pixels to what the network was trained on.

    Args:
      images: [N, H, W, 3], RGB, 0..255; numpy uint8, or a float32 tensor of a training framework.
      mean: what is taken off, such as the configuration key `Mean`.
      scale: what is divided by; None: `mean`.
      channels: their order in the result, "RGB" or "BGR".
    Returns:
      float32 [N, H, W, 3]: (pixel - mean) / scale, in [-1, 0.992] for the historic 128 and 128.
    Raises:
      TypeError: a tensor of whole numbers, in which what is darker than the mean would come out brightest.
    """
    if channels == "BGR":
        images = images[..., ::-1]
    if isinstance(images, numpy.ndarray):
        # Engines want rows that lie one after the other, which those of a mirrored array do not.
        scaled = images.astype("float32", order="C")
        # In place: three arrays of this size would take ten times as long, mostly for fresh memory.
        scaled -= mean
        scaled /= scale or mean
        return scaled
    if images.dtype.name != "float32":
        raise TypeError(f"network_input: a tensor has to be float32, this one is {images.dtype.name}")
    return (images - mean) / (scale or mean)


@contextlib.contextmanager
def _decoded(source, at_least=None, *, max_pixels=40_000_000, max_side=20_000, name=None):
    """Yield a decoded PIL.Image; whatever goes wrong, in the caller's block too, becomes an ImageError."""
    in_memory = isinstance(source, (bytes, bytearray, memoryview))
    name = name or ("the image" if in_memory else os.fspath(source))
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(io.BytesIO(source) if in_memory else _open(source, name))
        if not file.read(1):
            raise ImageError(f"{name}: the file is empty; send it again or leave it out")
        try:
            stack.enter_context(QUIET)
            image = stack.enter_context(PIL.Image.open(file, formats=FORMATS))
            _check_size(image, name, max_pixels, max_side)
            _check_scans(image, name, file)
            _reduce(image, at_least)
            image.load()
            yield image
        except ImageError:
            raise
        except PIL.UnidentifiedImageError as error:
            known = ", ".join(FORMATS)
            raise ImageKindError(f"{name}: no image, or of a kind that is not read ({known} are)") from error
        except PIL.Image.DecompressionBombError as error:
            limit = min(max_pixels, 2 * PIL.Image.MAX_IMAGE_PIXELS)
            raise ImageSizeError(f"{name}: a decompression bomb; {limit} pixels are allowed (MaxPixels)") from error
        except Exception as error:  # what Pillow and the libraries under it raise on broken bytes is open-ended
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ImageError(f"{name}: damaged image ({reason}); send it again or leave it out") from error


def _open(path, name):
    try:
        # Reading a pipe or a device would never end.
        if not stat.S_ISREG(pathlib.Path(path).stat().st_mode):
            raise ImageError(f"{name}: is a folder or a device; give the name of an image file")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _facts(image):
    # A JPEG that holds a second picture, such as a preview, is a JPEG to every other program.
    kind = {"JPEG": "jpg", "MPO": "jpg"}.get(image.format, image.format.lower())
    return Facts(kind, *image.size)


def _check_size(image, name, max_pixels, max_side):
    width, height = image.size
    if max(width, height) > max_side:
        raise ImageSizeError(f"{name}: {width}x{height} pixels, the longest side allowed is {max_side} (MaxSide)")
    if width * height > max_pixels:
        raise ImageSizeError(f"{name}: {width}x{height} pixels, {max_pixels} in all are allowed (MaxPixels)")


def _check_scans(image, name, file):
    if not image.info.get("progressive"):
        return
    position = file.tell()
    file.seek(0)
    # Inside a scan's data the byte FF is never followed by DA.
    scans = sum(block.count(b"\xff\xda") for block in iter(lambda: file.read(1 << 20), b""))
    file.seek(position)
    if scans > SCANS:
        raise ImageError(f"{name}: {scans} scans, which no camera writes; save it again as a plain JPEG")


def _reduce(image, at_least):
    """Let libjpeg decode at the smallest scale that still has REDUCED times the pixels a side that are needed."""
    if image.format not in ("JPEG", "MPO") or not at_least:
        return
    factor = min(image.size) / (REDUCED * at_least)
    if factor >= 2:
        image.draft(None, tuple(math.ceil(side / factor) for side in image.size))


def _upright(image):
    try:
        # Pillow copies an image that already stands upright, which most do.
        turned = image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1
        return PIL.ImageOps.exif_transpose(image) if turned else image
    except Exception:  # as open-ended as the decoders
        # Only the camera's notes are broken; every viewer shows such an image as it is stored.
        return image


def _rgb(image):
    """A decoded image of any mode as an RGB one."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = PIL.Image.fromarray(_eight_bits(numpy.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(values):
    """Values of 16-bit, 32-bit or floating-point pixels as uint8 [H, W].

    Files do not say how many of their bits a camera fills, so the smallest of 8, 12, 16 and 31 bits that holds the
    largest value is taken for the range: 65535 becomes 255, and so does 4095 where no value is above it.
    Floating-point values are shares where none is above 1. Negative values become 0.
    """
    shares = values.dtype.kind == "f"
    values = values.astype("float32")
    largest = float(values.max(initial=0))
    if not numpy.isfinite(values).all():
        raise ValueError("it has pixels that are no numbers")
    ranges = [1] * shares + [2**bits - 1 for bits in (8, 12, 16, 31)]
    full = next((limit for limit in ranges if largest <= limit), largest)
    # In place: a large image takes four bytes a pixel here, not four times as many.
    numpy.multiply(values, 255 / full, out=values)
    numpy.rint(values, out=values)
    return numpy.clip(values, 0, 255, out=values).astype("uint8")
