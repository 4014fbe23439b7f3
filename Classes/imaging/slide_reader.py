"""Read parts of images that are too large to decode at once: scanned slides, and very large photographs.

OpenSlide (Goode et al., Journal of Pathology Informatics 4 (2013) 27) reads the formats of scanners; tiled and stripped
TIFF, PNG and JPEG are read without it. `open_slide` chooses by content and name.
"""

import abc
import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy
import PIL.Image

from Classes.common.errors import ImageError, system_reason
from Classes.common.translation import Message
from Classes.imaging import decode, file_kinds, tiff_pages

# Formats that only OpenSlide reads, by extension, with the names that people know.
SCANNER_FORMATS = {
    ".svs": "Aperio SVS",
    ".ndpi": "Hamamatsu NDPI",
    ".vms": "Hamamatsu VMS",
    ".vmu": "Hamamatsu VMU",
    ".mrxs": "MIRAX",
    ".scn": "Leica SCN",
    ".bif": "Ventana BIF",
    ".svslide": "Sakura",
    ".czi": "Zeiss CZI",
    ".dcm": "DICOM",
}

# What turns any large image into one that can be read in parts.
CONVERT = Message("Convert it with: vips tiffsave FILE OUT.tif --tile --pyramid --compression jpeg")


class Level(NamedTuple):
    """A copy of a slide at lower resolution; the first level is the slide itself.

    Attributes:
      width, height: in pixels.
      downsample: pixels of the slide per pixel of the level.
    """

    width: int
    height: int
    downsample: float


