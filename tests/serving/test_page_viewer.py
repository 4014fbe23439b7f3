"""Tests of the dialog with one large image, of heat maps, and of the keyboard."""

from selenium.webdriver import ActionChains, Keys

from tests.support import graphs
from tests.support.browser import by_id, choose, click, count, focused, rows, wait

ASKED = """
const send = window.fetch;
window.asked = [];
window.fetch = (address, ...rest) => {
  window.asked.push(address);
  return send(address, ...rest);
};
"""

# The element with the focus: its name, and the outline by which it must be seen, of its label for a file.
FOCUS = """
const focused = document.activeElement;
const marked = focused.type === "file" ? document.querySelector(`label[for=${focused.id}]`) : focused;
const { outlineStyle, outlineWidth } = getComputedStyle(marked);
return [focused.id || focused.getAttribute("aria-label") || focused.innerText, outlineStyle, outlineWidth];
"""


def press(page, *keys):
    ActionChains(page).send_keys(*keys).perform()


def open_first(page):
    click(page, "#rows .picture button")
    wait(page, lambda: page.execute_script("return document.getElementById('viewer-image').naturalWidth"))


def box(page, name):
    return page.execute_script("return document.getElementById(arguments[0]).getBoundingClientRect().toJSON()", name)


def test_the_arrow_keys_go_through_the_images_that_are_shown(page, folder):
    choose(page, folder, "sick.png", "well, blue.png", "=1+1.png")
    rows(page)
    by_id(page, "filter-review").click()
    wait(page, lambda: len(rows(page)) == 2)
    open_first(page)
    seen = [by_id(page, "viewer-title").text]
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        press(page, key)
        seen.append(by_id(page, "viewer-title").text)
    position = by_id(page, "viewer-position").text
    press(page, Keys.ARROW_RIGHT, Keys.ESCAPE)
    wait(page, lambda: not by_id(page, "viewer").is_displayed())

    assert seen == ["well, blue.png", "=1+1.png", "=1+1.png", "well, blue.png"]
    assert position == "1 of 2"
    # The focus is at the image that was shown last.
    assert "=1+1.png" in focused(page, "aria-label")


def test_an_image_can_be_enlarged(page, folder):
    choose(page, folder, "sick.png")
    rows(page)
    open_first(page)
    fitting = box(page, "viewer-image")["width"]
    press(page, "+", "+")
    larger = box(page, "viewer-image")["width"]
    press(page, "-")
    smaller = box(page, "viewer-image")["width"]
    stage = by_id(page, "stage")
    ActionChains(page).scroll_from_origin(_origin(stage), 0, -400).perform()
    wheeled = box(page, "viewer-image")["width"]
    press(page, "0")

    assert 0 < fitting < smaller < larger
    assert wheeled > smaller
    assert box(page, "viewer-image")["width"] == fitting


def test_an_image_can_be_enlarged_with_buttons(page, folder):
    choose(page, folder, "sick.png")
    rows(page)
    open_first(page)
    fitting = box(page, "viewer-image")["width"]
    zoom = by_id(page, "viewer-zoom")
    smaller, larger, fit = zoom.find_elements("css selector", "button")
    seen = []
    for button in (larger, larger, smaller, fit):
        button.click()
        shown = zoom.find_element("css selector", "output").text.removesuffix(" %")
        # The percentage belongs to the size of the picture.
        assert abs(box(page, "viewer-image")["width"] / fitting - int(shown) / 100) < 0.01
        seen.append(int(shown))

    assert 100 < seen[2] == seen[0] < seen[1] and seen[3] == 100


def _origin(element):
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    return ScrollOrigin.from_element(element)


def test_the_slider_lays_the_heat_map_over_the_part_that_the_model_sees(page, folder):
    page.execute_script(ASKED)
    choose(page, folder, "sick.png")
    rows(page)
    open_first(page)
    before = page.execute_script("return window.asked.filter((each) => each.includes('heatmap')).length")
    by_id(page, "opacity").send_keys(Keys.END)
    wait(page, lambda: page.execute_script("return document.getElementById('viewer-map').naturalWidth") == graphs.SIZE)
    image, shown = box(page, "viewer-image"), box(page, "viewer-map")

    assert before == 0
    assert float(by_id(page, "viewer-map").value_of_css_property("opacity")) == 1
    # The central square, 0.875 of the shorter side.
    assert abs(shown["width"] - 0.875 * image["width"]) < 1
    assert abs(shown["x"] + shown["width"] / 2 - image["x"] - image["width"] / 2) < 1
    # The slider has the focus, so its keys do not change the image.
    press(page, Keys.HOME)
    assert not by_id(page, "viewer-map").is_displayed()


def test_a_heat_map_opens_the_image_with_the_heat_map(page, folder):
    choose(page, folder, "sick.png")
    rows(page)
    by_id(page, "heat-maps").click()
    click(page, ".map button")

    wait(page, lambda: by_id(page, "viewer-map").is_displayed())
    by_id(page, "close").click()
    assert not by_id(page, "viewer").is_displayed()


def test_heat_maps_are_asked_for_only_when_they_are_shown(page, folder, tmp_path):
    page.execute_script(ASKED)
    for number in range(60):
        (tmp_path / f"{number}.png").write_bytes((folder / "sick.png").read_bytes())
    by_id(page, "files").send_keys("\n".join(str(tmp_path / f"{number}.png") for number in range(60)))
    wait(page, by_id(page, "view-list").is_displayed)
    by_id(page, "view-list").click()
    wait(page, lambda: len(rows(page)) == 60)

    def drawn():
        return page.execute_script("return window.asked.filter((each) => each.includes('heatmap')).length")

    assert drawn() == 0
    by_id(page, "heat-maps").click()
    lacking = """
    return [...document.querySelectorAll("#rows tr")].filter((row) => {
      const place = row.getBoundingClientRect();
      return place.bottom > 0 && place.top < innerHeight && !row.querySelector(".map button");
    }).length
    """
    page.execute_script("document.querySelector('#rows').scrollIntoView({ behavior: 'instant' })")
    wait(page, lambda: page.execute_script(lacking) == 0)

    assert 0 < drawn() < 60
    page.execute_script("document.querySelector('#rows tr:last-child').scrollIntoView({ behavior: 'instant' })")
    wait(page, lambda: count(page, "#rows tr:last-child .map button"))


def test_the_page_can_be_used_by_keyboard(page, folder):
    choose(page, folder, "sick.png", "broken.png", "=1+1.png")
    rows(page)
    page.execute_script("document.activeElement.blur(); getSelection().removeAllRanges()")
    reached = []
    while len(reached) < 30 and "Open" not in "".join(reached):
        press(page, Keys.TAB)
        name, style, width = page.execute_script(FOCUS)
        reached.append(name)
        assert (style, width) == ("solid", "3px"), reached
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    third = focused(page, "aria-label")
    press(page, Keys.ARROW_UP, Keys.HOME)
    first = focused(page, "aria-label")
    press(page, Keys.ENTER)
    wait(page, lambda: by_id(page, "viewer").is_displayed())
    press(page, Keys.ESCAPE)
    wait(page, lambda: not by_id(page, "viewer").is_displayed())

    controls = ["files", "folder", "again", "save", "print", "clear"]
    filters = [f"filter-{name}" for name in ("all", "review", "positive", "negative", "failed")]
    # One stop for all images; the arrow keys move between them.
    assert reached[-15:-1] == [*controls, *filters, "order", "heat-maps", "view-gallery", "view-list"][-14:]
    assert reached[-1] == first
    assert "sick.png" in third and "=1+1.png" in first
    assert focused(page, "aria-label") == first
