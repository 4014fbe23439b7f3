"""Read Pascal VOC XML: one file per photograph with the corners of each box, as LabelImg writes them."""

import pathlib
import xml.etree.ElementTree

from Classes.imaging.annotations.record import AnnotatedCell, Entry, box

# The XML file of one photograph is small; entities could make a small file huge.
LARGEST_FILE = 20_000_000


def read(path: pathlib.Path) -> list[Entry] | None:
    """Return the annotation of one photograph, or None if the file is other XML.

    Raises:
      OSError, ValueError: it cannot be read.
    """
    content = path.read_bytes()
    if len(content) > LARGEST_FILE or b"<!ENTITY" in content:
        raise ValueError("too large, or with entities")
    try:
        root = xml.etree.ElementTree.fromstring(content)
    except xml.etree.ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    if root.tag != "annotation":
        return None
    cells = tuple(_cell(each) for each in root.iter("object"))
    # People rename photographs and their XML files together, and forget the name inside.
    names = (path.stem, (root.findtext("filename") or "").strip())
    size = tuple(_number(root, f"size/{side}") for side in ("width", "height"))
    return [Entry(tuple(filter(None, names)), cells, (int(size[0]), int(size[1])) if all(size) else None)]


def _cell(element: xml.etree.ElementTree.Element) -> AnnotatedCell:
    label = (element.findtext("name") or "").strip()
    corners = element.find("bndbox")
    if corners is None:
        raise ValueError(f"the object {label} has no bndbox")
    left, top, right, bottom = (float(corners.findtext(name) or "nan") for name in ("xmin", "ymin", "xmax", "ymax"))
    # The corners are pixels from 1, and the last one still belongs to the box.
    return box(left - 1, top - 1, right, bottom, label)


def _number(element: xml.etree.ElementTree.Element, name: str) -> float:
    """Return a number, or 0 if it is missing, which programs write that do not know the size."""
    try:
        return float(element.findtext(name) or 0)
    except ValueError:
        return 0.0
