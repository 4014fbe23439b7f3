"""Tests of the page in a real browser with a real server: choosing images, the list, saving, printing, reloading."""

import base64
import csv
import datetime
import io

import pytest

from Classes import Helpers
from Classes.common import conditions, table_columns
from Classes.serving import api_errors, page_routes
from tests.support import browser, servers
from tests.support.browser import attributes, by_id, choose, click, count, fits, focused, rows, texts, visit, wait

KEY = "k" * 32

# Probability of class "1" by graphs.pooled, for 4 (red - 128) / 128 - 0.5 from red 128 on and -0.5 below.
SICK, WELL = 0.817574, 0.377541
ALL_FOUR = ("sick.png", "well, blue.png", "=1+1.png", "broken.png")

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

# Drops a folder of the structure {name: [bytes in base64] or a folder}, which a script can only imitate.
DROP_FOLDER = """
const entry = (name, content, path) => Array.isArray(content)
  ? { isDirectory: false, name, fullPath: path, file: (found) => found(new File(
      [Uint8Array.from(atob(content[0]), (letter) => letter.charCodeAt(0))], name)) }
  : { isDirectory: true, name, fullPath: path, createReader: () => {
      // A browser hands out the entries in parts.
      const entries = Object.entries(content).map(([each, inner]) => entry(each, inner, `${path}/${each}`));
      return { readEntries: (found) => found(entries.splice(0, 2)) };
    } };
const items = Object.entries(arguments[0]).map(([name, content]) => (
  { kind: "file", getAsFile: () => null, webkitGetAsEntry: () => entry(name, content, `/${name}`) }));
const drop = new Event("drop", { bubbles: true, cancelable: true });
drop.dataTransfer = { items };
document.querySelector("h1").dispatchEvent(drop);
"""


def saved(driver, folder):
    """Return the rows of the saved CSV as dicts."""
    path = wait(driver, lambda: next(folder.glob("*.csv"), None))
    content = path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def counts(driver):
    names = ("all", "review", "positive", "negative", "failed")
    return [int(by_id(driver, f"count-{name}").text) for name in names]


def leaving_asks(driver):
    script = "const event = new Event('beforeunload', { cancelable: true }); return !window.dispatchEvent(event)"
    return driver.execute_script(script)


def test_results_are_shown_with_those_for_review_first(page, folder):
    choose(page, folder, *ALL_FOUR)
    by_id(page, "view-list").click()
    shown = rows(page)

    assert list(shown) == ["well, blue.png", "=1+1.png", "broken.png", "sick.png"]
    outcome, lines = shown["well, blue.png"]
    assert (outcome, lines[0]) == ("review", "Needs review")
    assert "62." in lines[1]
    assert "training images" in " ".join(shown["=1+1.png"][1])
    assert shown["broken.png"][0] == "failed"
    assert shown["sick.png"] == ("positive", ["Signs of ALL"])
    wait(page, lambda: counts(page) == [4, 2, 1, 0, 1])
    meters = [float(value) for value in attributes(page, "meter", "value")]
    assert meters == pytest.approx([1 - WELL, 1 - WELL, SICK], abs=1e-4)


@pytest.mark.slow
def test_practice_images_are_offered_while_the_list_is_empty(page):
    names = sorted(path.name for path in page_routes.example_images())
    wait(page, by_id(page, "try-examples").is_displayed)
    by_id(page, "try-examples").click()
    wait(page, lambda: count(page, "#rows tr") == len(names))
    shown = rows(page)

    assert sorted(shown) == names
    assert "failed" not in {outcome for outcome, _ in shown.values()}
    assert not by_id(page, "try-examples").is_displayed()


def test_chips_filter_and_the_order_can_be_chosen(page, folder):
    from selenium.webdriver.support.ui import Select

    choose(page, folder, *ALL_FOUR)
    rows(page)
    by_id(page, "filter-positive").click()
    wait(page, lambda: list(rows(page)) == ["sick.png"])
    assert by_id(page, "filter-positive").get_attribute("aria-pressed") == "true"
    by_id(page, "filter-negative").click()
    wait(page, lambda: not rows(page))
    assert by_id(page, "empty").is_displayed()

    by_id(page, "filter-all").click()
    expected = {
        "name": ["=1+1.png", "broken.png", "sick.png", "well, blue.png"],
        "confidence": ["well, blue.png", "=1+1.png", "sick.png", "broken.png"],
        "probability": ["sick.png", "well, blue.png", "=1+1.png", "broken.png"],
        "added": list(ALL_FOUR),
    }
    for order, names in expected.items():
        Select(by_id(page, "order")).select_by_value(order)
        wait(page, lambda names=names: list(rows(page)) == names)


