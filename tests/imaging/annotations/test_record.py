from Classes.imaging.annotations import record
from Classes.imaging.annotations.record import AnnotatedCell


def check(*cells):
    kept, problems = record.check_cells(cells, 200, 100, "a.jpg")
    return kept, [problem.code for problem in problems]


def test_a_cell_that_the_border_cuts_is_kept():
    cell = AnnotatedCell(195, 50, 40, 40, "LY")
    assert check(cell) == ([cell], [])


def test_cells_that_cannot_be_used():
    outside = AnnotatedCell(201, 50, 40, 40, "LY")
    pixel = AnnotatedCell(50, 50, 1, 1, "LY")
    swapped = AnnotatedCell(50, 50, -40, -40, "LY")
    unknown = AnnotatedCell(float("nan"), 50, 40, 40, "LY")
    codes = ["outside_photograph", "too_small", "too_small", "outside_photograph"]
    assert check(outside, pixel, swapped, unknown) == ([], codes)


def test_a_cell_that_is_marked_twice_counts_once():
    # 39 of 41 columns are shared: 0.951.
    one, same, other = (AnnotatedCell(x, 50, 40, 40, "LY") for x in (50, 51, 60))
    assert check(one, same, other) == ([one, other], ["duplicate"])
    assert check(AnnotatedCell(9, 9, 0, 0, "blast"), AnnotatedCell(10, 9, 0, 0, "blast"))[1] == ["duplicate"]


def test_nobody_knows_which_of_two_classes_is_right():
    one, other = AnnotatedCell(50, 50, 40, 40, "LY"), AnnotatedCell(50, 50, 40, 40, "MO")
    assert check(one, other) == ([], ["conflicting_classes"])


def test_red_cells_and_platelets_are_not_white_cells():
    assert not any(map(record.is_white_cell, ("RBC", "Platelets", "red blood cells", "Ignore*", "Scale bar")))
    assert all(map(record.is_white_cell, ("WBC", "blast", "ERB", "", "0")))
