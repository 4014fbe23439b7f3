"""Decode images: the only decoder of the project, so training and serving see the same pixels."""

import contextlib
import dataclasses
import io
import math
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from Classes.common.errors import ImageError, ImageSizeError, UnsupportedImageError, error_reason, system_reason
from Classes.common.translation import Message
from Classes.imaging import bit_depth, file_kinds, jpeg, png, tiff, tiff_pages

# Recognized by content, never by name. Pillow reads more kinds, but they (EPS, PDF, …) would start another program or
# hide many pages. tiff.py reads TIFF: Pillow keeps 8 of 16 bits, takes the first of several pages, and its libtiff
# prints to the terminal.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP")

_JPEG = ("JPEG", "MPO")

Source = bytes | bytearray | memoryview | str | os.PathLike


@dataclasses.dataclass(frozen=True)
class DecodeLimits:
    """Limits on what is decoded.

    Attributes:
      max_pixels: the configuration key `MaxPixels`, checked against the header before anything is decoded.
      max_side: `MaxSide`, in pixels.
      sample_bits: `SampleBits`, the bit depth of files that do not state theirs; 0: unknown.
    """

    max_pixels: int = 40_000_000
    max_side: int = 20_000
    sample_bits: int = 0


DEFAULT_LIMITS = DecodeLimits()


def decode_limits(configuration: Any) -> DecodeLimits:
    """Return the limits of a Configuration."""
    return DecodeLimits(configuration["MaxPixels"], configuration["MaxSide"], configuration["SampleBits"])


@dataclasses.dataclass(frozen=True)
class ImageInfo:
    """What the header of an image states.

    Attributes:
      format: "jpg", "png", "gif", "bmp", "ppm", "tiff" or "webp", recognized by content.
      width, height: pixels as stored, before the EXIF orientation is applied.
    """

    format: str
    width: int
    height: int


def decode_image(
    source: Source,
    limits: DecodeLimits = DEFAULT_LIMITS,
    *,
    at_least: float | None = None,
    name: str | None = None,
) -> numpy.ndarray:
    """Decode one image.

    The EXIF orientation is applied, an animation gives its first frame, and transparency is put on white unless all
    of the image is transparent. Samples of more than 8 bits are scaled by the depth that the file states (see
    bit_depth.py). tiff_pages.py chooses the page of a TIFF with the photograph.

    Args:
      source: the file's bytes, or its path.
      limits: see `decode_limits`.
      at_least: the shorter side that is needed, in pixels; a much larger JPEG is then decoded at 1/2, 1/4 or 1/8
        scale, which is faster and changes a resize to that side very little (see jpeg.DRAFT_MARGIN).
      name: name of the image in error messages; by default its path, or "the image" for bytes.
    Returns:
      uint8 [H, W, 3], RGB.
    Raises:
      ImageError: not one readable image within the limits; ImageSizeError or UnsupportedImageError if that is why.
    """
    with open_rgb(source, limits, at_least, name) as image:
        return numpy.asarray(image)


@contextlib.contextmanager
def open_rgb(
    source: Source, limits: DecodeLimits, at_least: float | None = None, name: str | None = None
) -> Iterator[PIL.Image.Image]:
    """Yield a decoded image as an upright PIL image in RGB; see `decode_image`."""
    with _decoded(source, limits, at_least, name) as image:
        yield _to_rgb(_apply_exif_orientation(image))


def decode_thumbnail(
    source: Source, side: int, limits: DecodeLimits = DEFAULT_LIMITS, name: str | None = None
) -> tuple[ImageInfo, numpy.ndarray]:
    """Decode one image in full, which finds every damage, and keep a small picture of it.

    Args:
      source, limits, name: see `decode_image`.
      side: pixels that the picture's shorter side keeps at least if the image has them; less than twice as many.
    Returns:
      (ImageInfo, uint8 [h, w, 3], RGB).
    Raises:
      ImageError: see `decode_image`.
    """
    with _decoded(source, limits, name=name) as image:
        info, factor = _image_info(image), min(image.size) // side
        if factor > 1:
            # Only these modes can be averaged.
            plain = image if image.mode in ("RGB", "L") else _to_rgb(image)
            small = plain.reduce(factor)
            small.info.update(image.info)
            image = small
        return info, numpy.asarray(_to_rgb(_apply_exif_orientation(image)))


