"""Read all annotations of a folder, and find the photograph of each."""

import collections
import dataclasses
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence

from Classes.common import input_files, interrupts, json_files
from Classes.common.config import Configuration
from Classes.common.errors import DataError, error_reason
from Classes.common.translation import Message
from Classes.imaging.annotations import cell_rows, coco, points, qupath, record, voc, yolo
from Classes.imaging.annotations.record import AnnotatedCell, Entry, Problem

# What Classifier.py Field writes.
OWN = "cells"
# The formats, the best first: the others of a photograph are not used.
FORMATS = (OWN, "QuPath", "COCO", "VOC", "YOLO", "points")

# Text files that are never annotations.
NOT_LABELS = (*yolo.NAME_FILES, "readme", "license", "train.txt", "val.txt", "valid.txt", "test.txt", "trainval.txt")
# Folder that YOLO keeps its annotations in.
LABELS = "labels"


@dataclasses.dataclass(frozen=True)
class AnnotatedField:
    """A photograph and what is marked in it.

    Attributes:
      path: of the photograph.
      name: relative to the folder.
      source: annotation file, relative to the folder.
      kind: one of FORMATS.
      entry: the annotation as it was read.
    """

    path: pathlib.Path
    name: str
    source: str
    kind: str
    entry: Entry

    def cells(self, width: int, height: int) -> tuple[list[AnnotatedCell], list[Problem]]:
        """Return the marked cells in pixels, without those that are unusable, and what is wrong with these.

        Args:
          width, height: of the photograph.
        """
        stated = self.entry.size
        if stated is not None and stated != (width, height):
            text = Message(
                "{source} is for {stated_width} x {stated_height} pixels, the photograph has {width} x {height}",
                source=self.source,
                stated_width=stated[0],
                stated_height=stated[1],
                width=width,
                height=height,
            )
            return [], [Problem(record.OTHER_SIZE, self.name, text)]
        sides = (width, height) if self.entry.relative else (1, 1)
        cells = [_scaled(cell, *sides) for cell in self.entry.cells]
        return record.check_cells(cells, width, height, self.name)


def read_folder(
    configuration: Configuration, folder: pathlib.Path, leave_out: Iterable[pathlib.Path] = ()
) -> tuple[list[AnnotatedField], list[Problem]]:
    """Return the annotated photographs of a folder by name, and what could not be used.

    Args:
      configuration: `ValidIType` lists the extensions of photographs.
      folder: photographs and annotations, in any folders.
      leave_out: folders that are not entered.
    Raises:
      DataError: `no_folder`, `no_images`, `no_annotations`.
    """
    if not folder.is_dir():
        raise DataError(Message("{folder}: no such folder. Name a folder of photographs.", folder=folder), "no_folder")
    images, skipped = input_files.walk(configuration, folder, leave_out)
    if not images:
        message = Message(
            "{folder}: contains no photographs ({accepted}).",
            folder=folder,
            accepted=input_files.accepted(configuration),
        )
        raise DataError(message, "no_images")
    others = [name for reason, name in skipped.items() if reason == input_files.EXTENSION]
    found, problems = _read_annotations(folder, others, _Photographs(folder, images))
    if not found:
        raise _no_annotations(folder, problems)
    fields = []
    for path in images:
        shown = input_files.readable(path.relative_to(folder).as_posix())
        if path in found:
            best, *unused = sorted(found[path], key=lambda field: FORMATS.index(field.kind))
            fields.append(best)
            for other in unused:
                text = Message("{other} is not used, because {best} is", other=other.source, best=best.source)
                problems.append(Problem(record.SEVERAL, shown, text))
        else:
            problems.append(Problem(record.NO_ANNOTATION, shown, Message("{file} has no annotation", file=shown)))
    return fields, problems


def _read_annotations(
    folder: pathlib.Path, names: Iterable[str], index: "_Photographs"
) -> tuple[dict[pathlib.Path, list[AnnotatedField]], list[Problem]]:
    """Return the annotations of each photograph, and what could not be used; `names` are files in the folder."""
    problems: list[Problem] = []
    found: dict[pathlib.Path, list[AnnotatedField]] = collections.defaultdict(list)
    for name in names:
        interrupts.check()
        try:
            kind, entries = _read_file(folder / name, folder, index)
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            text = Message("{file} cannot be read: {reason}", file=name, reason=error_reason(error))
            problems.append(Problem(record.UNREADABLE, name, text))
            continue
        for entry in entries:
            photograph = index.find(entry.names, folder / name)
            if isinstance(photograph, pathlib.Path):
                shown = input_files.readable(photograph.relative_to(folder).as_posix())
                found[photograph].append(AnnotatedField(photograph, shown, name, kind, entry))
            else:
                text = Message("{file}: there is no photograph {name}", file=name, name=entry.names[0])
                if photograph:
                    text = Message("{file} fits {count} photographs", file=name, count=photograph)
                problems.append(Problem(record.AMBIGUOUS if photograph else record.NO_PHOTOGRAPH, name, text))
    return found, problems


