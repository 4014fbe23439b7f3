"""TIFF pages: check that a page can be decoded, and read its samples as they are stored."""

import io
import struct
from typing import Any

import numpy
import PIL.Image

from Classes.common.errors import ImageError
from Classes.common.translation import Message

_COMPRESSIONS = {
    1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "ZSTD",
    50001: "WebP",
}  # fmt: skip
# JPEG and WebP say how large a strip or tile is, which may be more than its place.
_WITH_SIZES = (7, 50001)
PHOTOMETRICS = {
    0: "WhiteIsZero",
    1: "BlackIsZero",
    2: "RGB",
    3: "palette",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
}
_COLOR_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}


def check_supported(page: Any, name: str) -> None:
    """Reject, before decoding, what is not supported or would need more memory than its size suggests."""
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
    if photometric not in PHOTOMETRICS or (photometric == 5 and page.tags.valueof(332, 1) != 1):
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
    extra = page.samplesperpixel - color_channels(page)
    if not 0 <= extra <= (1 if photometric in (0, 1) else 4):
        raise ImageError(
            Message(
                "{name}: TIFF of {channels} channels; save it as RGB or gray", name=name, channels=page.samplesperpixel
            ),
            code="several_channels",
        )
    if page.is_tiled and page.tilewidth * page.tilelength > max(2**22, 4 * page.imagewidth * page.imagelength):
        raise ValueError("its tiles are much larger than the image")


def color_channels(page: Any) -> int:
    """Return how many channels of a page are colors."""
    unexplained = page.samplesperpixel == 3 and not page.extrasamples
    return 3 if unexplained and int(page.photometric) in (0, 1) else _COLOR_CHANNELS[int(page.photometric)]


def _tag_name(value: Any) -> str:
    return getattr(value, "name", str(int(value)))


def check_segments(page: Any) -> None:
    """Raise ValueError if a strip or tile is missing, or would need more memory or time than its place suggests."""
    check_extents(page)
    file = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not count:
            raise ValueError("strips or tiles are missing")
        if int(page.compression) in _WITH_SIZES:
            file.seek(offset)
            check_segment(page, file.read(count))


def check_extents(page: Any) -> None:
    """Raise ValueError if the file ends before its strips or tiles do."""
    if not page.dataoffsets or len(page.dataoffsets) < numpy.prod(page.chunked):
        raise ValueError("strips or tiles are missing")
    ends = numpy.array(page.dataoffsets, "uint64") + numpy.array(page.databytecounts, "uint64")
    if int(ends.max()) > page.parent.filehandle.size:
        raise ValueError("truncated, strips or tiles are missing")


def check_segment(page: Any, data: bytes) -> None:
    """Raise ValueError if an encoded strip or tile is larger than its place, or has endless scans."""
    if int(page.compression) not in _WITH_SIZES:
        return
    if int(page.compression) == 7:
        width, height = _jpeg_size(data)
        if data.count(b"\xff\xda") > 100:
            raise ValueError("a strip or tile of endless scans")
    else:
        with PIL.Image.open(io.BytesIO(data), formats=("WEBP",)) as segment:
            width, height = segment.size
    across, down = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    # A last strip or tile may be filled up to whole blocks of 16 pixels.
    if width > across + 16 or height > min(down, page.imagelength if not page.is_tiled else down) + 16:
        raise ValueError("a strip or tile is larger than its place")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    # Imported late: it takes long. Pillow would take a third of the time of the decoder for this.
    from tifffile import tifffile

    try:
        _bits, height, width, _channels = tifffile.jpeg_shape(data)
    except struct.error as error:
        raise ValueError("a strip or tile is damaged") from error
    return width, height


def read_samples(page: Any, name: str) -> numpy.ndarray:
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
