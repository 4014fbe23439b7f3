"""Tests of the source of the web pages; test_page.py and test_page_viewer.py test them in a browser."""

import html.parser
import re

import pytest

from Classes import Helpers
from Classes.common import conditions, outcome
from Classes.serving import page_routes
from tests.support import services

PAGES = ("index.html", "docs.html", "history.html")


class Elements(html.parser.HTMLParser):
    """Parses a page: `found` has (name, {attribute: value}) of each element, `text` the text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page_routes.render_page(page_routes.STATIC_FOLDER / page, "en", conditions.ALL))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def scripts(page):
    """Return the paths of a page's script and of all modules that it imports."""
    [name] = [fields["src"] for tag, fields in Elements(page).found if tag == "script" and "src" in fields]
    found, waiting = set(), [page_routes.STATIC_FOLDER / name]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [
                path.with_name(each) for each in re.findall(r'^import .*"\./(.+)";$', path.read_text("utf-8"), re.M)
            ]
    return found


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
    named = [name for path in scripts(page) for name in re.findall(r'byId\("([^"]+)"\)', path.read_text("utf-8"))]
    for _, fields in elements:
        for key in ("for", "aria-describedby", "aria-labelledby"):
            named += fields.get(key, "").split()

    assert len(ids) == len(set(ids))
    assert set(named) <= set(ids)


def test_every_input_has_a_label():
    elements = Elements("index.html").found
    labels = {fields["for"] for name, fields in elements if name == "label"}

    fields = {fields["id"] for name, fields in elements if name in ("input", "select")}
    names = {"files", "folder", "choice", "key", "heat-maps", "order", "opacity", "mode-cells", "mode-fields"}
    assert fields == labels == names


def test_the_page_has_words_for_every_outcome_and_reason():
    text = (page_routes.STATIC_FOLDER / "results.js").read_text(encoding="utf-8")
    reasons = text[text.index("function reasonText") :].partition("\n}")[0]

    assert set(re.findall(r"^ +(\w+): t\(", reasons, re.MULTILINE)) == set(outcome.REASONS)
    outcomes = re.findall(r'= "(\w+)";', (page_routes.STATIC_FOLDER / "images.js").read_text(encoding="utf-8"))
    assert set(outcomes) == {*outcome.OUTCOMES, "typed", "failed"}


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
