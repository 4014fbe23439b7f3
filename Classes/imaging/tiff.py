"""TIFF files: choose the page that holds the photograph, and decode it; tifffile is imported late."""

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy
import PIL.ExifTags
import PIL.Image

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.imaging import bit_depth

# II or MM, then 42 (TIFF) or 43 (BigTIFF), each in its own byte order.
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# More pages than any file of one photograph has; further pages are not read.
PAGES = 32

_COMPRESSIONS = {
    1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "ZSTD",
    50001: "WebP",
}  # fmt: skip
_PHOTOMETRICS = {
    0: "WhiteIsZero",
    1: "BlackIsZero",
    2: "RGB",
    3: "palette",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
}
_RAW = {32803: "CFA", 34892: "LinearRaw"}
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}

# Tags whose value is 2**n - 1 if it states a depth: MaxSampleValue, SMaxSampleValue, DNG's WhiteLevel.
_LARGEST = (281, 341, 50717)
# Tags with text: ImageDescription, XMP, two of Micro-Manager, two of ImageJ (its "Info" among them).
_TEXTS = (270, 700, 51123, 50839)


@contextlib.contextmanager
def open_pages(file: BinaryIO, name: str) -> Iterator[list[Any]]:
    """Yield the page of a TIFF that holds its photograph.

    Args:
      file: binary file at any position.
      name: name of the image in error messages.
    Yields:
      list of tifffile.TiffPage: one, or three that hold red, green and blue.
    Raises:
      ImageError: "several_pages" or "camera_raw"; whatever tifffile raises on damaged files.
    """
    import tifffile

    # Nobody can act on its remarks about unusual files.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        yield _choose_pages(tiff, name)


def decode(pages: list[Any], name: str, sample_bits: int) -> PIL.Image.Image:
    """Decode what `open_pages` yields.

    Args:
      pages: see `open_pages`; their size has been checked.
      name: name of the image in error messages.
      sample_bits: the configuration key `SampleBits`.
    Returns:
      PIL.Image of 8 bits per channel in a mode that Pillow converts to RGB; its orientation is in its EXIF data.
    Raises:
      ImageError: a kind of TIFF that is not read, with its reason as code; whatever tifffile raises on damaged files.
    """
    first = pages[0]
    _check_supported(first, name)
    stated = _stated_depths(first)
    if len(pages) == 3:
        layers = [_samples(page, name)[..., 0] for page in pages]
        image = _image(2, bit_depth.eight_bits(numpy.stack(layers, -1), name, stated=stated, sample_bits=sample_bits))
    else:
        image = _convert(first, _samples(first, name), name, stated, sample_bits)
    orientation = first.tags.valueof(274, 1)
    if orientation in range(2, 9):
        image.getexif()[PIL.ExifTags.Base.Orientation] = int(orientation)
    return image


def header_fields(pages: list[Any]) -> dict[str, Any]:
    """Return {"mode", "dpi", "exif", "icc"} of a page, in Pillow's terms, for decode.metadata."""
    page = pages[0]
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    kind = "RGB" if len(pages) == 3 else _PHOTOMETRICS.get(int(page.photometric), "other")
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


def _choose_pages(tiff: Any, name: str) -> list[Any]:
    """Return the page of the photograph, or the three pages of its colors."""
    pages = []
    for page in tiff.pages:
        pages += [page, *_sub_pages(page)]
        if len(pages) >= PAGES:
            break
    for page in pages:
        _check_numbers(page)
    # Bit 0 of NewSubfileType is a smaller copy of another page, bit 2 a mask; 2 in the old SubfileType a smaller copy.
    full = [page for page in pages if not int(page.subfiletype) & 5 and page.tags.valueof(255, 1) != 2]
    full = full or pages[:1] * (len(pages) == 1)
    for page in full:
        if int(page.photometric) in _RAW:
            raise ImageError(
                Message(
                    "{name}: holds the camera's raw data ({raw}), which needs the camera's own program; save it "
                    "there as an 8-bit TIFF or PNG",
                    name=name,
                    raw=_RAW[int(page.photometric)],
                ),
                code="camera_raw",
            )
    hidden = int((tiff.imagej_metadata or {}).get("images", 1)) if tiff.is_imagej else 1
    if len(full) == 1 and hidden <= 1:
        return full
    if len(full) == 3 and (order := _channel_order(tiff, full)):
        return [full[place] for place in order]
    largest = max(full, key=lambda page: page.imagewidth * page.imagelength, default=None)
    if largest and hidden <= 1 and all(page is largest or _is_preview(page, largest) for page in full):
        return [largest]
    count = max(len(full), hidden)
    raise ImageError(
        Message(
            "{name}: holds {count} images (a stack, channels or several scans). Save the one to classify as a file of "
            "its own, channels as one RGB image.",
            name=name,
            count=Message("{count} or more", count=count) if len(pages) >= PAGES else count,
        ),
        code="several_pages",
    )


