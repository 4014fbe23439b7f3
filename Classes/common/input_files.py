"""Image files: which files of a folder are images, what is skipped, and what a command line names."""

import collections
import logging
import os
import pathlib
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from Classes.common import translation
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message

# Written by operating systems, archive tools and network drives, never by a person. Some of them hold thumbnails.
SYSTEM_NAMES = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin",
    "system volume information", "lost+found", "__pycache__",
}  # fmt: skip

# Extensions that may stand before the last one, as in Im001_1.ome.tif or Im001_1.jpg.png.
INNER_EXTENSIONS = (
    ".ome", ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".svs", ".ndpi", ".czi", ".lif",
    ".nd2", ".vsi", ".scn", ".mrxs", ".dcm",
)  # fmt: skip

# Reasons why a file is skipped, in the order in which `Skipped` reports them.
EXTENSION = Message("with another extension")
NESTED = Message("in a sub-folder of a class folder")
LOOSE = Message("outside the class folders")
SYSTEM = Message("hidden or from the operating system")
SPECIAL = Message("a broken link, or not a regular file")
CLOSED = Message("in a folder that cannot be opened")
REASONS = (EXTENSION, NESTED, LOOSE, SYSTEM, SPECIAL, CLOSED)

# In every folder that a server captures images into, see upload_store.
CAPTURE_LOG = "Captured.jsonl"

# Extensions named in one line.
MOST = 6


class Skipped:
    """What a script does not use, by reason."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, reason: str, name: str) -> None:
        """Add a file by its printable name; `reason` is one of REASONS."""
        self._names[reason].append(name)

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def items(self) -> list[tuple[str, str]]:
        """(reason, name) of every skipped file."""
        return [(reason, name) for reason, names in self._names.items() for name in names]

    @property
    def names(self) -> list[str]:
        """Every skipped name, sorted."""
        return sorted(name for names in self._names.values() for name in names)

    def __str__(self) -> str:
        return self.describe(REASONS)

    def describe(self, reasons: Collection[str]) -> Message:
        """Counts and an example per reason, such as "9 with another extension (9 .xyc; for example a/Im001_1.xyc)"."""
        parts = []
        for reason in REASONS:
            names = sorted(self._names[reason])
            if names and reason in reasons:
                counts = {"count": len(names), "reason": reason, "example": names[0]}
                if reason == EXTENSION:
                    kinds = extensions(names)
                    parts.append(Message("{count} {reason} ({kinds}; for example {example})", kinds=kinds, **counts))
                else:
                    parts.append(Message("{count} {reason} (for example {example})", **counts))
        return translation.join(", ", parts)

    def report(self, log: logging.Logger, folder: os.PathLike) -> None:
        """Log the counts: a warning, and an information for hidden files, which nobody put there as images."""
        for level, reasons in ((logging.WARNING, set(REASONS) - {SYSTEM}), (logging.INFO, {SYSTEM})):
            if described := self.describe(reasons):
                log.log(level, translation.mark("Skipped files in %s: %s."), display_path(folder), described)


def extensions(names: Iterable[str]) -> Message:
    """How often files have each extension, such as "108 .xyc, 1 without extension"."""
    without = Message("without extension")
    counts = collections.Counter(pathlib.PurePath(name).suffix.lower() or without for name in names)
    parts = [Message("{count} {kind}", count=count, kind=kind) for kind, count in counts.most_common(MOST)]
    return translation.join(", ", [*parts, "…"] if len(counts) > MOST else parts)


def has_image_extension(configuration: Configuration, path: pathlib.Path) -> bool:
    """Whether a path's name has one of the extensions in `ValidIType`, in either case, and is not hidden."""
    extensions = tuple(extension.lower() for extension in configuration["ValidIType"])
    return path.name.lower().endswith(extensions) and not is_system(path.name)


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden, or one that operating systems create."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def list_visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the entries of a folder ordered by name, without hidden ones and files of the operating system."""
    return sorted(path for path in folder.iterdir() if not is_system(path.name))


def stem(path: str | os.PathLike[str]) -> str:
    """A file's name without its extensions: "Im001_1" of Im001_1.ome.tif; only known inner extensions are removed."""
    name = pathlib.PurePath(path).stem
    while name.lower().endswith(INNER_EXTENSIONS) and pathlib.PurePath(name).suffix:
        name = pathlib.PurePath(name).stem
    return name


