"""Decode the page of a TIFF file that tiff_pages.py has chosen."""

from typing import Any

import numpy
import PIL.ExifTags
import PIL.Image

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.imaging import bit_depth, tiff_samples

# Tags whose value is 2**n - 1 if it states a depth: MaxSampleValue, SMaxSampleValue, DNG's WhiteLevel.
_LARGEST = (281, 341, 50717)
# Tags with text: ImageDescription, XMP, two of Micro-Manager, two of ImageJ (its "Info" among them).
_TEXTS = (270, 700, 51123, 50839)


def decode(pages: list[Any], name: str, sample_bits: int) -> PIL.Image.Image:
    """Decode what `tiff_pages.open_pages` yields.

    Args:
      pages: see `tiff_pages.open_pages`; their size has been checked.
      name: name of the image in error messages.
      sample_bits: the configuration key `SampleBits`.
    Returns:
      PIL.Image of 8 bits per channel in a mode that Pillow converts to RGB; its orientation is in its EXIF data.
    Raises:
      ImageError: a kind of TIFF that is not read, with its reason as code; whatever tifffile raises on damaged files.
    """
    first = pages[0]
    tiff_samples.check_supported(first, name)
    tiff_samples.check_segments(first)
    stated = _stated_depths(first)
    if len(pages) == 3:
        layers = [tiff_samples.read_samples(page, name)[..., 0] for page in pages]
        image = _image(2, bit_depth.eight_bits(numpy.stack(layers, -1), name, stated=stated, sample_bits=sample_bits))
    else:
        image = _convert(first, tiff_samples.read_samples(first, name), name, stated, sample_bits)
    orientation = first.tags.valueof(274, 1)
    if orientation in range(2, 9):
        image.getexif()[PIL.ExifTags.Base.Orientation] = int(orientation)
    return image


def header_fields(pages: list[Any]) -> dict[str, Any]:
    """Return {"mode", "dpi", "exif", "icc"} of a page, in Pillow's terms, for decode.metadata."""
    page = pages[0]
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    kind = "RGB" if len(pages) == 3 else tiff_samples.PHOTOMETRICS.get(int(page.photometric), "other")
    mode = f"{kind}{'A' * bool(page.extrasamples)}" + (f";{bits}" if bits != 8 else "")
    resolution, unit = page.tags.valueof(282), {2: 1, 3: 2.54}.get(page.tags.valueof(296, 2), 0)
    above, below = resolution if isinstance(resolution, tuple) and len(resolution) == 2 else (0, 1)
    icc = page.tags.valueof(34675, b"")
    return {
        "mode": mode,
        "dpi": unit * above / below if below else 0.0,
        "exif": 0,
        "icc": len(icc) if isinstance(icc, (bytes, tuple)) else 0,
    }


def _convert(page: Any, samples: numpy.ndarray, name: str, stated: set[int], sample_bits: int) -> PIL.Image.Image:
    photometric = int(page.photometric)
    if photometric == 6 and int(page.compression) == 7:
        # The JPEG decoder has converted it to RGB.
        photometric = 2
    count = tiff_samples.color_channels(page)
    colors, alpha, premultiplied = samples[..., :count], *_alpha(page, samples, count)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    if photometric == 3:
        return _palette(page, colors[..., 0])
    whole = colors.dtype.kind == "u"
    if photometric in (5, 6, 8, 9) and not (whole and bits in (8, 16)):
        raise ImageError(
            Message(
                "{name}: TIFF of {photometrics} with {bits}-bit {dtype} samples; save it as RGB",
                name=name,
                photometrics=tiff_samples.PHOTOMETRICS[photometric],
                bits=bits,
                dtype=colors.dtype,
            ),
            code="sample_format",
        )
    if photometric in (5, 6, 8, 9):
        colors = (
            (colors >> 8).astype("uint8") if bits == 16 and photometric in (8, 9) else _scale_to_8_bits(colors, bits)
        )
    elif whole and bits < 16 and bits != 8:
        # Packed samples use all of their bits.
        colors = _scale_to_8_bits(colors, bits)
    elif colors.dtype == numpy.int8:
        raise ImageError(
            Message("{name}: TIFF of signed 8-bit samples; save it with unsigned ones", name=name), code="sample_format"
        )
    else:
        colors = bit_depth.eight_bits(colors, name, stated=stated, sample_bits=sample_bits)
    if photometric == 0:
        colors = 255 - colors
    if alpha is not None and photometric in (0, 1, 2):
        alpha = _eight_bit_alpha(alpha, bits, stated, sample_bits)
        if premultiplied:
            colors = _unpremultiply(colors, alpha)
        colors = numpy.concatenate([colors, alpha[..., None]], -1)
    return _image(2 if count == 3 and photometric < 2 else photometric, colors)