def _check_numbers(page: Any) -> None:
    """Raise ValueError if a tag of a damaged file is text or a list instead of a number."""
    sizes = ("imagewidth", "imagelength", "imagedepth", "samplesperpixel", "rowsperstrip", "tilewidth", "tilelength")
    for key in sizes:
        if not isinstance(getattr(page, key), int) or getattr(page, key) < 0:
            raise ValueError(f"its {key} is not a number")
    for key in ("subfiletype", "photometric", "compression", "planarconfig"):
        int(getattr(page, key))


def _sub_pages(page: Any) -> list[Any]:
    return list(page.pages or ())[:PAGES] if page.subifds else []


def _is_preview(page: Any, largest: Any) -> bool:
    """Return whether a page is a pyramid level or preview that is not marked as one: the same picture, at most 3/4 of
    the side.
    """
    if not 0 < page.imagewidth <= 0.75 * largest.imagewidth:
        return False
    if abs(page.imagewidth * largest.imagelength / largest.imagewidth - page.imagelength) > 1:
        return False
    if largest.imagewidth * largest.imagelength > 40_000_000 or page.samplesperpixel != largest.samplesperpixel:
        return False
    small, large = (_miniature(each) for each in (page, largest))
    return small.std() > 0 and numpy.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.9


def _miniature(page: Any) -> numpy.ndarray:
    """Return float32 [16, 16]: the page's first channel."""
    _check_supported(page, "")
    channel = PIL.Image.fromarray(_samples(page, "")[..., 0].astype("float32"))
    return numpy.asarray(channel.resize((16, 16), PIL.Image.Resampling.BOX))


def _channel_order(tiff: Any, pages: list[Any]) -> list[int] | None:
    """Return the indices of red, green and blue in three gray pages; None if they are not one photograph."""
    if len({(page.shape, page.dtype, page.samplesperpixel, int(page.photometric)) for page in pages}) > 1:
        return None
    if pages[0].samplesperpixel != 1 or int(pages[0].photometric) != 1:
        return None
    if tiff.is_ome:
        return _ome_order(tiff.ome_metadata or "")
    meta = tiff.imagej_metadata or {}
    if not tiff.is_imagej or meta.get("channels") != 3 or meta.get("mode") not in ("composite", "color"):
        return None
    tables = meta.get("LUTs")
    if tables is None:
        # ImageJ's own order for channels without colours.
        return [0, 1, 2]
    brightest = [tuple(int(value) for value in numpy.asarray(table)[:, -1]) for table in tables]
    return _order(brightest)


def _order(colours: list[tuple[int, ...]]) -> list[int] | None:
    pure = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    return [colours.index(each) for each in pure] if sorted(colours) == sorted(pure) else None


def _ome_order(text: str) -> list[int] | None:
    """Return `_channel_order` from OME-XML: by the colors of the channels, else by their names."""
    pixels = re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    sizes = ("SizeC", 3), ("SizeZ", 1), ("SizeT", 1)
    if len(pixels) != 1 or not all(re.search(rf'\b{key}="{value}"', pixels[0]) for key, value in sizes):
        return None
    channels = re.findall(r"<(?:\w+:)?Channel\b[^>]*>", text)
    colours = [re.search(r'\bColor="(-?\d+)"', channel) for channel in channels]
    if len(channels) == 3 and all(colours):
        # RGBA in 32 bits.
        values = [int(found[1]) & 0xFFFFFFFF for found in colours if found]
        order = _order([(value >> 24 & 255, value >> 16 & 255, value >> 8 & 255) for value in values])
    else:
        names = [re.search(r'\bName="([^"]*)"', channel) for channel in channels]
        initials = [found[1].strip().lower() if found else "" for found in names]
        known = [{"red": "r", "green": "g", "blue": "b"}.get(each, each) for each in initials]
        order = [known.index(each) for each in "rgb"] if sorted(known) == ["b", "g", "r"] else None
    return _pages_of_channels(text, order)