def read_header(source: bytes) -> ImageInfo:
    """Return what the header of an image states, without decoding it; `decode_image` must have read it before."""
    with _header(source) as (info, _):
        return info


def metadata(source: bytes) -> tuple[str, list[float]]:
    """Return what a file states beside its pixels; `decode_image` must have read it before.

    Returns:
      (mode in which it is stored, such as "RGB" or "I;16"; [sum of the JPEG quantization tables, bytes of EXIF data,
      bytes of the ICC profile, dots per inch or 0]).
    """
    with _header(source) as (_, found):
        resolution = found["dpi"] if math.isfinite(found["dpi"]) else 0.0
        return found["mode"], [found.get("tables", 0), found["exif"], found["icc"], resolution]


@contextlib.contextmanager
def _header(source: bytes) -> Iterator[tuple[ImageInfo, dict[str, Any]]]:
    """Yield (ImageInfo, what `metadata` needs) without decoding."""
    file = io.BytesIO(source)
    if source[:4] in tiff_pages.SIGNATURES:
        with tiff_pages.open_pages(file, "the image") as pages:
            yield ImageInfo("tiff", pages[0].imagewidth, pages[0].imagelength), tiff.header_fields(pages)
        return
    with PIL.Image.open(png.drop_damaged_metadata(file, "the image"), formats=FORMATS) as image:
        tables = getattr(image, "quantization", None) or {}
        yield (
            _image_info(image),
            {
                "mode": image.mode,
                "dpi": _float_or_0(image.info.get("dpi", (0, 0))[0]),
                "exif": len(image.info.get("exif", b"")),
                "icc": len(image.info.get("icc_profile", b"")),
                "tables": sum(map(sum, tables.values())),
            },
        )


def _float_or_0(value: Any) -> float:
    """Return a resolution as float; 0 for a fraction without a value, which some programs write."""
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


@contextlib.contextmanager
def _decoded(
    source: Source, limits: DecodeLimits, at_least: float | None = None, name: str | None = None
) -> Iterator[PIL.Image.Image]:
    """Yield a decoded PIL image; every failure, also inside the `with` block, becomes an ImageError."""
    name = name or (Message("the image") if isinstance(source, (bytes, bytearray, memoryview)) else os.fspath(source))
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open(source, name))
        head = file.read(4)
        if not head:
            raise ImageError(
                Message("{name}: the file is empty; send it again or leave it out", name=name), code="empty_file"
            )
        file.seek(0)
        try:
            if head in tiff_pages.SIGNATURES:
                pages = stack.enter_context(tiff_pages.open_pages(file, name))
                _check_size((pages[0].imagewidth, pages[0].imagelength), name, limits)
                image = tiff.decode(pages, name, limits.sample_bits)
                image.format = "TIFF"
            else:
                file = png.drop_damaged_metadata(file, name)
                image = stack.enter_context(PIL.Image.open(file, formats=FORMATS))
                _check_size(image.size, name, limits)
                jpeg.check_scans(image, name, file)
                if at_least and image.format in _JPEG:
                    jpeg.set_draft_size(image, at_least)
                image = _load_pixels(image, file, name, limits.sample_bits)
            yield image
        except ImageError:
            raise
        except PIL.UnidentifiedImageError as error:
            raise _unsupported_error(file, name) from error
        except PIL.Image.DecompressionBombError as error:
            limit = min(limits.max_pixels, 2 * (PIL.Image.MAX_IMAGE_PIXELS or limits.max_pixels))
            raise ImageSizeError(
                Message("{name}: a decompression bomb; {limit} pixels are allowed (MaxPixels)", name=name, limit=limit)
            ) from error
        except Exception as error:  # the libraries raise all kinds of errors on damaged bytes
            text = system_reason(error) if isinstance(error, OSError) else str(error)
            reason = (text.strip() or type(error).__name__).splitlines()[0][:200]
            raise ImageError(
                Message("{name}: damaged image ({reason}); send it again or leave it out", name=name, reason=reason)
            ) from error


