"""Slides that OpenSlide reads; the library is optional and imported late."""

import pathlib
import sys
from typing import Any

import numpy
import PIL.Image

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.imaging import slide_reader
from Classes.imaging.slide_reader import Level, Slide

# Bytes of decoded tiles that OpenSlide keeps.
CACHE = 64 * 2**20


class OpenSlideSlide(Slide):
    """A slide that OpenSlide has opened; reads may come from several threads."""

    def __init__(self, path: pathlib.Path, kind: str, handle: Any) -> None:
        sizes, downsamples = handle.level_dimensions, handle.level_downsamples
        levels = tuple(Level(size[0], size[1], float(factor)) for size, factor in zip(sizes, downsamples, strict=True))
        super().__init__(path, kind, levels, _microns(handle.properties), dict(handle.properties))
        self._handle = handle

    def _read(self, x: int, y: int, width: int, height: int, level: int) -> numpy.ndarray:
        factor = self.levels[level].downsample
        picture = self._handle.read_region((round(x * factor), round(y * factor)), level, (width, height))
        # Where a scanner took no picture, the slide is transparent.
        if picture.getextrema()[3][0] < 255:
            picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture)
        return numpy.asarray(picture.convert("RGB"))

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def detect(path: pathlib.Path) -> str | None:
    """Return the name of the format in OpenSlide's terms; None if it reads it not, or is not installed."""
    try:
        import openslide
    except (ImportError, OSError):
        return None
    found: str | None = openslide.OpenSlide.detect_format(path)
    return found


def open_scan(path: pathlib.Path) -> Slide:
    """Open a slide with OpenSlide.

    Raises:
      ImageError: see slide_reader.open_slide.
    """
    kind = slide_reader.SCANNER_FORMATS.get(path.suffix.lower(), "TIFF")
    _require_companion(path, kind)
    try:
        import openslide
    # OSError: the Python package without the C library.
    except (ImportError, OSError) as error:
        raise ImageError(
            Message(
                "{name}: {kind} needs OpenSlide, which is not installed. Run {python} -m pip install -r "
                "Required/requirements-slides.txt",
                name=path,
                kind=kind,
                python=sys.executable,
            ),
            "openslide_missing",
        ) from error
    try:
        handle = openslide.OpenSlide(path)
        handle.set_cache(openslide.OpenSlideCache(CACHE))
        return OpenSlideSlide(path, kind, handle)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise ImageError(
            Message(
                "{name}: OpenSlide {version} does not know this file as {kind}. Check that the whole file was copied.",
                name=path,
                version=openslide.__library_version__,
                kind=kind,
            ),
            "unknown_slide_format",
        ) from error
    except openslide.OpenSlideError as error:
        raise slide_reader.damaged(path, kind, error) from error


def _require_companion(path: pathlib.Path, kind: str) -> None:
    """Raise ImageError if the folder with the pixels of a slide is missing."""
    if path.suffix.lower() == ".mrxs" and not (path.with_suffix("") / "Slidedat.ini").is_file():
        raise ImageError(
            Message(
                "{name}: {kind} keeps its pixels in the folder {folder}, which is missing or incomplete. Copy that "
                "folder beside the file.",
                name=path,
                kind=kind,
                folder=path.with_suffix(""),
            ),
            "companion_missing",
        )


def _microns(properties: Any) -> float | None:
    """Return the mean µm per pixel in x and y, which differ by less than a thousandth on real slides."""
    try:
        found = (float(properties["openslide.mpp-x"]) + float(properties["openslide.mpp-y"])) / 2
    except (KeyError, ValueError):
        return None
    return found if 0 < found < 1000 else None
