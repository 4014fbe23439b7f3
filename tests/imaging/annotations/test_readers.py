"""What each format says about one photograph of 200 x 100 pixels with a cell of 40 x 20 pixels at 60, 30."""

import json

import pytest

from Classes.imaging.annotations import cell_rows, coco, points, qupath, voc, yolo
from Classes.imaging.annotations.record import AnnotatedCell

CELL = AnnotatedCell(60, 30, 40, 20, "LY")


def voc_xml(corners="<xmin>41</xmin><ymin>21</ymin><xmax>80</xmax><ymax>40</ymax>", size=(200, 100)):
    return (
        "<annotation><filename>other.jpg</filename>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"<object><name> LY </name><bndbox>{corners}</bndbox></object></annotation>"
    )


def put(folder, name, content):
    path = folder / name
    path.write_text(content)
    return path


def test_points_have_no_size_and_mark_blasts_only(tmp_path):
    (entry,) = points.read(put(tmp_path, "Im001_1.xyc", "60\t30\n\n7.5, 8\n"))
    assert entry.names == ("Im001_1",) and not entry.complete
    assert entry.cells == (AnnotatedCell(60, 30, 0, 0, "blast"), AnnotatedCell(7.5, 8, 0, 0, "blast"))
    assert points.read(put(tmp_path, "Im002_0.xyc", ""))[0].cells == ()


def test_voc_boxes_include_their_last_pixel(tmp_path):
    (entry,) = voc.read(put(tmp_path, "a.xml", voc_xml()))
    assert entry.cells == (CELL,)
    assert entry.names == ("a", "other.jpg") and entry.size == (200, 100) and entry.complete


def test_voc_of_unknown_size_and_other_xml(tmp_path):
    assert voc.read(put(tmp_path, "a.xml", voc_xml(size=(0, 0))))[0].size is None
    assert voc.read(put(tmp_path, "b.xml", "<project/>")) is None


@pytest.mark.parametrize("content", ["<annotation>", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>"])
def test_damaged_or_dangerous_xml_is_refused(tmp_path, content):
    with pytest.raises(ValueError):
        voc.read(put(tmp_path, "a.xml", content))


def test_coco_boxes_outlines_empty_photographs_and_crowds():
    document = {
        "images": [
            {"id": 7, "file_name": "train/a.jpg", "width": 200, "height": 100},
            {"id": 8, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 3, "name": "LY"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [40, 20, 40, 20]},
            {"id": 2, "image_id": 7, "category_id": 3, "segmentation": [[40, 20, 80, 20, 80, 40, 40, 40]]},
            {"id": 3, "image_id": 7, "category_id": 3, "bbox": [0, 0, 200, 100], "iscrowd": 1},
            {"id": 4, "image_id": 9, "category_id": 4, "bbox": [40, 20, 40, 20]},
        ],
    }
    assert coco.is_coco(document)
    first, second, lost = coco.parse(document)
    assert first.names == ("train/a.jpg",) and first.size == (200, 100) and first.cells == (CELL, CELL)
    assert second.cells == () and second.size is None
    assert lost.cells[0].label == ""


def test_yolo_boxes_outlines_and_detections(tmp_path):
    path = put(
        tmp_path, "a.txt", "1 0.3 0.3 0.2 0.2\n1 0.3 0.3 0.2 0.2 0.99\n1 0.2 0.2 0.4 0.2 0.4 0.4 0.2 0.4\n9 0 0 1 1\n"
    )
    (entry,) = yolo.read(path, {1: "LY"})
    assert entry.relative and [cell.label for cell in entry.cells] == ["LY", "LY", "LY", ""]
    for cell in entry.cells[:3]:
        assert (cell.x, cell.y, cell.width, cell.height) == pytest.approx((0.3, 0.3, 0.2, 0.2))
    (entry,) = yolo.read(tmp_path / "a.txt", {})
    assert [cell.label for cell in entry.cells] == ["class 1", "class 1", "class 1", "class 9"]


@pytest.mark.parametrize("line", ["1 0.3 0.3", "12 40 RBC", "0.5 0.3 0.3 0.2 0.2", "1 nan 0.3 0.2 0.2"])
def test_other_text_is_not_yolo(tmp_path, line):
    with pytest.raises(ValueError):
        yolo.read(put(tmp_path, "a.txt", line), {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", "SNE\nLY\n"),
        ("data.yaml", "nc: 2\nnames: [SNE, LY]\n"),
        ("data.yaml", "names:\n  0: SNE\n  1: LY\n"),
    ],
)
def test_names_of_yolo_classes_are_found_above_the_labels(tmp_path, name, content):
    put(tmp_path, name, content)
    folder = tmp_path / "labels" / "train"
    folder.mkdir(parents=True)
    assert yolo.class_names(folder, tmp_path) == {0: "SNE", 1: "LY"}
    assert yolo.class_names(folder, folder) == {}


def test_qupath_outlines_points_and_classes(tmp_path):
    square = [[[40, 20], [80, 20], [80, 40], [40, 40], [40, 20]]]
    named = {"classification": {"name": "LY", "color": [1, 2, 3]}}
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": square}, "properties": named},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [square]}, "properties": named},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [5, 6]}, "properties": {}},
    ]
    for document in ({"type": "FeatureCollection", "features": features}, features):
        assert qupath.is_geojson(document)
        (entry,) = qupath.parse(document, tmp_path / "a.jpg.geojson")
        assert entry.names == ("a.jpg",) and entry.cells == (CELL, CELL, AnnotatedCell(5, 6, 0, 0, ""))


def test_the_word_of_a_person_replaces_the_suggested_type():
    place = {"field": "a.jpg", "x": 60, "y": 30, "width": 40, "height": 20, "type": "LY"}
    words = ["", "monocyte", "LY", cell_rows.NO_WHITE_CELL]
    rows = [{**place, "cell": number, "corrected_type": word} for number, word in enumerate(words, 1)]
    [entry] = cell_rows.parse({"fields": [{"field": "a.jpg", "white_cells": 4}], "cells": rows})
    assert [cell.label for cell in entry.cells] == ["LY", "monocyte", "LY"]


def test_rows_of_our_own_json():
    document = {
        "notice": "…",
        "fields": [
            {"field": "a.jpg", "white_cells": 1},
            {"field": "b.jpg", "white_cells": 0},
            {"field": "c.jpg", "white_cells": None, "error": "not an image"},
        ],
        "cells": [{"field": "a.jpg", "cell": 1, "type": "LY", "x": 60, "y": 30, "width": 40, "height": 20}],
    }
    assert cell_rows.is_cell_rows(document)
    first, second = cell_rows.parse(json.loads(json.dumps(document)))
    assert first.names == ("a.jpg",) and first.cells == (CELL,)
    assert second.names == ("b.jpg",) and second.cells == ()


@pytest.mark.parametrize("document", [[], {}, {"a": 1}, [1], {"images": []}, None])
def test_other_json_is_recognized(document):
    assert not coco.is_coco(document) and not qupath.is_geojson(document) and not cell_rows.is_cell_rows(document)