def is_captured(configuration: Configuration, folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder contains images that a server captured, which have no label yet.

    It is `CaptureDir`, or has the log that the server keeps beside them, because the server may use another
    configuration.
    """
    if (pathlib.Path(folder) / CAPTURE_LOG).is_file():
        return True
    return os.path.realpath(folder) == os.path.realpath(configuration.path("CaptureDir"))


def walk(
    configuration: Configuration, folder: str | os.PathLike[str], leave_out: Iterable[pathlib.Path] = ()
) -> tuple[list[pathlib.Path], Skipped]:
    """Sort all files below a folder into images and skipped files.

    Links are followed. A folder that is reached twice, for example by a link to its parent, is read once. Folders of
    captured images below `folder` are not entered.

    Args:
      configuration: `ValidIType` lists the extensions of images.
      leave_out: folders that are not entered.
    Returns:
      (images by folder and name, Skipped with names relative to `folder`).
    """
    folder, skipped, seen = pathlib.Path(folder), Skipped(), {os.path.realpath(each) for each in leave_out}
    images: list[pathlib.Path] = []

    def closed(error: OSError) -> None:
        # A folder that does not exist, such as TestImagePath, has no files to skip.
        if not isinstance(error, FileNotFoundError):
            skipped.add(CLOSED, readable(os.path.relpath(error.filename, folder)))

    for here, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        place = pathlib.Path(here)
        seen.add(os.path.realpath(place))
        entered = []
        for name in sorted(folders):
            real = os.path.realpath(place / name)
            if is_system(name):
                skipped.add(SYSTEM, readable((place / name).relative_to(folder).as_posix()))
            elif is_captured(configuration, place / name):
                continue
            elif real not in seen:
                seen.add(real)
                entered.append(name)
        folders[:] = entered
        # Git's usual way to keep an empty folder; the project's own folders have one.
        for name in sorted(set(files) - {".gitkeep"}):
            path = place / name
            shown_name = readable(path.relative_to(folder).as_posix())
            if is_system(name):
                skipped.add(SYSTEM, shown_name)
            elif not path.is_file():
                skipped.add(SPECIAL, shown_name)
            elif has_image_extension(configuration, path):
                images.append(path)
            else:
                skipped.add(EXTENSION, shown_name)
    return images, skipped


def resolve_inputs(configuration: Configuration, sources: Iterable[str | os.PathLike[str]] = ()) -> list[pathlib.Path]:
    """Return the image files of `find_inputs`."""
    return find_inputs(configuration, sources)[0]


def find_inputs(
    configuration: Configuration, sources: Iterable[str | os.PathLike[str]] = ()
) -> tuple[list[pathlib.Path], list[tuple[str, str]]]:
    """Find the image files that files and folders on a command line stand for, and log which files are skipped.

    Args:
      configuration: `ValidIType` lists the extensions that are used inside folders, at any depth.
      sources: paths; none means `TestImagePath`. A file that is named itself is used, whatever its extension.
    Returns:
      (each path once, in the given order, and by name within a folder; (name, reason) of each skipped file
      that a person may have meant).
    Raises:
      DataError: `no_such_source` if a path is missing, `no_images` if there is no image at all.
    """
    log = logging.getLogger("Sources")
    given = [pathlib.Path(source) for source in sources]
    paths = given or [configuration.path("TestImagePath")]
    found: dict[pathlib.Path, None] = {}
    reasons: list[Message] = []
    left_out: list[tuple[str, str]] = []
    for source in paths:
        if source.is_dir():
            images, skipped = walk(configuration, source)
            found.update((path, None) for path in images)
            skipped.report(log, source)
            reasons += [skipped.describe(REASONS)] * bool(skipped)
            left_out += [(display_path(source / name), why) for why, name in skipped.items() if why != SYSTEM]
        elif source.exists():
            found[source] = None
        elif source != configuration.path("TestImagePath"):
            raise DataError(
                Message("{source}: there is no such file or folder; nothing was classified", source=source),
                code="no_such_source",
            )
    if not found:
        raise _no_images_error(configuration, given, reasons)
    return list(found), left_out


def _no_images_error(
    configuration: Configuration, given: Sequence[pathlib.Path], reasons: Sequence[Message]
) -> DataError:
    """Return the error for folders without an image; `given` on the command line, or none for `TestImagePath`."""
    found = Message("found no image")
    if reasons:
        found = Message("found no image, only skipped files: {files}", files=translation.join(", ", reasons))
    values = {"found": found, "accepted": accepted(configuration)}
    if given:
        where = ", ".join(map(str, given))
        message = Message("{where}: {found}. Name images ({accepted}) or a folder of them.", where=where, **values)
    else:
        message = Message(
            "{where}: {found}. Put images ({accepted}) named like Im047_0.jpg (_0 healthy, _1 {condition}) there, "
            "or name a FILE-OR-FOLDER after the command",
            where=configuration.path("TestImagePath"),
            condition=configuration.condition.name,
            **values,
        )
    return DataError(message, code="no_images")


def accepted(configuration: Configuration) -> str:
    """Return the extensions in `ValidIType` as text for a message."""
    return " ".join(sorted({each.lower() for each in configuration["ValidIType"]}))


def display_path(path: str | os.PathLike[str]) -> str:
    """Return a printable path, relative to the working folder if it lies below it."""
    path = pathlib.Path(path)
    folder = pathlib.Path.cwd()
    path = path.relative_to(folder) if path.is_relative_to(folder) else path
    return str(path).encode("utf-8", "replace").decode()


def readable(name: str) -> str:
    """Replace bytes of a file name that are not UTF-8, so that it can be logged and written."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def label_from_filename(path: str | os.PathLike[str], classes: Iterable[str]) -> str | None:
    """Return the class in a file name, as in `Im047_0.jpg` or `Im047_0.ome.tif`; None if there is none.

    Args:
      path: the file.
      classes: the class names that count.
    """
    found = unicodedata.normalize("NFC", stem(path))
    named = [name for name in classes if found.endswith(f"_{unicodedata.normalize('NFC', name)}")]
    # Of B and Pro_B, a name that ends in _Pro_B means the second.
    return max(named, key=len, default=None)
