"""Test GeoJSON as QuPath reads it (QuPathTypeAdapters of QuPath 0.4 and later)."""

import json
import uuid

from Classes.fields import geojson
from tests.support import fields


def test_a_cell_is_a_detection_with_classification_and_measurements():
    field = fields.field(fields.typed(2, "lymphocyte", flags=("touching",)), fields.typed(3, "lymphoblast"))
    found = json.loads(geojson.field_geojson(field))
    assert found["type"] == "FeatureCollection"
    feature = found["features"][0]
    assert feature["type"] == "Feature"
    assert feature["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[90, 70], [150, 70], [150, 130], [90, 130], [90, 70]]],
    }
    properties = feature["properties"]
    assert properties["objectType"] == "detection"
    assert properties["classification"] == {"name": "lymphocyte", "color": [86, 180, 233]}
    # 60 pixels of 0.25 µm
    assert properties["measurements"]["Width µm"] == 15
    assert all(isinstance(value, (int, float)) for value in properties["measurements"].values())
    assert properties["metadata"]["Flags"] == "touching"
    assert [each["properties"]["classification"]["name"] for each in found["features"]] == ["lymphocyte", "lymphoblast"]


def test_identifiers_are_unique_and_stay_the_same():
    field = fields.field(fields.typed(1, "monocyte"), fields.typed(2, "monocyte"))
    first, again = (json.loads(geojson.field_geojson(field))["features"] for _ in range(2))
    assert first == again
    assert len({uuid.UUID(each["id"]) for each in first}) == 2


def test_without_a_scale_there_are_no_micrometers():
    found = json.loads(geojson.field_geojson(fields.field(fields.typed(1, "monocyte"), scale=None)))
    assert not [name for name in found["features"][0]["properties"]["measurements"] if "µm" in name]