def test_the_saved_csv(page, folder):
    choose(page, folder, *ALL_FOUR)
    rows(page)
    assert leaving_asks(page)
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
    well = lines["well, blue.png"]
    assert (well["outcome"], well["reason_codes"]) == ("review", "low_confidence")
    assert (well["result"], well["needs review"], well["reasons"]) == ("Needs review", "yes", "The confidence is low.")
    assert (sick["result"], sick["needs review"]) == ("Signs of ALL", "no")
    assert float(sick["ALL probability (%)"]) == pytest.approx(100 * SICK, abs=0.01)
    assert datetime.datetime.fromisoformat(sick["date"]) and sick["software version"]
    assert (broken["result"], broken["reasons"]) == ("No result", broken["error"])
    # The same as Classifier.py writes.
    assert list(sick)[:11] == [column.name for column in table_columns.people_columns(conditions.ALL)]
    assert broken["verdict"] == broken["confidence"] == ""
    assert broken["error"].endswith("(not_an_image)")
    assert not leaving_asks(page)


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

    wait(page, lambda: "dropped.png" in rows(page))
    assert page.execute_script("return window.prevented")


def test_a_dropped_folder_is_read_with_its_sub_folders_and_other_files_are_skipped(page, folder):
    content = [base64.b64encode((folder / "sick.png").read_bytes()).decode()]
    slide = {"a.png": content, "b.png": content, "c.png": content, "notes.txt": [""], ".DS_Store": [""]}

    page.execute_script(DROP_FOLDER, {"slides": {"one": slide, "two": {"d.png": content}}})
    wait(page, lambda: len(rows(page)) == 4)

    titles = page.execute_script("return [...document.querySelectorAll('#rows th span')].map(each => each.title)")
    assert sorted(titles) == ["slides/one/a.png", "slides/one/b.png", "slides/one/c.png", "slides/two/d.png"]
    note = by_id(page, "note").text
    assert "2 files" in note and "notes.txt" in note and ".DS_Store" in note


def test_a_folder_can_be_chosen(page, folder, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "x.png").write_bytes((folder / "sick.png").read_bytes())
    (tmp_path / "Thumbs.db").write_bytes(b"")
    by_id(page, "folder").send_keys(str(tmp_path))

    wait(page, lambda: list(rows(page)) == ["x.png"])
    assert "Thumbs.db" in by_id(page, "note").text


def test_results_survive_a_reload_and_get_their_files_back(page, folder):
    choose(page, folder, "sick.png", "well, blue.png", "broken.png")
    before = rows(page)
    page.refresh()
    browser.wait_until_ready(page)
    after = rows(page)

    assert list(after) == list(before)
    assert after["sick.png"] == before["sick.png"]
    assert after["broken.png"][0] == "failed"
    assert leaving_asks(page)
    page.execute_script(BUSY_FETCH, 0)
    choose(page, folder, "sick.png", "well, blue.png", "broken.png")
    wait(page, lambda: count(page, "#rows .picture img") == 2)
    assert len(rows(page)) == 3
    # Only the file without a result was sent again.
    assert page.execute_script("return window.sent") == 1


def test_clearing_the_list_asks_if_results_were_not_saved(page, folder):
    choose(page, folder, "sick.png")
    rows(page)
    by_id(page, "clear").click()
    click(page, "#confirm [value=cancel]")
    wait(page, lambda: not by_id(page, "confirm").is_displayed())
    assert len(rows(page)) == 1
    by_id(page, "clear").click()
    by_id(page, "really-clear").click()

    wait(page, lambda: not rows(page))
    assert by_id(page, "intro").is_displayed()
    assert page.execute_script("return Object.keys(sessionStorage)") == []


def test_the_printed_report(page, folder, tmp_path):
    for number in range(17):
        (tmp_path / f"{number}.png").write_bytes((folder / "sick.png").read_bytes())
    choose(page, tmp_path, *(f"{number}.png" for number in range(17)))
    wait(page, lambda: counts(page)[2] == 17)
    page.execute_script("window.print = () => {}")
    by_id(page, "print").click()
    wait(page, lambda: by_id(page, "print").is_enabled())
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    [text] = texts(page, "body")
    sheets = page.execute_script(
        "return [...document.querySelectorAll('.sheet')].map((sheet) => sheet.querySelectorAll('article img').length)"
    )
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.execute_script("window.dispatchEvent(new Event('afterprint'))")
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])

    # Eight images per sheet, and each sheet is one page.
    assert sheets == [8, 8, 1]
    assert pdf.count(b"/Type /Page\n") == 3
    assert text.startswith("Ward 7\n")
    assert text.count("Research use only.") == 3
    assert "Signature" in text
    assert "Choose images" not in text
    assert not leaving_asks(page)