def _open(source: Source, name: str) -> BinaryIO:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    try:
        # Reading a pipe or a device would never end.
        if not stat.S_ISREG(pathlib.Path(source).stat().st_mode):
            raise ImageError(Message("{name}: is a folder or a device; give the name of an image file", name=name))
        return open(source, "rb")
    except (OSError, ValueError) as error:
        raise ImageError(Message("{name}: {reason}", name=name, reason=error_reason(error))) from error


def _unsupported_error(file: BinaryIO, name: str) -> ImageError:
    """Return the error for bytes that no decoder reads; it names what they are."""
    file.seek(0)
    head = file.read(1024)
    found = file_kinds.identify(head)
    if found:
        return UnsupportedImageError(
            Message("{name}: not a supported image but {kind}; {advice}", name=name, kind=found[0], advice=found[1])
        )
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8")):
        return ImageError(
            Message("{name}: damaged image (its header cannot be read); send it again or leave it out", name=name)
        )
    known = ", ".join((*FORMATS, "TIFF"))
    return UnsupportedImageError(
        Message("{name}: not a supported image ({known}); save it as one of these", name=name, known=known)
    )


def _load_pixels(image: Any, file: BinaryIO, name: str, sample_bits: int) -> PIL.Image.Image:
    """Return a decoded image of 8 bits per channel."""
    if image.format == "PNG" and png.bits_per_channel(file) == 16:
        return png.decode_16_bit(image, file, name, sample_bits)
    if image.format in _JPEG:
        return jpeg.load(image, file)
    image.load()
    if image.mode == "I" or image.mode.startswith("I;16"):
        # PPM: Pillow has scaled its maxval to 65535.
        values = numpy.asarray(image).astype("uint16")
        return PIL.Image.fromarray(bit_depth.eight_bits(values, name, sample_bits=16))
    if image.mode == "F":
        return PIL.Image.fromarray(bit_depth.eight_bits(numpy.asarray(image), name, sample_bits=sample_bits))
    return image


def _image_info(image: PIL.Image.Image) -> ImageInfo:
    # A JPEG that contains a second picture, such as a preview (MPO), is a JPEG to every other program.
    kind = "jpg" if image.format in _JPEG else str(image.format).lower()
    return ImageInfo(kind, *image.size)


def _check_size(size: tuple[int, int], name: str, limits: DecodeLimits) -> None:
    width, height = size
    if max(width, height) > limits.max_side:
        raise ImageSizeError(
            Message(
                "{name}: {width}x{height} pixels; the longest side allowed is {max_side} (MaxSide)",
                name=name,
                width=width,
                height=height,
                max_side=limits.max_side,
            )
        )
    if width * height > limits.max_pixels:
        raise ImageSizeError(
            Message(
                "{name}: {width}x{height} pixels; at most {max_pixels} are allowed (MaxPixels)",
                name=name,
                width=width,
                height=height,
                max_pixels=limits.max_pixels,
            )
        )


def _apply_exif_orientation(image: PIL.Image.Image) -> PIL.Image.Image:
    try:
        # Pillow copies an image that is already upright, which most are.
        turned = image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1
        return PIL.ImageOps.exif_transpose(image) if turned else image
    except Exception:  # the libraries raise all kinds of errors on damaged bytes
        # Only the EXIF data is broken; every viewer shows such an image as it is stored.
        return image


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert a decoded image of any mode to RGB."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        # Some programs write an alpha channel of zeros, or of zeros and ones, beside a full picture.
        if numpy.asarray(image.getchannel("A")).max() > 1:
            image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")
