"""TIFF files with tiles or strips, read in parts without OpenSlide."""

import collections
import logging
import os
import pathlib
import threading
from typing import Any

import numpy

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.imaging import slide_reader, tiff_samples
from Classes.imaging.slide_reader import Level, Slide

# Bytes of decoded tiles that are kept, and the most that one tile or strip may have.
CACHE, LARGEST_SEGMENT = 48 * 2**20, 64 * 2**20

# Two levels show the same if their proportions differ by less than this.
SAME_SHAPE = 0.02


class TiffSlide(Slide):
    """A TIFF file; reads may come from several threads.

    Args:
      path: the file.
      tiff: tifffile.TiffFile.
      pages: of the levels, the largest first.
    """

    def __init__(self, path: pathlib.Path, tiff: Any, pages: list[Any]) -> None:
        width = pages[0].imagewidth
        levels = tuple(Level(page.imagewidth, page.imagelength, width / page.imagewidth) for page in pages)
        super().__init__(path, "TIFF", levels, None, {"description": pages[0].description or ""})
        self._tiff, self._pages = tiff, pages
        self._tables = [page.jpegtables for page in pages]
        self._cache: collections.OrderedDict[tuple[int, int], numpy.ndarray] = collections.OrderedDict()
        self._cached, self._lock = 0, threading.Lock()

    def _read(self, x: int, y: int, width: int, height: int, level: int) -> numpy.ndarray:
        page = self._pages[level]
        part = numpy.empty((height, width, 3), "uint8")
        rows, columns = _segment_size(page)
        across = -(-page.imagewidth // columns)
        for row in range(y // rows, (y + height - 1) // rows + 1):
            for column in range(x // columns, (x + width - 1) // columns + 1):
                top, left = row * rows, column * columns
                first, last = max(y, top), min(y + height, top + rows)
                start, end = max(x, left), min(x + width, left + columns)
                segment = self._segment(level, row * across + column)
                part[first - y : last - y, start - x : end - x] = segment[
                    first - top : last - top, start - left : end - left
                ]
        return part

    def _segment(self, level: int, index: int) -> numpy.ndarray:
        """Return uint8 [h, w, 3] of a tile or strip."""
        with self._lock:
            found = self._cache.get((level, index))
            if found is not None:
                self._cache.move_to_end((level, index))
                return found
        page = self._pages[level]
        count = page.databytecounts[index]
        # Positioned reads need no lock.
        data = os.pread(self._tiff.filehandle.fileno(), count, page.dataoffsets[index]) if count else None
        if count and len(data or b"") < count:
            raise ValueError("truncated, tiles are missing")
        if data:
            tiff_samples.check_segment(page, data)
        decoded = page.decode(data, index, jpegtables=self._tables[level])[0] if count else None
        segment = _to_rgb(page, decoded)
        with self._lock:
            self._cache[level, index] = segment
            self._cached += segment.nbytes
            while self._cached > CACHE and len(self._cache) > 1:
                self._cached -= self._cache.popitem(last=False)[1].nbytes
        return segment

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()


def open_tiff(path: pathlib.Path) -> Slide:
    """Open a TIFF file.

    Raises:
      ImageError: `unsupported_slide` or `not_readable_in_parts`; `damaged_slide`.
    """
    import tifffile

    # Nobody can act on its remarks about unusual files.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    tiff = None
    try:
        tiff = tifffile.TiffFile(path)
        pages = _levels(tiff)
        _check(path, pages[0])
        pages = [pages[0], *(page for page in pages[1:] if _readable(page))]
        return TiffSlide(path, tiff, pages)
    except Exception as error:  # tifffile raises errors of many kinds on damaged files
        if tiff is not None:
            tiff.close()
        if isinstance(error, ImageError):
            raise
        raise slide_reader.damaged(path, "TIFF", error) from error


def _levels(tiff: Any) -> list[Any]:
    """Return the pages that show the same as the largest one, the largest first."""
    pages = []
    for page in tiff.pages:
        pages += [page, *(page.pages or ())] if page.subifds else [page]
        if len(pages) > 64:
            break
    largest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
    shape = largest.imagewidth / max(1, largest.imagelength)
    same = {largest.imagewidth: largest}
    for page in pages:
        near = abs(page.imagewidth / max(1, page.imagelength) / shape - 1) <= SAME_SHAPE
        if near and page.imagewidth >= 16 and page.imagewidth not in same:
            same[page.imagewidth] = page
    return [same[width] for width in sorted(same, reverse=True)]


def _check(path: pathlib.Path, page: Any) -> None:
    """Raise ImageError unless the tiles of a page can be decoded one by one."""
    tiff_samples.check_supported(page, str(path))
    # Each tile is checked when it is read: a slide has ten thousands.
    tiff_samples.check_extents(page)
    bits, photometric = page.bitspersample, int(page.photometric)
    if page.dtype != numpy.uint8 or bits not in (8, (8,) * page.samplesperpixel):
        raise slide_reader.unsupported(path, Message("TIFF with {bits} bits per sample", bits=bits))
    if photometric not in (0, 1, 2, 6) or (page.planarconfig != 1 and page.samplesperpixel > 1):
        raise slide_reader.unsupported(path, Message("TIFF with these colors"))
    if not _readable(page):
        raise slide_reader.not_in_parts(path, Message("TIFF in one piece"), page.imagewidth, page.imagelength)


def _readable(page: Any) -> bool:
    rows, columns = _segment_size(page)
    return bool(rows * columns * page.samplesperpixel <= LARGEST_SEGMENT) and page.dtype == numpy.uint8


def _segment_size(page: Any) -> tuple[int, int]:
    """Return rows and columns of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip or page.imagelength, page.imagelength), page.imagewidth


def _to_rgb(page: Any, decoded: numpy.ndarray | None) -> numpy.ndarray:
    rows, columns = _segment_size(page)
    if decoded is None:
        # A tile that was not written is empty glass.
        return numpy.full((rows, columns, 3), 255, "uint8")
    samples = decoded[0] if decoded.ndim == 4 else decoded
    if int(page.photometric) == 0:
        samples = 255 - samples
    return samples[..., :3] if samples.shape[-1] >= 3 else numpy.repeat(samples[..., :1], 3, axis=-1)
