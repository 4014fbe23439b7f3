"""PNG files: ignore metadata with a wrong checksum, and read 16 bits per channel, which Pillow does not."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy
import PIL.Image

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.imaging import bit_depth

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# First column, first row, distance of columns, distance of rows of each pass of an interlaced file.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def drop_damaged_metadata(file: BinaryIO, name: str) -> BinaryIO:
    """Return a PNG without metadata whose checksum is wrong, as libpng reads it; other files unchanged.

    Raises:
      ImageError: "bad_checksum", in a part that the picture needs.
    """
    file.seek(0)
    is_png = file.read(len(SIGNATURE)) == SIGNATURE
    file.seek(0)
    if not is_png:
        return file
    data = memoryview(file.read())
    file.seek(0)
    bad = [(kind, start, end) for kind, start, end, valid in _chunks(data) if not valid]
    for kind, _, _ in bad:
        # A capital letter marks a chunk that the picture needs.
        if not kind[0] & 32:
            raise ImageError(
                Message(
                    "{name}: damaged image (wrong checksum in its {decode} part); send it again or leave it out",
                    name=name,
                    decode=kind.decode("latin-1"),
                ),
                code="bad_checksum",
            )
    if not bad:
        return file
    parts, position = [], 0
    for _, start, end in bad:
        parts.append(data[position:start])
        position = end
    return io.BytesIO(b"".join([*parts, data[position:]]))


def bits_per_channel(file: BinaryIO) -> int:
    """Return the bit depth in the header; 0 if the file ends before it."""
    file.seek(24)
    bits = file.read(1)
    return bits[0] if bits else 0


def decode_16_bit(image: PIL.Image.Image, file: BinaryIO, name: str, sample_bits: int) -> PIL.Image.Image:
    """Decode a PNG of 16 bits per channel and scale it to 8 bits; see bit_depth.eight_bits.

    Args:
      image: the same file, opened by Pillow, which checks it and reads its metadata.
      file: the file.
      name: name of the image in error messages.
      sample_bits: the configuration key `SampleBits`.
    """
    import imagecodecs

    # Pillow detects truncated files and reads the metadata behind the pixels.
    image.load()
    file.seek(0)
    data = file.read()
    stated = {max(data[start + 8 : end - 4]) for kind, start, end, _ in _chunks(data) if kind == b"sBIT"}
    values = imagecodecs.png_decode(_without_metadata(data))
    values = values.reshape(*values.shape[:2], -1)
    count = 1 if values.shape[2] < 3 else 3
    pixels = bit_depth.eight_bits(values[..., :count], name, stated=stated, sample_bits=sample_bits)
    if values.shape[2] > count:
        pixels = numpy.concatenate([pixels, (values[..., count:] >> 8).astype("uint8")], -1)
    result = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    result.info, result.format = image.info, image.format
    transparent = result.info.pop("transparency", None)
    if transparent is not None and values.shape[2] == count:
        # One 16-bit color is transparent (tRNS).
        alpha = (values != numpy.atleast_1d(transparent)).any(axis=-1)
        result.putalpha(PIL.Image.fromarray(alpha.astype("uint8") * 255))
    result.getexif().update(image.getexif())
    return result


def _chunks(data: bytes | memoryview) -> Iterator[tuple[bytes, int, int, bool]]:
    """Yield (kind, start, end, whether the checksum is right) of each complete chunk."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            return
        kind = bytes(data[position + 4 : position + 8])
        checksum = zlib.crc32(data[position + 4 : end - 4])
        yield kind, position, end, checksum == int.from_bytes(data[end - 4 : end], "big")
        position = end
        if kind == b"IEND":
            return


def _without_metadata(data: bytes) -> bytes:
    """Return a PNG of a valid header and exactly the bytes that its pixels need: libpng prints remarks on the rest."""
    parts = [(kind, data[start + 8 : end - 4]) for kind, start, end, _ in _chunks(data)]
    header = next(content for kind, content in parts if kind == b"IHDR")
    width, height, bits, colors, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    pixel = bits // 8 * {0: 1, 2: 3, 4: 2, 6: 4}[colors]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = ((-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in passes)
    expected = sum(rows * (1 + columns * pixel) for columns, rows in sizes if rows > 0 and columns > 0)
    inflate = zlib.decompressobj()
    found = inflate.decompress(b"".join(content for kind, content in parts if kind == b"IDAT"), expected + 1)
    if len(found) != expected:
        raise ValueError("more or fewer pixels than its size")
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colors, 0, 0, int(interlaced > 0))),
        (b"IDAT", zlib.compress(found, 0)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
