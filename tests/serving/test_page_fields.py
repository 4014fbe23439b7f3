"""Tests of the page with photographed fields, with the finder and the types that come with the project."""

import csv
import json
import re

import numpy
import PIL.Image
import pytest
from selenium.webdriver import ActionChains, Keys

from tests.support import browser, drawn_fields
from tests.support.browser import attributes, by_id, click, count, fits, texts, wait

BOXES, GALLERY = "#field-boxes .box", "#field-gallery button"
# Centers and diameters of drawn cells; what their types are does not matter.
PLACES = {"one.png": [(150, 120, 12), (460, 330, 12), (300, 240, 12)], "two.tif": [(150, 330, 12), (460, 120, 12)]}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    for name, places in PLACES.items():
        PIL.Image.fromarray(drawn_fields.draw_field(640, 480, 0.11, places)).save(folder / name)
    PIL.Image.fromarray(numpy.full((300, 300, 3), 128, "uint8")).save(folder / "gray.png")
    return folder


@pytest.fixture
def fields(page, photographs, request):
    """The page with photographs, by default one.png; the choice of the kind of image is forgotten afterwards."""
    by_id(page, "mode-fields").click()
    add(page, photographs, *getattr(request, "param", ["one.png"]))
    yield page
    page.execute_script("localStorage.clear()")


def add(page, photographs, *names):
    by_id(page, "files").send_keys("\n".join(str(photographs / name) for name in names))
    finished(page, len(names))


def finished(page, number):
    script = "return [...document.querySelectorAll('#field-list li')].map((item) => item.className)"
    wait(page, lambda: len(page.execute_script(script)) >= number)
    wait(page, lambda: not {"waiting", "sending"} & set(page.execute_script(script)))
    wait(page, lambda: by_id(page, "differential").is_displayed() or number == 0)


def selected(page, cells):
    """The names of the selected cells."""
    return attributes(page, f"{cells}[aria-pressed=true]", "aria-label")


def chosen_in_gallery(page):
    """The cell that is selected in the gallery, such as "Cell 3"."""
    [text] = texts(page, f"{GALLERY}[aria-pressed=true]")
    return f"Cell {text.split(' · ')[0]}"


def table(page):
    """The rows of the differential: {type: texts of the other columns}."""
    script = """
    return [...document.querySelectorAll('#differential-body tr')].map((row) =>
      [...row.children].map((cell) => cell.textContent))
    """
    return {row[0]: row[1:] for row in page.execute_script(script)}


def monocytes(page):
    """The number of monocytes after correction; none before the first one."""
    row = table(page).get("monocyte", [])
    return int(row[4]) if len(row) > 4 else 0


def total(page):
    return int(re.search(r"of (\d+) cells", by_id(page, "seen").text)[1])


def press(page, *keys):
    ActionChains(page).send_keys(*keys).perform()


def saved(page, folder, button, kind):
    for path in folder.glob(f"fields-*.{kind}"):
        path.unlink()
    by_id(page, button).click()
    return wait(page, lambda: next(folder.glob(f"fields-*.{kind}"), None)).read_text(encoding="utf-8")


@pytest.mark.parametrize("fields", [["one.png", "two.tif", "gray.png"]], indirect=True)
def test_cells_are_counted_over_all_photographs(fields):
    wait(fields, lambda: total(fields) == 5)
    assert count(fields, "#field-list li") == 3
    assert texts(fields, "#field-list .failed")[0].startswith("gray.png")
    click(fields, "#field-list button")
    wait(fields, lambda: count(fields, BOXES) == count(fields, GALLERY) == 3)
    # The browser cannot read a TIFF, so the server sends the photograph.
    click(fields, "#field-list li:nth-child(2) button")
    wait(fields, lambda: fields.execute_script("return document.getElementById('field-photo').naturalWidth") == 640)
    wait(fields, lambda: count(fields, "#field-gallery img") == 2)
    by_id(fields, "scope-all").click()
    wait(fields, lambda: count(fields, GALLERY) == 5)

    click(fields, "#field-list li:nth-child(1) .remove")
    wait(fields, lambda: total(fields) == 2)
    assert count(fields, GALLERY) == 2