def _pages_of_channels(text: str, order: list[int] | None) -> list[int] | None:
    """Return the page of each channel from the TiffData elements; without them channel n is on page n."""
    places = {}
    for element in re.findall(r"<(?:\w+:)?TiffData\b[^>]*>", text):
        values = {key: int(number) for key, number in re.findall(r'\b(IFD|FirstC)="(\d+)"', element)}
        if len(values) == 2:
            places[values["FirstC"]] = values["IFD"]
    if order is None or (places and set(places) != {0, 1, 2}):
        return order if order and set(places) == {0} else None
    return [places.get(place, place) for place in order]


def _check_supported(page: Any, name: str) -> None:
    """Reject, before decoding, what is not supported or would need more memory or time than its size suggests."""
    compression, photometric = int(page.compression), int(page.photometric)
    if compression not in _COMPRESSIONS:
        raise ImageError(
            Message(
                "{name}: TIFF with the compression {tag}; save it uncompressed or with LZW",
                name=name,
                tag=_tag_name(page.compression),
            ),
            code="tiff_compression",
        )
    if photometric not in _PHOTOMETRICS or (photometric == 5 and page.tags.valueof(332, 1) != 1):
        raise ImageError(
            Message("{name}: TIFF with the colours {tag}; save it as RGB", name=name, tag=_tag_name(page.photometric)),
            code="tiff_colours",
        )
    if compression != 7 and photometric == 6 and page.is_subsampled:
        raise ImageError(
            Message("{name}: TIFF with subsampled YCbCr colours; save it as RGB", name=name), code="tiff_colours"
        )
    if page.imagedepth != 1:
        raise ImageError(
            Message("{name}: TIFF of a volume; save one plane as a file of its own", name=name), code="several_pages"
        )
    # Gray with two more channels may be anything; up to four channels beside RGB are common.
    extra = page.samplesperpixel - _color_channels(page)
    if not 0 <= extra <= (1 if photometric in (0, 1) else 4):
        raise ImageError(
            Message(
                "{name}: TIFF of {channels} channels; save it as RGB or gray", name=name, channels=page.samplesperpixel
            ),
            code="several_channels",
        )
    if page.is_tiled and page.tilewidth * page.tilelength > max(2**22, 4 * page.imagewidth * page.imagelength):
        raise ValueError("its tiles are much larger than the image")
    _check_segments(page)


def _color_channels(page: Any) -> int:
    """Return how many channels of a page are colors."""
    unexplained = page.samplesperpixel == 3 and not page.extrasamples
    return 3 if unexplained and int(page.photometric) in (0, 1) else _COLOURS[int(page.photometric)]


def _tag_name(value: Any) -> str:
    return getattr(value, "name", str(int(value)))


def _check_segments(page: Any) -> None:
    """Raise ValueError if a strip or tile is missing or larger than its place."""
    if not page.dataoffsets or len(page.dataoffsets) < numpy.prod(page.chunked):
        raise ValueError("strips or tiles are missing")
    size = page.parent.filehandle.size
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not count or offset + count > size:
            raise ValueError("truncated, strips or tiles are missing")
        if int(page.compression) in (7, 50001):
            page.parent.filehandle.seek(offset)
            head = io.BytesIO(page.parent.filehandle.read(count))
            with PIL.Image.open(head, formats=("JPEG", "WEBP")) as segment:
                width, height = segment.size
            if int(page.compression) == 7 and head.getvalue().count(b"\xff\xda") > 100:
                raise ValueError("a strip or tile of endless scans")
            across, down = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
            # A last strip or tile may be filled up to whole blocks of 16 pixels.
            if width > across + 16 or height > min(down, page.imagelength if not page.is_tiled else down) + 16:
                raise ValueError("a strip or tile is larger than its place")