def _scaled(cell: AnnotatedCell, across: int, down: int) -> AnnotatedCell:
    # Rounded, so that every format gives the same pixels.
    x, y, width, height = (
        round(value, 3) for value in (cell.x * across, cell.y * down, cell.width * across, cell.height * down)
    )
    return AnnotatedCell(x, y, width, height, cell.label)


def _read_file(path: pathlib.Path, folder: pathlib.Path, index: "_Photographs") -> tuple[str, list[Entry]]:
    """Return (format, entries) of a file; no entries if it is not an annotation."""
    extension = path.suffix.lower()
    if extension == ".xyc":
        return "points", points.read(path)
    if extension == ".xml":
        return "VOC", voc.read(path) or []
    if extension == ".txt" and not path.name.lower().startswith(NOT_LABELS):
        # A text file can be anything, so a label has the name of a photograph or is in the usual folder.
        if index.find((path.stem,), path) or LABELS in (part.lower() for part in path.relative_to(folder).parts[:-1]):
            return "YOLO", yolo.read(path, yolo.class_names(path.parent, folder))
    elif extension in (".json", ".geojson"):
        document = json_files.read_json(path)
        if coco.is_coco(document):
            return "COCO", coco.parse(document)
        if qupath.is_geojson(document):
            return "QuPath", qupath.parse(document, path)
        if cell_rows.is_cell_rows(document):
            return OWN, cell_rows.parse(document)
        raise ValueError("neither COCO nor GeoJSON nor the cells of Classifier.py Field")
    return "", []


def _no_annotations(folder: pathlib.Path, problems: Sequence[Problem]) -> DataError:
    accepted = "ALL-IDB .xyc, Pascal VOC .xml, COCO .json, YOLO .txt, QuPath .geojson, Classifier.py Field --json"
    if problems:
        message = Message(
            "{folder}: no annotation can be used, for example: {example}. Accepted formats: {accepted}.",
            folder=folder,
            example=problems[0].text,
            accepted=accepted,
        )
    else:
        message = Message(
            "{folder}: contains no annotations. Accepted formats: {accepted}.", folder=folder, accepted=accepted
        )
    return DataError(message, "no_annotations")


class _Photographs:
    """Finds photographs by the names that annotations have for them."""

    def __init__(self, folder: pathlib.Path, paths: Sequence[pathlib.Path]) -> None:
        self._folder = folder
        self._by_name: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
        self._by_stem: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
        for path in paths:
            self._by_name[_folded(path.name)].append(path)
            self._by_stem[_folded(input_files.stem(path))].append(path)

    def find(self, names: Iterable[str], source: pathlib.Path) -> pathlib.Path | int:
        """Return the photograph, or how many fit equally well, which is 0 if there is none.

        Args:
          names: with or without folders and extension, the likeliest first.
          source: annotation file; the photograph nearest to it counts.
        """
        for name in names:
            parts = pathlib.PurePosixPath(name.replace("\\", "/")).parts
            if not parts:
                continue
            stem = _folded(input_files.stem(parts[-1]))
            near = (
                self._by_name.get(_folded(parts[-1]))
                or self._by_stem.get(_folded(parts[-1]))
                or self._by_stem.get(stem)
            )
            if not near:
                continue
            scores = [(_agreeing(parts[:-1], path.parent.parts), self._nearness(path, source)) for path in near]
            best = [path for path, score in zip(near, scores, strict=True) if score == max(scores)]
            return best[0] if len(best) == 1 else len(best)
        return 0

    def _nearness(self, path: pathlib.Path, source: pathlib.Path) -> tuple[bool, int, int]:
        """Return whether an image and an annotation are in one folder, and how many of their folders are equal."""
        one, other = (each.relative_to(self._folder).parent.parts for each in (path, source))
        return one == other, _agreeing(one[::-1], other[::-1]), _agreeing(one, other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _agreeing(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many last folders of two paths are equal."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
