"""Large photographs in PNG and JPEG, read in parts in bounded memory."""

import io
import mmap
import pathlib
import struct
import tempfile
import threading
import zlib
from typing import Any

import numpy
import PIL.Image

from Classes.common.translation import Message
from Classes.imaging import decode, slide_reader
from Classes.imaging.slide_reader import Level, Slide

# Bytes of decoded rows of a PNG that are kept at once.
STRIP_BYTES = 12 * 2**20

# Pixels of one row by a PNG's color type, with 8 bits per channel: gray, RGB, gray and alpha, RGBA.
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}

# Start-of-frame markers of JPEG that are decoded row by row: baseline and extended sequential.
_SEQUENTIAL = (0xC0, 0xC1)


def open_photograph(path: pathlib.Path, limits: decode.DecodeLimits) -> Slide:
    """Open a PNG or JPEG.

    Raises:
      ImageError: see slide_reader.open_slide.
    """
    try:
        with slide_reader.any_size(), PIL.Image.open(path, formats=("PNG", "JPEG")) as image:
            (width, height), kind = image.size, str(image.format)
    except Exception as error:  # Pillow raises errors of many kinds on damaged files
        raise slide_reader.damaged(path, "photograph", error) from error
    if width * height <= limits.max_pixels and max(width, height) <= limits.max_side:
        return WholeImage(path, kind, decode.decode_image(path, limits))
    return PngSlide(path, width, height) if kind == "PNG" else JpegSlide(path, width, height)


class WholeImage(Slide):
    """A photograph that is small enough to be decoded at once.

    Args:
      pixels: uint8 [H, W, 3], RGB.
    """

    def __init__(self, path: pathlib.Path, kind: str, pixels: numpy.ndarray) -> None:
        height, width = pixels.shape[:2]
        super().__init__(path, kind, (Level(width, height, 1.0),))
        self._pixels = pixels

    def _read(self, x: int, y: int, width: int, height: int, level: int) -> numpy.ndarray:
        return self._pixels[y : y + height, x : x + width]