def _alpha(page: Any, samples: numpy.ndarray, count: int) -> tuple[numpy.ndarray | None, bool]:
    """Return (alpha as stored or None, whether the colors are premultiplied); ExtraSamples 1 and 2."""
    # An unexplained fourth channel beside RGB is alpha, as in Pillow and libtiff.
    unexplained = (2,) if samples.shape[2] == 4 and count == 3 else ()
    for place, kind in enumerate(page.extrasamples or unexplained):
        if int(kind) in (1, 2):
            return samples[..., count + place], int(kind) == 1
    return None, False


def _eight_bit_alpha(alpha: numpy.ndarray, bits: int, stated: set[int], sample_bits: int) -> numpy.ndarray:
    if alpha.dtype.kind == "f":
        return numpy.rint(alpha.astype("float32").clip(0, 1) * 255).astype("uint8")
    if bits < 16:
        return _scale_to_8_bits(alpha, bits)
    # Some programs scale the alpha of a 12-bit image to 12 bits, others to 16.
    largest = int(alpha.max(initial=0))
    depth = next((each for each in (*stated, sample_bits) if each and largest == 2**each - 1), bits)
    return numpy.rint(alpha * (255 / (2**depth - 1))).clip(0, 255).astype("uint8")


def _unpremultiply(colors: numpy.ndarray, alpha: numpy.ndarray) -> numpy.ndarray:
    shares = numpy.maximum(alpha, 1)[..., None].astype("float32") / 255
    return numpy.where(alpha[..., None] > 0, numpy.rint(colors / shares).clip(0, 255), colors).astype("uint8")


def _scale_to_8_bits(values: numpy.ndarray, bits: int) -> numpy.ndarray:
    """Scale unsigned values that use all of `bits` to uint8."""
    return values if bits == 8 else numpy.rint(values * (255 / (2**bits - 1))).astype("uint8")


def _palette(page: Any, indices: numpy.ndarray) -> PIL.Image.Image:
    table = numpy.asarray(page.colormap).T
    # As in libtiff: some programs write 8-bit values into the 16-bit entries.
    table = (table >> 8 if table.max(initial=0) > 255 else table).astype("uint8")
    return _image(2, table[numpy.minimum(indices, len(table) - 1)])


def _image(photometric: int, colors: numpy.ndarray) -> PIL.Image.Image:
    """Return a PIL image of uint8 [H, W, channels] in the color space of a file."""
    colors = numpy.ascontiguousarray(colors)
    size = colors.shape[1::-1]
    modes = {(0, 1): "L", (1, 1): "L", (0, 2): "LA", (1, 2): "LA", (5, 4): "CMYK", (6, 3): "YCbCr"}
    mode = modes.get((photometric, colors.shape[2]), "RGBA" if colors.shape[2] == 4 else "RGB")
    if photometric in (8, 9):
        # Pillow reads a and b of CIELab, which are signed; those of ICCLab begin at -128.
        turned = colors ^ numpy.array([0, 128, 128], "uint8") if photometric == 9 else colors
        return PIL.Image.frombytes("LAB", size, turned.tobytes())
    return PIL.Image.frombytes(mode, size, colors.tobytes())


def _stated_depths(page: Any) -> set[int]:
    """Return the bit depths that a page's tags state, for bit_depth.eight_bits."""
    found: set[int | None] = set()
    for code in _LARGEST:
        value = page.tags.valueof(code)
        values = value if isinstance(value, tuple) else (value,)
        found |= {bit_depth.bits_of(each) for each in values if isinstance(each, (int, float))}
    for code in _TEXTS:
        value = page.tags.valueof(code)
        found |= bit_depth.stated_in(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or ""))
    # Page 0 describes an OME or ImageJ file as a whole.
    first = page.parent.pages.first
    if first is not page:
        found |= bit_depth.stated_in(first.description or "")
    found |= _display_range(page.parent)
    return {bits for bits in found if bits}


def _display_range(tiff: Any) -> set[int]:
    """Return ImageJ's display range as a depth if it is 0 to 2**n - 1; otherwise somebody adjusted the contrast."""
    meta = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    low, high = meta.get("min"), meta.get("max")
    bits = bit_depth.bits_of(high) if low == 0 and isinstance(high, (int, float)) else None
    return {bits} if bits else set()
