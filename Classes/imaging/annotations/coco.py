"""Read COCO JSON: one file for many photographs, with [left, top, width, height] of each box."""

from typing import Any

from Classes.imaging.annotations.record import AnnotatedCell, Entry, bounding_box, box


def is_coco(document: Any) -> bool:
    """Return whether a parsed JSON document has the form of COCO."""
    return isinstance(document, dict) and all(isinstance(document.get(key), list) for key in ("images", "annotations"))


def parse(document: dict[str, Any]) -> list[Entry]:
    """Return the annotations of all photographs, also of those without a cell.

    Raises:
      KeyError, TypeError, ValueError: the document is not COCO.
    """
    names = {each["id"]: str(each["name"]).strip() for each in document.get("categories") or ()}
    cells: dict[Any, list[AnnotatedCell]] = {each["id"]: [] for each in document["images"]}
    # A number that no photograph has is the annotation of a photograph that was left out.
    lost: dict[Any, list[AnnotatedCell]] = {}
    for each in document["annotations"]:
        # A crowd is one box around many cells.
        if not each.get("iscrowd"):
            place = cells if each["image_id"] in cells else lost
            place.setdefault(each["image_id"], []).append(_cell(each, names.get(each.get("category_id"), "")))
    entries = [
        Entry((str(each["file_name"]),), tuple(cells[each["id"]]), _size(each.get("width"), each.get("height")))
        for each in document["images"]
    ]
    return entries + [Entry((f"image_id {number}",), tuple(found)) for number, found in lost.items()]


def _cell(annotation: dict[str, Any], label: str) -> AnnotatedCell:
    if annotation.get("bbox"):
        left, top, width, height = map(float, annotation["bbox"])
        return box(left, top, left + width, top + height, label)
    if isinstance(annotation.get("segmentation"), list) and annotation["segmentation"]:
        values = [value for polygon in annotation["segmentation"] for value in polygon]
        return bounding_box(list(zip(values[::2], values[1::2], strict=True)), label)
    raise ValueError(f"annotation {annotation.get('id')} has no bbox")


def _size(width: Any, height: Any) -> tuple[int, int] | None:
    return (int(width), int(height)) if width and height else None