def test_a_box_lies_on_its_cell(fields):
    stage = fields.execute_script("return document.getElementById('field-photo').getBoundingClientRect().toJSON()")
    scale = stage["width"] / 640
    script = (
        "return [...document.querySelectorAll('#field-boxes .box')].map((box) => box.getBoundingClientRect().toJSON())"
    )

    def centers():
        return [
            ((box["x"] + box["width"] / 2 - stage["x"]) / scale, (box["y"] + box["height"] / 2 - stage["y"]) / scale)
            for box in fields.execute_script(script)
        ]

    expected = [(x, y) for x, y, _size in sorted(PLACES["one.png"], key=lambda place: place[1])]
    assert numpy.allclose(centers(), expected, atol=12)
    # A box stays on its cell when the photograph is larger.
    click(fields, "#field-zoom [data-action=larger]")
    stage = fields.execute_script("return document.getElementById('field-photo').getBoundingClientRect().toJSON()")
    assert stage["width"] / 640 > scale
    scale = stage["width"] / 640
    assert numpy.allclose(centers(), expected, atol=12)


def test_photograph_and_gallery_select_each_other(fields):
    click(fields, GALLERY, -1)
    [chosen] = selected(fields, BOXES)
    assert chosen.split(":")[0] == chosen_in_gallery(fields)
    click(fields, "#field-zoom [data-action=reset]")
    other = f"{BOXES}[aria-pressed=false]"
    name = attributes(fields, other, "aria-label")[0].split(":")[0]
    click(fields, other)
    assert chosen_in_gallery(fields) == name
    assert by_id(fields, "field-cell").text.startswith(name)


def test_a_person_changes_types_by_keys_and_both_counts_are_kept(fields, folder):
    # The drawn cells are counted as one type or apart from the white cells; no type of theirs is a monocyte.
    before = table(fields)
    click(fields, GALLERY)
    first = chosen_in_gallery(fields)
    press(fields, "3")
    # The next cell comes by itself.
    wait(fields, lambda: chosen_in_gallery(fields) != first)
    press(fields, "3", "x")
    wait(fields, lambda: monocytes(fields) == 2)
    assert by_id(fields, "seen").text.count("3") == 3

    rows = list(csv.DictReader(saved(fields, folder, "save", "csv").splitlines()))
    assert sorted(row["corrected_type"] for row in rows) == ["monocyte", "monocyte", "no white cell"]
    assert {row["field"] for row in rows} == {"one.png"}
    assert not {row["group"] for row in rows} & {"monocyte", "no white cell"}
    document = json.loads(saved(fields, folder, "save-json", "json"))
    assert document["counts"]["white_cells"] + sum(document["counts"]["not_counted"].values()) == 3
    assert document["corrected_counts"]["white_cells"] == 2
    assert document["suggested"] is False

    click(fields, GALLERY)
    press(fields, "u", "u", "u")
    wait(fields, lambda: table(fields) == before)


def test_corrections_survive_a_reload_and_the_file_comes_back(fields, photographs):
    click(fields, GALLERY)
    press(fields, "3")
    wait(fields, lambda: monocytes(fields) == 1)
    fields.refresh()
    browser.wait_until_ready(fields)
    wait(fields, lambda: monocytes(fields) == 1)
    assert by_id(fields, "field-missing").text
    add(fields, photographs, "one.png")
    wait(fields, lambda: count(fields, "#field-gallery img") == 3)
    assert total(fields) == 3


def test_the_photograph_is_enlarged_and_moved_by_wheel_keys_and_mouse(fields):
    def place():
        return fields.execute_script("return document.getElementById('field-photo').getBoundingClientRect().toJSON()")

    stage = by_id(fields, "field-stage")
    fitting = place()
    fields.execute_script("arguments[0].focus()", stage)
    press(fields, "+", "+")
    larger = place()
    press(fields, Keys.ARROW_RIGHT)
    assert fitting["width"] < larger["width"]
    assert place()["x"] < larger["x"]
    moved = place()
    ActionChains(fields).move_to_element_with_offset(stage, 0, -150).click_and_hold().move_by_offset(
        40, 30
    ).release().perform()
    assert (round(place()["x"] - moved["x"]), round(place()["y"] - moved["y"])) == (40, 30)
    press(fields, "0")
    assert place()["width"] == pytest.approx(fitting["width"])


def test_the_choice_of_images_is_remembered(fields):
    fields.refresh()
    browser.wait_until_ready(fields)
    assert by_id(fields, "mode-fields").is_selected()
    by_id(fields, "mode-cells").click()
    wait(fields, lambda: by_id(fields, "intro").is_displayed())
    assert not by_id(fields, "field-results").is_displayed()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_view_fits_a_phone(fields, theme):
    browser.width(fields, 390, prefers_color_scheme=theme)
    assert fits(fields)
    assert by_id(fields, "field-stage").is_displayed()