def _samples(page: Any, name: str) -> numpy.ndarray:
    """Return the samples as stored: [H, W, channels]."""
    if page.dtype is None:
        raise ImageError(
            Message("{name}: TIFF of {bits}-bit samples; save it with 8 bits", name=name, bits=page.bitspersample),
            code="sample_format",
        )
    found = page.asarray(squeeze=False, maxworkers=1)
    # [planes, depth, rows, columns, samples per pixel]; one bit per sample is read as bool.
    found = found.astype("uint8") if found.dtype == bool else found
    return found[:, 0].transpose(1, 2, 0, 3).reshape(page.imagelength, page.imagewidth, -1)


def _convert(page: Any, samples: numpy.ndarray, name: str, stated: set[int], sample_bits: int) -> PIL.Image.Image:
    photometric = int(page.photometric)
    if photometric == 6 and int(page.compression) == 7:
        # The JPEG decoder has converted it to RGB.
        photometric = 2
    count = _color_channels(page)
    colours, alpha, premultiplied = samples[..., :count], *_alpha(page, samples, count)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    if photometric == 3:
        return _palette(page, colours[..., 0])
    whole = colours.dtype.kind == "u"
    if photometric in (5, 6, 8, 9) and not (whole and bits in (8, 16)):
        raise ImageError(
            Message(
                "{name}: TIFF of {photometrics} with {bits}-bit {dtype} samples; save it as RGB",
                name=name,
                photometrics=_PHOTOMETRICS[photometric],
                bits=bits,
                dtype=colours.dtype,
            ),
            code="sample_format",
        )
    if photometric in (5, 6, 8, 9):
        colours = (
            (colours >> 8).astype("uint8") if bits == 16 and photometric in (8, 9) else _scale_to_8_bits(colours, bits)
        )
    elif whole and bits < 16 and bits != 8:
        # Packed samples use all of their bits.
        colours = _scale_to_8_bits(colours, bits)
    elif colours.dtype == numpy.int8:
        raise ImageError(
            Message("{name}: TIFF of signed 8-bit samples; save it with unsigned ones", name=name), code="sample_format"
        )
    else:
        colours = bit_depth.eight_bits(colours, name, stated=stated, sample_bits=sample_bits)
    if photometric == 0:
        colours = 255 - colours
    if alpha is not None and photometric in (0, 1, 2):
        alpha = _eight_bit_alpha(alpha, bits, stated, sample_bits)
        if premultiplied:
            colours = _unpremultiply(colours, alpha)
        colours = numpy.concatenate([colours, alpha[..., None]], -1)
    return _image(2 if count == 3 and photometric < 2 else photometric, colours)


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


def _unpremultiply(colours: numpy.ndarray, alpha: numpy.ndarray) -> numpy.ndarray:
    shares = numpy.maximum(alpha, 1)[..., None].astype("float32") / 255
    return numpy.where(alpha[..., None] > 0, numpy.rint(colours / shares).clip(0, 255), colours).astype("uint8")


def _scale_to_8_bits(values: numpy.ndarray, bits: int) -> numpy.ndarray:
    """Scale unsigned values that use all of `bits` to uint8."""
    return values if bits == 8 else numpy.rint(values * (255 / (2**bits - 1))).astype("uint8")


def _palette(page: Any, indices: numpy.ndarray) -> PIL.Image.Image:
    table = numpy.asarray(page.colormap).T
    # As in libtiff: some programs write 8-bit values into the 16-bit entries.
    table = (table >> 8 if table.max(initial=0) > 255 else table).astype("uint8")
    return _image(2, table[numpy.minimum(indices, len(table) - 1)])


def _image(photometric: int, colours: numpy.ndarray) -> PIL.Image.Image:
    """Return a PIL image of uint8 [H, W, channels] in the color space of a file."""
    colours = numpy.ascontiguousarray(colours)
    size = colours.shape[1::-1]
    modes = {(0, 1): "L", (1, 1): "L", (0, 2): "LA", (1, 2): "LA", (5, 4): "CMYK", (6, 3): "YCbCr"}
    mode = modes.get((photometric, colours.shape[2]), "RGBA" if colours.shape[2] == 4 else "RGB")
    if photometric in (8, 9):
        # Pillow reads a and b of CIELab, which are signed; those of ICCLab begin at -128.
        turned = colours ^ numpy.array([0, 128, 128], "uint8") if photometric == 9 else colours
        return PIL.Image.frombytes("LAB", size, turned.tobytes())
    return PIL.Image.frombytes(mode, size, colours.tobytes())


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
