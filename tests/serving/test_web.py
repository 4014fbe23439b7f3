"""Tests of the page's source, and of the page in a real browser with a real server."""

import base64
import csv
import html.parser
import io
import re

import pytest

from Classes import Helpers
from Classes.imaging import color_stats
from Classes.serving import api_errors, page_routes
from tests.support import browser, graphs, servers, services, waiting

KEY = "k" * 32
PAGES = ("index.html", "docs.html")


class Elements(html.parser.HTMLParser):
    """Parses a page: `found` has (name, {attribute: value}) of each element, `text` the text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page_routes.render_page(page_routes.STATIC_FOLDER / page, "en"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


# Source


@pytest.mark.parametrize("page", PAGES)
def test_files_referenced_by_a_page_exist(page, tmp_path):
    client = services.client(tmp_path)
    named = [fields.get("href") or fields.get("src") for _, fields in Elements(page).found]
    named = [address for address in named if address]

    assert "style.css" in named
    for address in named:
        # Relative, so that the page also works under a path prefix of a proxy.
        assert re.fullmatch(r"\./|[a-z]+(\.[a-z]+)?|\?language=[a-z]+", address)
        with client.get("/" + address.removeprefix("./")) as response:
            assert response.status_code == 200
    client.service.close()


@pytest.mark.parametrize("path", sorted(page_routes.STATIC_FOLDER.iterdir()), ids=lambda path: path.name)
def test_pages_load_nothing_from_other_hosts(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?://|//[a-z]+\.|@import|\burl\(|\beval\(|innerHTML|insertAdjacentHTML", text)


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_no_inline_scripts_or_styles(page):
    for name, fields in Elements(page).found:
        assert name != "style"
        assert name != "script" or fields.get("src") or fields["type"] == "application/json"
        assert not [key for key in fields if key == "style" or key.startswith("on")]


@pytest.mark.parametrize("page", PAGES)
def test_referenced_element_ids_exist(page):
    elements = Elements(page).found
    ids = [fields["id"] for _, fields in elements if "id" in fields]
    script = (page_routes.STATIC_FOLDER / {"index.html": "app.js"}.get(page, "docs.js")).read_text(encoding="utf-8")
    named = re.findall(r'byId\("([^"]+)"\)', script)
    for _, fields in elements:
        for key in ("for", "aria-describedby", "aria-labelledby"):
            named += fields.get(key, "").split()

    assert len(ids) == len(set(ids))
    assert set(named) <= set(ids)


def test_every_input_has_a_label():
    elements = Elements("index.html").found
    labels = {fields["for"] for name, fields in elements if name == "label"}

    assert {fields["id"] for name, fields in elements if name == "input"} == labels == {"files", "key", "heat-maps"}


@pytest.mark.parametrize("page", PAGES)
def test_pages_show_the_disclaimer(page):
    words = " ".join(Elements(page).text.split())

    assert Helpers.DISCLAIMER.lower() in words.lower().replace("research use only.", "research use only:")


def luminance(colour):
    shares = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_contrast_formula():
    # From the definition in WCAG 2: black on white is 21, #767676 on white just over 4.5.
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_enough_contrast(theme):
    blocks = re.findall(r":root \{([^}]*)\}", (page_routes.STATIC_FOLDER / "style.css").read_text(encoding="utf-8"))
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[theme]))

    for ground in ("ground", "raised"):
        for text in ("text", "quiet", "accent", "alarm", "fine"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        # Borders and marks need less: WCAG 2, 1.4.11.
        assert contrast(colours["line"], colours[ground]) >= 3
    assert contrast(colours["text"], colours["caution-ground"]) >= 4.5
    assert contrast(colours["caution"], colours["caution-ground"]) >= 4.5


# In a browser

# Probability of class "1" by graphs.pooled, for 4 (red - 128) / 128 - 0.5 from red 128 on and -0.5 below.
SICK, WELL = 0.817574, 0.377541
STATUS = "3 of 4 images have a result: 1 ALL detected, 2 not detected; 2 with low confidence; 1 failed."

# Delays every request, counts those in flight, and answers the first ones with 503.
BUSY_FETCH = """
const send = window.fetch, [refusals] = arguments;
window.most = window.sent = 0;
let under = 0;
window.fetch = async (...request) => {
  window.sent += 1;
  const number = window.sent;
  window.most = Math.max(window.most, under += 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  try {
    if (number > refusals) return await send(...request);
    const body = JSON.stringify({ code: "busy", message: "The queue is full." });
    return new Response(body, { status: 503, headers: { "Retry-After": "2" } });
  } finally {
    under -= 1;
  }
};
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images with known results, with a comma and a formula in names, and one file that is not an image."""
    found = tmp_path_factory.mktemp("web")
    for name, red in (("sick.png", 192), ("well, blue.png", 64), ("=1+1.png", 0)):
        (found / name).write_bytes(services.image(red))
    (found / "broken.png").write_bytes(b"no image")
    return found


@pytest.fixture(scope="module")
def driver(folder):
    with browser.opened(folder) as found:
        yield found


@pytest.fixture(scope="module")
def server(driver, tmp_path_factory):
    """Server.py with its device; depends on `driver`, so that it is not started without a browser."""
    known = [color_stats.color_features(graphs.red(value, size=graphs.SIZE)) for value in (64, 65, 191, 192)]
    model = {"content": graphs.pooled(), "size": graphs.SIZE, "colours": color_stats.fit_reference(known)}
    with servers.running(tmp_path_factory.mktemp("server"), "RateLimitPerMinute=0", real=True, model=model) as found:
        yield found


@pytest.fixture
def page(driver, server, folder):
    """The browser with a new page; fails if the console has messages at the end."""
    yield from visit(driver, server, folder)


def visit(driver, server, folder):
    for path in folder.glob("*.csv"):
        path.unlink()
    browser.width(driver, 1280)
    driver.get(f"http://127.0.0.1:{server.port}/")
    browser.complaints(driver)
    yield driver
    assert browser.complaints(driver) == []


def by_id(driver, name):
    return driver.find_element("id", name)


def choose(driver, folder, *names):
    by_id(driver, "files").send_keys("\n".join(str(folder / name) for name in names))


def wait(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, waiting.LIMIT, poll_frequency=0.05).until(lambda _: condition())


def rows(driver):
    """Wait for all images and return {file: [result, confidence]} as shown."""
    wait(driver, lambda: not driver.find_elements("css selector", "tr.waiting, tr.sending"))
    script = "return [...document.querySelectorAll('#rows tr')].map(row => [...row.cells].map(cell => cell.innerText))"
    return {cells[1]: cells[2:4] for cells in driver.execute_script(script)}


def saved(driver, folder):
    """Return the rows of the saved CSV as dicts."""
    path = folder / "ALL results.csv"
    wait(driver, path.exists)
    content = path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def fits(driver):
    """Return whether the page fits the width of the screen."""
    return driver.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.slow
def test_practice_images_are_offered_while_the_list_is_empty(page, folder):
    names = sorted(path.name for path in page_routes.example_images())
    wait(page, by_id(page, "try-examples").is_displayed)
    by_id(page, "try-examples").click()
    wait(page, lambda: len(page.find_elements("css selector", "#rows tr")) == len(names))
    shown = rows(page)

    assert sorted(shown) == names
    assert not [name for name, (result, _) in shown.items() if result.startswith("No result")]
    assert not by_id(page, "try-examples").is_displayed()
    by_id(page, "clear").click()
    assert by_id(page, "try-examples").is_displayed()


@pytest.mark.slow
def test_results_are_shown(page, folder):
    choose(page, folder, "sick.png", "well, blue.png")
    choose(page, folder, "=1+1.png", "broken.png")
    shown = rows(page)

    assert list(shown) == ["sick.png", "well, blue.png", "=1+1.png", "broken.png"]
    assert shown["sick.png"] == ["ALL detected", "81.76 %"]
    assert shown["well, blue.png"] == ["ALL not detected", "62.25 %\n⚠ low confidence"]
    assert shown["=1+1.png"][1].splitlines()[-1].startswith("⚠ ")
    assert "colors" in shown["=1+1.png"][1]
    assert shown["broken.png"][0].startswith("No result\n")
    assert shown["broken.png"][0].endswith("(not_an_image)")
    assert by_id(page, "status").text == STATUS
    meters = page.find_elements("css selector", "meter")
    assert [float(meter.get_attribute("value")) for meter in meters] == pytest.approx(
        [SICK, 1 - WELL, 1 - WELL], abs=1e-4
    )


def test_the_saved_csv(page, folder):
    choose(page, folder, "sick.png", "well, blue.png", "=1+1.png", "broken.png")
    rows(page)
    by_id(page, "save").click()
    lines = {line["file"]: line for line in saved(page, folder)}

    # Spreadsheets must not run a file name as a formula.
    assert list(lines) == ["sick.png", "well, blue.png", "'=1+1.png", "broken.png"]
    sick, broken = lines["sick.png"], lines["broken.png"]
    assert (sick["class"], sick["verdict"], sick["low"], sick["error"]) == ("1", "ALL detected", "false", "")
    assert [float(sick[name]) for name in ("confidence", "probability_1")] == pytest.approx([SICK, SICK], abs=1e-4)
    assert float(sick["probability_0"]) == pytest.approx(1 - SICK, abs=1e-4)
    assert sick["remark"] == "" and "colors" in lines["'=1+1.png"]["remark"]
    assert (sick["engine"], sick["notice"]) == ("OpenVINO CPU", Helpers.DISCLAIMER)
    assert lines["well, blue.png"]["low"] == "true"
    assert broken["verdict"] == broken["confidence"] == ""
    assert broken["error"].endswith("(not_an_image)")


def test_images_can_be_dropped_anywhere_on_the_page(page, folder):
    content = base64.b64encode((folder / "sick.png").read_bytes()).decode()
    page.execute_script(
        """
        const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], "dropped.png"));
        const told = { dataTransfer, bubbles: true, cancelable: true };
        // A drop that is not prevented makes the browser leave the page.
        window.prevented = !document.querySelector("h1").dispatchEvent(new DragEvent("drop", told));
        """,
        content,
    )

    assert rows(page) == {"dropped.png": ["ALL detected", "81.76 %"]}
    assert page.execute_script("return window.prevented")


def test_a_heat_map_can_be_enlarged(page, folder):
    choose(page, folder, "sick.png")
    rows(page)
    by_id(page, "heat-maps").click()
    small = wait(page, lambda: page.find_elements("css selector", ".map button"))[0]
    small.click()
    wait(page, lambda: by_id(page, "larger-map").is_displayed())
    script = "return [...document.querySelectorAll('#larger img')].map(image => image.naturalWidth)"
    wait(page, lambda: all(page.execute_script(script)))

    assert small.get_attribute("aria-label") == "Enlarge sick.png and its heat map"
    assert page.execute_script(script) == [300, graphs.SIZE]
    by_id(page, "close").click()
    assert not by_id(page, "larger").is_displayed()


ASKED = """
const send = window.fetch;
window.asked = [];
window.fetch = (address, ...rest) => {
  window.asked.push(address);
  return send(address, ...rest);
};
"""


def test_heat_maps_are_asked_for_only_when_they_are_shown(page, folder, tmp_path):
    page.execute_script(ASKED)
    for number in range(30):
        (tmp_path / f"{number}.png").write_bytes((folder / "sick.png").read_bytes())
    choose(page, tmp_path, *(f"{number}.png" for number in range(30)))
    rows(page)

    def drawn():
        return page.execute_script("return window.asked.filter((each) => each.includes('heatmap')).length")

    assert drawn() == 0
    by_id(page, "heat-maps").click()
    # Rows grow with their maps, so that those below leave the screen.
    lacking = """
    return [...document.querySelectorAll("#rows tr")].filter((row) => {
      const place = row.getBoundingClientRect();
      return place.bottom > 0 && place.top < innerHeight && !row.querySelector(".map button");
    }).length
    """
    page.execute_script("document.querySelector('#rows').scrollIntoView({ behavior: 'instant' })")
    wait(page, lambda: page.execute_script(lacking) == 0)

    assert 0 < drawn() < 30
    page.execute_script("document.querySelector('#rows tr:last-child').scrollIntoView({ behavior: 'instant' })")
    wait(page, lambda: page.find_elements("css selector", "#rows tr:last-child .map button"))


def test_the_page_can_be_used_by_keyboard(page, folder):
    from selenium.webdriver import ActionChains, Keys

    def press(key):
        ActionChains(page).send_keys(key).perform()

    # Not by the mouse, after which the keyboard would begin there.
    page.execute_script("document.getElementById('heat-maps').checked = true")
    choose(page, folder, "sick.png", "broken.png")
    rows(page)
    wait(page, lambda: page.find_elements("css selector", ".map button"))
    page.execute_script("document.activeElement.blur(); getSelection().removeAllRanges()")
    reached = []
    while len(reached) < 20 and "Enlarge" not in "".join(reached):
        press(Keys.TAB)
        focused = page.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.get_attribute("aria-label") or focused.text)
        # The focus must be visible.
        assert focused.value_of_css_property("outline").endswith("solid 3px"), reached
        if reached[-1] == "save":
            press(Keys.SPACE)
    press(Keys.ENTER)
    wait(page, lambda: page.switch_to.active_element.get_attribute("id") == "close")
    press(Keys.ESCAPE)
    wait(page, lambda: not by_id(page, "larger").is_displayed())

    fields = ["files", "key", "heat-maps", "save", "again", "clear"]
    assert reached == ["Classify", "API", "English", "Español", *fields, "Enlarge sick.png and its heat map"]
    assert page.switch_to.active_element == focused
    assert len(saved(page, folder)) == 2


@pytest.mark.slow
def test_at_most_three_requests_run_and_busy_ones_are_retried(page, folder):
    page.execute_script(BUSY_FETCH, 4)
    choose(page, folder, "sick.png", "well, blue.png", "=1+1.png")
    choose(page, folder, "sick.png", "well, blue.png", "=1+1.png")
    wait(page, lambda: "Retry in 2 s" in by_id(page, "rows").text)
    shown = rows(page)

    assert {verdict for verdict, _ in shown.values()} == {"ALL detected", "ALL not detected"}
    assert page.execute_script("return [window.most, window.sent]") == [3, 6 + 4]


def test_a_cleared_list_stays_empty(page, folder):
    page.execute_script(BUSY_FETCH, 100)
    choose(page, folder, "sick.png", "well, blue.png", "broken.png")
    wait(page, lambda: by_id(page, "rows").text.count("Retry in 2 s") == 3)
    # Waiting requests would delay the next one.
    page.execute_script("window.most = 0")
    by_id(page, "clear").click()
    choose(page, folder, "=1+1.png")
    wait(page, lambda: "Retry in 2 s" in by_id(page, "rows").text)

    assert page.execute_script("return [window.most, window.sent]") == [1, 4]
    assert len(page.find_elements("css selector", "#rows tr")) == 1
    by_id(page, "clear").click()
    assert by_id(page, "status").text == "No images yet."
    assert not by_id(page, "save").is_enabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_a_phone(page, folder, theme):
    browser.width(page, 360, prefers_color_scheme=theme)
    empty = fits(page)
    choose(page, folder, "sick.png", "well, blue.png", "broken.png")
    rows(page)
    ground = page.find_element("css selector", "body").value_of_css_property("background-color")

    assert empty and fits(page)
    assert ground == {"light": "rgba(255, 255, 255, 1)", "dark": "rgba(23, 21, 27, 1)"}[theme]
    page.execute_script("scrollTo(0, document.body.scrollHeight)")
    # Even at the end of the page.
    top = page.execute_script("return document.querySelector('.notice').getBoundingClientRect().top")
    assert 0 <= top < 800


def test_screen_readers_see_a_table_on_narrow_screens(page, folder):
    browser.width(page, 360)
    choose(page, folder, "sick.png")
    rows(page)
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]]

    for heading in ("Image", "File", "Result", "Confidence", "Heat map"):
        assert ("columnheader", heading) in told
    assert ("table", "Results") in told
    assert ("rowheader", "sick.png") in told
    assert ("status", None) in told or any(role == "status" for role, _ in told)


def test_the_api_key(driver, folder, tmp_path):
    # This server's graph cannot be read, so it has no heat maps; the page continues without them.
    with servers.running(tmp_path, ALL_API_KEY=KEY) as server:
        for page in visit(driver, server, folder):
            choose(page, folder, "sick.png", "well, blue.png", "=1+1.png", "broken.png")
            before = rows(page)
            focused = page.switch_to.active_element.get_attribute("id")
            by_id(page, "heat-maps").click()
            by_id(page, "key").send_keys(KEY, "\n")
            after = rows(page)
            wait(page, lambda shown=page: not by_id(shown, "heat-maps").is_selected())
            kept = page.execute_script("return localStorage.length + sessionStorage.length + document.cookie.length")

    assert all(verdict.endswith("(unauthorized)") for verdict, _ in before.values())
    assert focused == "key"
    assert after["sick.png"] == ["ALL detected", "88.08 %"]
    assert after["broken.png"][0].endswith("(not_an_image)")
    assert kept == 0


def test_the_api_page(page, server):
    page.get(f"http://127.0.0.1:{server.port}/docs#schema-Refusal")
    wait(page, lambda: by_id(page, "status").text.endswith("endpoints."))
    text = page.find_element("css selector", "main").text
    _, document, _ = servers.request(server.port, "GET", "/openapi.json")

    for address, methods in document["paths"].items():
        for method in methods:
            assert f"{method.upper()} {address}\n" in text
    codes = page.execute_script(
        "return [...document.querySelectorAll('[aria-label=\"Error codes\"] tbody tr')].map(row => row.innerText)"
    )
    assert {tuple(line.split("\t")[:2]) for line in codes} == {
        (code, str(status)) for code, (status, _) in api_errors.ERROR_CODES.items()
    }
    assert (
        f'curl -H "X-API-Key: $ALL_API_KEY" --data-binary @cell.jpg http://127.0.0.1:{server.port}/v1/classify' in text
    )
    links = page.execute_script("return [...document.querySelectorAll('main a[href^=\"#\"]')].map(link => link.hash)")
    assert links and all(page.find_elements("css selector", link) for link in links)
    browser.width(page, 360)
    assert fits(page)
