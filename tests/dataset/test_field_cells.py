import dataclasses

import pytest

from Classes.dataset import field_cells
from Classes.imaging.annotations.record import AnnotatedCell


@dataclasses.dataclass
class Found:
    x: float
    y: float
    width: float = 40.0
    height: float = 40.0


def cell(label="LY", x=100, y=100, size=40):
    return AnnotatedCell(x, y, size, size, label)


def test_every_label_of_white_cells_has_a_folder_of_its_name():
    classes = field_cells.map_classes(["WBC", "wbc", "WBC", "RBC", "", "a/b"], {})
    assert classes.folders == {"wbc": "WBC", "a/b": "a_b"}


def test_blasts_go_to_the_positive_class():
    assert field_cells.map_classes(["blast"], {}, "1").folder("Blast") == "1"
    assert field_cells.map_classes(["blast"], {}).folder("blast") == "blast"


def test_only_given_labels_are_used_if_some_are_given():
    classes = field_cells.map_classes(["LY", "MO"], {"ly": "0"}, "1")
    crops, problems = field_cells.select_cells([cell("LY"), cell("MO", 200), cell("RBC", 300)], classes, "a.jpg")
    assert [(crop.x, crop.side, crop.class_name) for crop in crops] == [(100, pytest.approx(100), "0")]
    assert [problem.code for problem in problems] == ["unknown_class"]


def test_the_scale_gives_all_cells_the_same_crop():
    classes = field_cells.map_classes(["LY"], {})
    crops, _ = field_cells.select_cells([cell(), cell(x=300, size=60)], classes, "a.jpg", scale=0.37)
    assert [crop.side for crop in crops] == pytest.approx([100, 100])


def test_a_point_takes_place_and_size_of_the_found_cell():
    classes = field_cells.map_classes(["blast"], {})
    points = [cell("blast", 110, 95, 0), cell("blast", 300, 300, 0)]
    crops, problems = field_cells.select_cells(
        points, classes, "a.jpg", found=[Found(100, 100), Found(125, 100, 32, 32)]
    )
    assert [(crop.x, crop.y, crop.side) for crop in crops] == [(100, 100, pytest.approx(100))]
    assert [problem.code for problem in problems] == ["unknown_size"]
    crops, problems = field_cells.select_cells(points[1:], classes, "a.jpg", scale=0.37)
    assert [(crop.x, crop.y, crop.side) for crop in crops] == [(300, 300, pytest.approx(100))] and not problems


def test_found_cells_without_annotation_become_the_other_class():
    classes = field_cells.map_classes(["blast"], {}, others="0")
    # The first is the blast, the second holds the center of a red cell, the third is nobody's.
    found = [Found(115, 100), Found(200, 200), Found(300, 300)]
    cells = [cell("blast", 100, 100, 0), cell("RBC", 210, 200, 10)]
    crops, _ = field_cells.select_cells(cells, classes, "a.jpg", found=found)
    assert [(crop.x, crop.class_name) for crop in crops] == [(115, "blast"), (300, "0")]
    # Nobody asked for the others.
    assert len(field_cells.select_cells(cells, field_cells.map_classes(["blast"], {}), "a.jpg", found=found)[0]) == 1