class Slide(abc.ABC):
    """An image that is read in parts.

    Attributes:
      path: the file.
      kind: name of the format, such as "Aperio SVS".
      levels: from the largest to the smallest.
      microns: µm per pixel that the scanner states; None: see fields.scale.
      properties: further text that the file states.
    """

    def __init__(
        self,
        path: pathlib.Path,
        kind: str,
        levels: tuple[Level, ...],
        microns: float | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self.kind, self.levels, self.microns = path, kind, levels, microns
        self.properties = dict(properties or {})

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.levels[0].height

    def read(self, x: int, y: int, width: int, height: int, level: int = 0) -> numpy.ndarray:
        """Return a part of a level.

        Args:
          x, y, width, height: in pixels of the level; what lies outside of the slide is white.
        Returns:
          uint8 [height, width, 3], RGB on white.
        Raises:
          ImageError: `damaged_slide`.
        """
        size = self.levels[level]
        left, top, right, bottom = max(0, x), max(0, y), min(size.width, x + width), min(size.height, y + height)
        if (left, top, right, bottom) == (x, y, x + width, y + height):
            return self._checked(left, top, width, height, level)
        part = numpy.full((height, width, 3), 255, "uint8")
        if right > left and bottom > top:
            inside = self._checked(left, top, right - left, bottom - top, level)
            part[top - y : bottom - y, left - x : right - x] = inside
        return part

    def _checked(self, x: int, y: int, width: int, height: int, level: int) -> numpy.ndarray:
        try:
            return self._read(x, y, width, height, level)
        except ImageError:
            raise
        except Exception as error:  # the libraries raise all kinds of errors on damaged bytes
            raise damaged(self.path, self.kind, error) from error

    @abc.abstractmethod
    def _read(self, x: int, y: int, width: int, height: int, level: int) -> numpy.ndarray:
        """Return uint8 [height, width, 3] of a part that lies inside of a level."""

    def close(self) -> None:  # noqa: B027 - not every reader has something to release
        """Release the file."""

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


def open_slide(path: str | os.PathLike[str], limits: decode.DecodeLimits = decode.DEFAULT_LIMITS) -> Slide:
    """Open a slide or a large photograph.

    Args:
      path: the file.
      limits: an image of at most `max_pixels` may be decoded at once.
    Raises:
      ImageError: one line with a stable code: `openslide_missing`, `companion_missing`, `damaged_slide`,
        `unknown_slide_format`, `not_readable_in_parts`, `unsupported_slide`, or a code of decode.decode_image.
    """
    path = pathlib.Path(path)
    head = _head(path)
    if path.suffix.lower() in SCANNER_FORMATS or head[128:132] == b"DICM":
        return _open_scan(path)
    # Imported late, as every reader: a run needs one of them.
    if head[:4] in tiff_pages.SIGNATURES:
        from Classes.imaging import slide_tiff

        try:
            return slide_tiff.open_tiff(path)
        except ImageError as error:
            if error.code != "unsupported_slide" or not _openslide_reads(path):
                raise
            return _open_scan(path)
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        from Classes.imaging import slide_photograph

        return slide_photograph.open_photograph(path, limits)
    if file_kinds.identify(head) is None and _openslide_reads(path):
        return _open_scan(path)
    return _open_small(path, limits, head)


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Lift Pillow's limit of pixels while a header, or a strip of bounded size, is read."""
    limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = limit


def damaged(path: pathlib.Path, kind: str, error: Exception) -> ImageError:
    """Return the error for a file that its library cannot read."""
    lines = (system_reason(error) if isinstance(error, OSError) else str(error)).strip().splitlines()
    reason = lines[0][:200] if lines else type(error).__name__
    return ImageError(
        Message(
            "{name}: damaged {kind} file ({reason}). Copy it again from the scanner or leave it out.",
            name=path,
            kind=kind,
            reason=reason,
        ),
        "damaged_slide",
    )


def unsupported(path: pathlib.Path, what: str) -> ImageError:
    """Return the error for a format that is known but not read."""
    return ImageError(
        Message("{name}: {what} is not read in parts. {convert}", name=path, what=what, convert=CONVERT),
        "unsupported_slide",
    )


def not_in_parts(path: pathlib.Path, what: str, width: int, height: int) -> ImageError:
    """Return the error for a large image of a format that can only be decoded as a whole."""
    return ImageError(
        Message(
            "{name}: {what} of {width}x{height} pixels cannot be read in parts and has more pixels than MaxPixels. "
            "{convert}",
            name=path,
            what=what,
            width=width,
            height=height,
            convert=CONVERT,
        ),
        "not_readable_in_parts",
    )


def _head(path: pathlib.Path) -> bytes:
    try:
        if not path.is_file():
            path.stat()
            raise ImageError(Message("{name}: is a folder or a device; give the name of a slide", name=path))
        with open(path, "rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise ImageError(Message("{name}: {reason}", name=path, reason=system_reason(error))) from error
    if not head:
        raise ImageError(Message("{name}: the file is empty; copy it again", name=path), "empty_file")
    return head


def _open_scan(path: pathlib.Path) -> Slide:
    from Classes.imaging import slide_openslide

    return slide_openslide.open_scan(path)


def _openslide_reads(path: pathlib.Path) -> bool:
    from Classes.imaging import slide_openslide

    return slide_openslide.detect(path) is not None


def _open_small(path: pathlib.Path, limits: decode.DecodeLimits, head: bytes) -> Slide:
    """Open an image of another kind, which must be small enough to be decoded at once."""
    from Classes.imaging import slide_photograph

    try:
        return slide_photograph.WholeImage(path, "photograph", decode.decode_image(path, limits))
    except ImageError as error:
        if error.code == "image_too_large":
            kind = {b"BM": "BMP", b"GI": "GIF", b"RI": "WebP", b"P6": "PPM", b"P5": "PGM"}.get(head[:2], "an image")
            raise ImageError(
                Message("{name}: {kind} cannot be read in parts. {convert}", name=path, kind=kind, convert=CONVERT),
                "not_readable_in_parts",
            ) from error
        if error.code != "not_an_image":
            raise
        found = file_kinds.identify(head)
        raise ImageError(
            Message(
                "{name}: not a slide but {kind}. Slides are {known} and tiled TIFF.",
                name=path,
                kind=found[0] if found else Message("an unknown format"),
                known=", ".join(SCANNER_FORMATS.values()),
            ),
            "unknown_slide_format",
        ) from error
