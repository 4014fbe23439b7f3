"""Test the report: its links, its order, and what it does not load."""

import pathlib
import re
import tempfile

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.fields import html_report, run_counts
from tests.support import fields


def rendered(*pairs, problem=None):
    report = html_report.HtmlReport()
    for field in pairs:
        report.add_field(field, html_report.draw_pictures(fields.draw(), field))
    if problem:
        report.add_problem("bad<b>.png", problem)
    cells = [cell for field in pairs for cell in field.cells]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "report.html")
        report.write(path, run_counts.count_cells(cells), ["never seen a blast"])
        return path.read_text(encoding="utf-8")


FIELDS = (
    fields.field(fields.typed(1, "neutrophil", 0.9), fields.typed(2, "lymphocyte", 0.8)),
    fields.field(fields.typed(1, "neutrophil", 0.6, flags=("needs_review",)), name="b.png"),
)


def test_every_cell_links_to_its_place_and_back():
    page = rendered(*FIELDS)
    targets = set(re.findall(r'id="([^"]+)"', page))
    links = re.findall(r'href="#([^"]+)"', page)
    assert {"f1c1", "f1c2", "f2c1", "gf1c1", "gf1c2", "gf2c1"} <= set(links)
    assert set(links) <= targets


def test_pictures_that_do_not_stay_in_memory_are_in_their_places(tmp_path, monkeypatch):
    monkeypatch.setattr(html_report, "IN_MEMORY", 10)
    report = html_report.HtmlReport()
    for name in "abc":
        picture = f"data:image/jpeg;base64,{name * 40}"
        report.add_field(fields.field(name=f"{name}.png"), html_report.Pictures(picture, []))
    report.write(tmp_path / "report.html", run_counts.count_cells([]), [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = re.findall(r'<h3[^>]*>(\w)\.png.*?<image href="data:image/jpeg;base64,(\w+)"', page, re.DOTALL)
    assert found == [(name, name * 40) for name in "abc"]


def test_a_slide_has_its_own_sentence(tmp_path):
    report = html_report.HtmlReport(of_slides=True)
    report.add_field(fields.field(), html_report.Pictures("", []), "2.31 of 40 mm²")
    report.write(tmp_path / "report.html", run_counts.count_cells([]), [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("2.31 of 40 mm²") == 1
    # The words for a photograph, all of which is searched.
    assert f"{fields.field().width} \u00d7" not in page


def test_a_long_report_says_how_many_fields_or_slides_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(html_report, "MOST_FIELDS", 1)
    notes = set()
    for of_slides in (False, True):
        report = html_report.HtmlReport(of_slides)
        for name in "ab":
            report.add_field(fields.field(name=f"{name}.png"), html_report.Pictures("", []), "-")
        report.write(tmp_path / "report.html", run_counts.count_cells([]), [])
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        [note] = [text for text in re.findall(r'<p class="help">(.*?)</p>', page) if "--overlay" in text]
        assert "1" in note and "2" in note
        notes.add(note)
    assert len(notes) == 2


def test_the_rarest_type_and_the_least_certain_cell_come_first():
    page = rendered(*FIELDS)
    gallery = re.findall(r'<li id="g(f\dc\d)"', page)
    assert gallery == ["f1c2", "f2c1", "f1c1"]


def test_nothing_is_loaded_from_elsewhere():
    page = rendered(*FIELDS)
    sources = re.findall(r'(?:src|href)="([^"]{5})', page)
    assert {source for source in sources if not source.startswith("#")} == {"data:"}


def test_names_and_messages_are_escaped():
    page = rendered(problem=ImageError(Message("{name}: no", name="bad<b>.png"), "not_a_smear"))
    assert "bad<b>" not in page
    assert "bad&lt;b&gt;" in page


def test_a_long_gallery_keeps_the_least_certain_cells():
    cells = [fields.typed(number, "neutrophil", 1 - number / 1000) for number in range(1, 340)]
    page = rendered(fields.field(*cells))
    shown = [int(number) for number in re.findall(r'<li id="gf1c(\d+)"', page)]
    assert shown == list(range(339, 339 - html_report.MOST_CELLS, -1))
