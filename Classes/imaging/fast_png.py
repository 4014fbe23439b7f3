"""Write a PNG file quickly: Pillow tries five filters on every row, and zlib takes several times as long."""

import struct

import numpy

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Filter 2 of the PNG specification: the difference to the row above.
_UP = 2


def encode_fast(image: numpy.ndarray) -> bytes:
    """Return uint8 [H, W, 3], RGB, as a PNG file that is 10 to 20 % larger than the smallest one."""
    # Late, so that a program that writes no such file does not load the library.
    from isal import isal_zlib

    height, width, _ = image.shape
    rows = image.reshape(height, -1)
    buffer = bytearray(height * (1 + rows.shape[1]))
    filtered = numpy.frombuffer(buffer, "uint8").reshape(height, -1)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    numpy.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    # 0.5 ms for a heat map of 299 x 299 pixels; libdeflate takes twice as long, zlib at level 1 four times.
    content = isal_zlib.compress(buffer, level=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    from isal import isal_zlib

    checksum = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))
