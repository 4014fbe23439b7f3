"""Read GeoJSON as QuPath exports it: one file per photograph, named like it, with outlines or points in pixels.

Bankhead et al., "QuPath: open source software for digital pathology image analysis", Scientific Reports 7 (2017) 16878.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from Classes.imaging.annotations.record import AnnotatedCell, Entry, bounding_box


def is_geojson(document: Any) -> bool:
    """Return whether a parsed JSON document has the form of GeoJSON: a collection, a feature or a list of features."""
    first = document[0] if isinstance(document, list) and document else document
    return isinstance(first, dict) and first.get("type") in ("FeatureCollection", "Feature")


def parse(document: Any, path: pathlib.Path) -> list[Entry]:
    """Return the annotation of one photograph.

    Raises:
      KeyError, TypeError, ValueError: the document is not GeoJSON.
    """
    features = document["features"] if isinstance(document, dict) and "features" in document else document
    features = [features] if isinstance(features, dict) else features
    return [Entry((path.stem,), tuple(cell for feature in features for cell in _cells(feature)))]


def _cells(feature: dict[str, Any]) -> Iterator[AnnotatedCell]:
    label = _label(feature.get("properties") or {})
    geometry = feature["geometry"]
    kind, coordinates = geometry["type"], geometry["coordinates"]
    if kind == "Point":
        coordinates = [coordinates]
    if kind in ("Point", "MultiPoint"):
        for x, y in (point[:2] for point in coordinates):
            yield AnnotatedCell(float(x), float(y), 0.0, 0.0, label)
    else:
        yield bounding_box(list(_points(coordinates)), label)


def _points(coordinates: Sequence[Any]) -> Iterator[Sequence[float]]:
    """Yield the points of a line, a polygon or several polygons."""
    if coordinates and isinstance(coordinates[0], (int, float)):
        yield coordinates
        return
    for each in coordinates:
        yield from _points(each)


def _label(properties: dict[str, Any]) -> str:
    found = properties.get("classification") or {}
    name = found.get("name") if isinstance(found, dict) else found
    # Newer versions write the parts of a derived class as a list.
    if not name and isinstance(found, dict) and found.get("names"):
        name = ": ".join(map(str, found["names"]))
    return str(name or "").strip()
