"""JPEG files: decode at a reduced scale, accept a missing end mark, reject files with endless scans."""

import io
import math
from typing import BinaryIO

import PIL.Image
import PIL.JpegImagePlugin

from Classes.common.errors import ImageError
from Classes.common.translation import Message

# A JPEG decoded at a reduced scale keeps at least this many times the side that is needed. Measured on photos of blood
# cells enlarged to 1,500 … 4,800 pixels: the network's pixels then differ from those of the full decode by 0.2 of 255
# levels on average, by 0.5 under strong noise, and by 6 in the worst pixel.
DRAFT_MARGIN = 2

# A JPEG of a few kilobytes can request thousands of passes over all of its pixels; photos have about ten.
MAX_SCANS = 100

_SCAN = b"\xff\xda"
_END = b"\xff\xd9"


def set_draft_size(image: PIL.Image.Image, at_least: float) -> None:
    """Let libjpeg decode at the smallest scale that keeps DRAFT_MARGIN times the pixels that are needed per side."""
    factor = min(image.size) / (DRAFT_MARGIN * at_least)
    if factor >= 2:
        width, height = image.size
        image.draft(None, (math.ceil(width / factor), math.ceil(height / factor)))


def check_scans(image: PIL.Image.Image, name: str, file: BinaryIO) -> None:
    """Raise ImageError if a progressive JPEG has more than MAX_SCANS scans."""
    if not image.info.get("progressive"):
        return
    position = file.tell()
    file.seek(0)
    # Inside the data of a scan the byte FF is never followed by DA.
    scans = sum(block.count(_SCAN) for block in iter(lambda: file.read(1 << 20), b""))
    file.seek(position)
    if scans > MAX_SCANS:
        raise ImageError(
            Message(
                "{name}: {scans} scans, which no camera writes; save it again as a plain JPEG", name=name, scans=scans
            )
        )


def load(image: PIL.JpegImagePlugin.JpegImageFile, file: BinaryIO) -> PIL.Image.Image:
    """Decode a JPEG; one that lacks only the two bytes of its end mark counts as complete.

    Raises:
      OSError: the file is damaged or truncated.
    """
    try:
        image.load()
        return image
    except OSError as error:
        file.seek(0)
        data = file.read()
        if _END in data[-2:] or "truncated" not in str(error) or image.format != "JPEG":
            raise
        if image.info.get("progressive") and not _has_all_scans(data, len(image.layer)):
            raise
        # If pixels are missing, what precedes the end mark shows in the picture; otherwise the decoder skips it.
        body = data.removesuffix(b"\xff")
        plain, other = (_decode_again(image, body + filling + _END) for filling in (b"", b"\x55\xaa" * 4096))
        if plain.tobytes() != other.tobytes():
            raise
        return plain


def _has_all_scans(data: bytes, components: int) -> bool:
    """Return whether a progressive JPEG has all bits of the 64 coefficients of each component."""
    missing_bits: dict[tuple[int, int], int] = {}
    position = data.find(_SCAN)
    while position >= 0 and position + 5 + 2 * data[position + 4] + 3 <= len(data):
        count = data[position + 4]
        first, last, bits = data[position + 5 + 2 * count : position + 8 + 2 * count]
        for component in data[position + 5 : position + 5 + 2 * count : 2]:
            missing_bits |= {(component, number): bits & 15 for number in range(first, min(last, 63) + 1)}
        position = data.find(_SCAN, position + 2)
    return len(missing_bits) == 64 * components and not any(missing_bits.values())


def _decode_again(image: PIL.Image.Image, data: bytes) -> PIL.Image.Image:
    """Decode other bytes at the scale of `image`."""
    with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as other:
        if other.size != image.size:
            other.draft(None, image.size)
        other.load()
        return other
