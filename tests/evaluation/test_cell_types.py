import numpy
import pytest

from Classes.evaluation import cell_types

CLASSES = list(cell_types.NAMES)


def one_hot(*names, confidence=1.0):
    rows = numpy.full((len(names), len(CLASSES)), (1 - confidence) / (len(CLASSES) - 1))
    for row, name in enumerate(names):
        rows[row, CLASSES.index(name)] = confidence
    return rows


def test_every_type_is_in_one_group():
    listed = [name for types in cell_types.GROUPS.values() for name in types]

    assert sorted(listed) == sorted(CLASSES)
    assert cell_types.group_of("BNE") == cell_types.group_of("NEUTROPHIL") == "neutrophil"
    assert cell_types.group_of("IG") == cell_types.group_of("MMY") == "immature granulocyte"


def test_probabilities_of_a_group_add_up():
    rows = one_hot("BNE", confidence=0.55)

    found = dict(zip(cell_types.GROUPS, cell_types.group_probabilities(rows, CLASSES)[0], strict=True))

    assert found["neutrophil"] == pytest.approx(0.6)  # 0.55 + 0.05
    assert found["immature granulocyte"] == pytest.approx(0.15)
    assert sum(found.values()) == pytest.approx(1)


def test_a_coarse_label_counts_for_its_group_only():
    labels = ["BNE", "SNE", "NEUTROPHIL", "LY"]
    predicted = one_hot("SNE", "SNE", "BNE", "LY")

    found = cell_types.evaluate_cell_types(labels, predicted, CLASSES, list("abcd"))

    assert (found["groups"]["images"], found["types"]["images"]) == (4, 3)
    assert found["groups"]["classes"]["neutrophil"]["recall"]["value"] == 1
    assert found["groups"]["accuracy"]["value"] == 1
    assert found["types"]["classes"]["BNE"]["recall"]["value"] == 0
    assert found["types"]["classes"]["SNE"]["precision"]["value"] == 0.5
