import jinja2
import pytest

from Classes.common import html

TEMPLATES = {
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
    assert "<td>&lt;b&gt;</td>" in text
    assert "<td>a\\x0ab</td>" in text


def test_markdown_is_not_escaped_as_html(package):
    assert html.render(package, "text.md", name="a < b") == "a < b\n"


def test_a_missing_value_is_an_error(package):
    with pytest.raises(jinja2.UndefinedError):
        html.render(package, "text.md")