@pytest.mark.slow
def test_at_most_three_requests_run_and_busy_ones_are_retried(page, folder):
    page.execute_script(BUSY_FETCH, 4)
    choose(page, folder, "sick.png", "well, blue.png", "=1+1.png")
    choose(page, folder, "sick.png", "well, blue.png", "=1+1.png")
    wait(page, lambda: "2 s" in by_id(page, "rows").text)
    shown = rows(page)

    assert {outcome for outcome, _ in shown.values()} == {"positive", "review"}
    assert page.execute_script("return [window.most, window.sent]") == [3, 6 + 4]


def test_a_cleared_list_stays_empty(page, folder):
    page.execute_script(BUSY_FETCH, 100)
    choose(page, folder, "sick.png", "well, blue.png", "broken.png")
    wait(page, lambda: by_id(page, "rows").text.count("2 s") == 3)
    # Waiting requests would delay the next one.
    page.execute_script("window.most = 0")
    by_id(page, "clear").click()
    choose(page, folder, "=1+1.png")
    wait(page, lambda: "2 s" in by_id(page, "rows").text)

    assert page.execute_script("return [window.most, window.sent]") == [1, 4]
    assert count(page, "#rows tr") == 1
    by_id(page, "clear").click()
    wait(page, lambda: by_id(page, "intro").is_displayed())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_a_phone(page, folder, theme):
    browser.width(page, 360, prefers_color_scheme=theme)
    empty = fits(page)
    choose(page, folder, "sick.png", "well, blue.png", "broken.png")
    rows(page)
    gallery = fits(page)
    by_id(page, "view-list").click()
    ground = page.find_element("css selector", "body").value_of_css_property("background-color")

    assert empty and gallery and fits(page)
    assert ground == {"light": "rgba(255, 255, 255, 1)", "dark": "rgba(23, 21, 27, 1)"}[theme]
    page.execute_script("scrollTo(0, document.body.scrollHeight)")
    # Even at the end of the page.
    top = page.execute_script("return document.querySelector('.notice').getBoundingClientRect().top")
    assert 0 <= top < 800


@pytest.mark.parametrize("view", ["gallery", "list"])
def test_screen_readers_see_a_table_on_narrow_screens(page, folder, view):
    browser.width(page, 360)
    choose(page, folder, "sick.png")
    rows(page)
    by_id(page, f"view-{view}").click()
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]]

    for heading in ("Image", "File", "Result", "Confidence"):
        assert ("columnheader", heading) in told
    assert ("table", "Results") in told
    assert ("rowheader", "sick.png") in told
    assert any(role == "status" for role, _ in told)


def test_the_api_key(driver, folder, tmp_path):
    # This server's graph cannot be read, so it has no heat maps; the page continues without them.
    with servers.running(tmp_path, ALL_API_KEY=KEY) as server:
        for page in visit(driver, server, folder):
            asked = by_id(page, "key").is_displayed()
            choose(page, folder, *ALL_FOUR)
            before = rows(page)
            asks_for = focused(page, "id")
            by_id(page, "heat-maps").click()
            by_id(page, "key").send_keys(KEY, "\n")
            wait(page, lambda shown=page: "failed" not in rows(shown)["sick.png"])
            after = rows(page)
            wait(page, lambda shown=page: not by_id(shown, "heat-maps").is_selected())
            kept = page.execute_script("return JSON.stringify([localStorage, sessionStorage, document.cookie])")

    assert asked
    assert {outcome for outcome, _ in before.values()} == {"failed"}
    assert asks_for == "key"
    assert after["sick.png"][0] == "positive"
    assert after["broken.png"][0] == "failed"
    assert KEY not in kept


def test_a_server_without_a_key_asks_for_none(page):
    assert not by_id(page, "key").is_displayed()
    assert by_id(page, "site").text == "Ward 7"


def test_the_api_page(page, server):
    page.get(f"http://127.0.0.1:{server.port}/docs#schema-Error")
    wait(page, lambda: by_id(page, "status").text.endswith("endpoints."))
    [text] = texts(page, "main")
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
    assert links and all(count(page, link) for link in set(links))
    browser.width(page, 360)
    assert fits(page)
