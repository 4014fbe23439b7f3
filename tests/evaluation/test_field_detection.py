"""Matching of cells with annotated boxes, and its metrics, by hand."""

import pytest

from Classes.evaluation import field_detection

BOXES = [(50, 50, 20, 20), (100, 50, 40, 20)]


def match(centers, scores=None, boxes=BOXES):
    return field_detection.match_centers(centers, scores or [0.5] * len(centers), boxes)


def test_a_center_in_a_box_is_right_and_outside_is_false():
    found = match([(50, 50), (119, 59), (121, 50)])
    assert found.box_of_cell.tolist() == [0, 1, -1]
    assert (found.found, found.false, found.missed) == (2, 1, 0)


def test_a_second_cell_in_a_box_is_false_and_the_surer_one_is_right():
    found = match([(52, 50), (49, 50)], [0.4, 0.9])
    assert found.box_of_cell.tolist() == [-1, 0]
    assert (found.found, found.false, found.missed) == (1, 1, 1)


def test_of_two_boxes_the_nearer_center_counts():
    assert match([(70, 50)], boxes=[(60, 50, 40, 40), (75, 50, 40, 40)]).box_of_cell.tolist() == [1]


def test_nothing_found_and_nothing_annotated():
    assert (match([]).found, match([]).missed) == (0, 2)
    assert match([(1, 1)], boxes=[]).false == 1


def test_metrics():
    matches = [match([(50, 50), (100, 50)]), match([(50, 50)]), match([(100, 50), (0, 0)])]
    metrics = field_detection.detection_metrics(matches)

    counts = {name: metrics[name] for name in ("fields", "cells", "found", "false", "missed")}
    assert counts == {"fields": 3, "cells": 6, "found": 4, "false": 1, "missed": 2}
    assert metrics["recall"]["value"] == pytest.approx(4 / 6)
    assert metrics["precision"]["value"] == pytest.approx(4 / 5)
    assert metrics["f1"]["value"] == pytest.approx(8 / 11)
    low, high = metrics["f1"]["interval"]
    assert low < 8 / 11 < high


def test_metrics_that_are_not_defined():
    metrics = field_detection.detection_metrics([match([], boxes=[])])
    assert metrics["recall"] == metrics["precision"] == metrics["f1"] == {"value": None, "interval": None}
