import re
from html import unescape

import jinja2
import pytest

from Classes.common import html

TEMPLATES = {
    "commands.html": "{% from 'macros.html' import command with context %}{{ command('a', 'Do it', text) }}",
    "page_of_it.html": "{% extends 'page.html' %}{% from 'macros.html' import table %}"
    "{% block body %}{{ table(('name',), [('<b>',), ('a\\nb',)]) }}{% endblock %}",
    "text.md": "{{ name }}\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The name of a package with templates of its own."""
    name = f"package_{tmp_path.name}"
    (tmp_path / name / "templates").mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    for template, text in TEMPLATES.items():
        (tmp_path / name / "templates" / template).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_page_escapes_its_values_and_extends_the_common_page(package):
    text = html.render(package, "page_of_it.html", title="A & B")

    assert text.startswith("<!DOCTYPE html>")
    assert "<h1>A &amp; B</h1>" in text
    assert '<th scope="col">name</th>' in text
    assert '<th scope="row">&lt;b&gt;</th>' in text
    assert '<th scope="row">a\\x0ab</th>' in text


def test_markdown_is_not_escaped_as_html(package):
    assert html.render(package, "text.md", name="a < b") == "a < b\n"


def test_a_missing_value_is_an_error(package):
    with pytest.raises(jinja2.UndefinedError):
        html.render(package, "text.md")


def test_a_command_is_copied_line_by_line_as_it_is(package):
    text = html.render(package, "commands.html", text="one 'x' <\ntwo")

    [shown] = re.findall(r'<pre id="a"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert unescape(shown) == "one 'x' <\ntwo"
    assert 'data-for="a"' in text