class PngSlide(Slide):
    """A PNG, decompressed strip by strip.

    What zlib needs to go on at the start of each strip is kept (about 40 KB), so that any strip can be read again.
    """

    def __init__(self, path: pathlib.Path, width: int, height: int) -> None:
        super().__init__(path, "PNG", (Level(width, height, 1.0),))
        self._chunks, (bits, color, interlaced) = _png_chunks(path)
        if bits != 8 or color not in _CHANNELS or interlaced:
            raise slide_reader.not_in_parts(path, Message("PNG with a palette, 16 bits or interlacing"), width, height)
        self._color, self._stride = color, width * _CHANNELS[color]
        self._rows = max(1, STRIP_BYTES // (width * 3))
        self._file, self._lock = open(path, "rb"), threading.Lock()  # noqa: SIM115 - closed by close()
        # (decompressor, next chunk, bytes that it has not taken yet, last row before the strip), one per strip.
        self._states: list[tuple[Any, int, bytes, bytes]] = [(zlib.decompressobj(), 0, b"", b"\0" * self._stride)]
        self._strip: tuple[int, numpy.ndarray] | None = None

    def _read(self, x: int, y: int, width: int, height: int, level: int) -> numpy.ndarray:
        part = numpy.empty((height, width, 3), "uint8")
        with self._lock:
            for index in range(y // self._rows, (y + height - 1) // self._rows + 1):
                strip, top = self._load(index), index * self._rows
                first, last = max(y, top), min(y + height, top + len(strip))
                part[first - y : last - y] = strip[first - top : last - top, x : x + width]
        return part

    def _load(self, index: int) -> numpy.ndarray:
        if self._strip is None or self._strip[0] != index:
            for each in range(min(index, len(self._states) - 1), index + 1):
                self._strip = (each, self._decode(each))
        assert self._strip is not None
        return self._strip[1]

    def _decode(self, index: int) -> numpy.ndarray:
        """Return uint8 [h, W, 3] of a strip, and keep the state after it."""
        saved, place, rest, before = self._states[index]
        inflate = saved.copy()
        rows = min(self._rows, self.height - index * self._rows)
        wanted, data = rows * (self._stride + 1), bytearray()
        while len(data) < wanted:
            if not rest:
                if place == len(self._chunks):
                    raise ValueError("truncated")
                offset, length = self._chunks[place]
                self._file.seek(offset)
                rest, place = self._file.read(length), place + 1
            data += inflate.decompress(rest, wanted - len(data))
            rest = inflate.unconsumed_tail
        # The row before the strip, unfiltered, and the filtered rows make a small PNG that Pillow decodes.
        content = zlib.compress(b"\0" + before + bytes(data), 0)
        header = struct.pack(">IIBBBBB", self.width, rows + 1, 8, self._color, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
        )
        with slide_reader.any_size(), PIL.Image.open(io.BytesIO(png)) as image:
            stored = numpy.asarray(image)
        if index + 1 == len(self._states):
            self._states.append((inflate, place, rest, stored[-1].tobytes()))
        return _on_white(stored[1:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JpegSlide(Slide):
    """A JPEG, decoded once into a temporary file, because rows in the middle cannot be found without those above."""

    def __init__(self, path: pathlib.Path, width: int, height: int) -> None:
        super().__init__(path, "JPEG", (Level(width, height, 1.0),))
        if _frame_marker(path) not in _SEQUENTIAL:
            # A progressive JPEG needs all of its coefficients in memory.
            raise slide_reader.not_in_parts(path, Message("progressive JPEG"), width, height)
        self._file = tempfile.TemporaryFile(prefix="ALL-")  # noqa: SIM115 - closed by close()
        try:
            self._file.truncate(width * height * 3)
            self._map = mmap.mmap(self._file.fileno(), width * height * 3)
            self._pixels = numpy.frombuffer(self._map, "uint8").reshape(height, width, 3)
            self._decode(path)
        except Exception as error:
            self.close()
            raise slide_reader.damaged(path, "JPEG", error) from error

    def _decode(self, path: pathlib.Path) -> None:
        import imagecodecs

        done = threading.Event()
        keeper = threading.Thread(target=self._release_pages, args=(done,), daemon=True)
        keeper.start()
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                imagecodecs.jpeg8_decode(data, outcolorspace="RGB", out=self._pixels)
        finally:
            done.set()
            keeper.join()
            self._map.madvise(mmap.MADV_DONTNEED)

    def _release_pages(self, done: threading.Event) -> None:
        """Give decoded rows back to the system, which has them in the file."""
        while not done.wait(0.05):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _read(self, x: int, y: int, width: int, height: int, level: int) -> numpy.ndarray:
        part = self._pixels[y : y + height, x : x + width].copy()
        self._map.madvise(mmap.MADV_DONTNEED)
        return part

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _png_chunks(path: pathlib.Path) -> tuple[list[tuple[int, int]], tuple[int, int, int]]:
    """Return (offset, length) of each piece of pixel data, and (bits, color type, interlacing)."""
    chunks, header = [], (0, 0, 0)
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IHDR":
                bits, color, _method, _filter, interlaced = struct.unpack(">8x5B", file.read(13))
                header = (bits, color, interlaced)
                file.seek(4, 1)
                continue
            if kind == b"IDAT":
                chunks.append((file.tell(), length))
            file.seek(length + 4, 1)
    return chunks, header


def _on_white(pixels: numpy.ndarray) -> numpy.ndarray:
    """Return uint8 [H, W, 3] of gray, RGB, or either with alpha."""
    if pixels.ndim == 2:
        return numpy.repeat(pixels[..., None], 3, axis=-1)
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., -1:].astype("uint16")
    mixed = (pixels[..., :-1] * alpha + 255 * (255 - alpha) + 127) // 255
    return numpy.broadcast_to(mixed.astype("uint8"), (*pixels.shape[:2], 3))


def _frame_marker(path: pathlib.Path) -> int:
    """Return the second byte of a JPEG's start-of-frame marker; 0 if there is none."""
    with open(path, "rb") as file:
        file.seek(2)
        while len(head := file.read(4)) == 4:
            marker, length = head[1], int.from_bytes(head[2:], "big")
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                return marker
            file.seek(length - 2, 1)
    return 0
