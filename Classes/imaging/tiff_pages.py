"""TIFF files: choose the page with the photograph; tifffile is imported late."""

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy
import PIL.Image

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.imaging import tiff_samples

# II or MM, then 42 (TIFF) or 43 (BigTIFF), each in its own byte order.
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# More pages than any file of one photograph has; further pages are not read.
PAGES = 32

_RAW = {32803: "CFA", 34892: "LinearRaw"}


@contextlib.contextmanager
def open_pages(file: BinaryIO, name: str) -> Iterator[list[Any]]:
    """Yield the page of a TIFF with the photograph.

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
                    "{name}: contains the camera's raw data ({raw}), which needs the camera's own program; save it "
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
            "{name}: contains {count} images (a stack, channels or several scans). Save the one to classify as "
            "a file of "
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
    tiff_samples.check_supported(page, "")
    tiff_samples.check_segments(page)
    channel = PIL.Image.fromarray(tiff_samples.read_samples(page, "")[..., 0].astype("float32"))
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
        # ImageJ's own order for channels without colors.
        return [0, 1, 2]
    brightest = [tuple(int(value) for value in numpy.asarray(table)[:, -1]) for table in tables]
    return _order(brightest)


def _order(colors: list[tuple[int, ...]]) -> list[int] | None:
    pure = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    return [colors.index(each) for each in pure] if sorted(colors) == sorted(pure) else None


def _ome_order(text: str) -> list[int] | None:
    """Return `_channel_order` from OME-XML: by the colors of the channels, else by their names."""
    pixels = re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    sizes = ("SizeC", 3), ("SizeZ", 1), ("SizeT", 1)
    if len(pixels) != 1 or not all(re.search(rf'\b{key}="{value}"', pixels[0]) for key, value in sizes):
        return None
    channels = re.findall(r"<(?:\w+:)?Channel\b[^>]*>", text)
    colors = [re.search(r'\bColor="(-?\d+)"', channel) for channel in channels]
    if len(channels) == 3 and all(colors):
        # RGBA in 32 bits.
        values = [int(found[1]) & 0xFFFFFFFF for found in colors if found]
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
