"""A page of HTML that carries all it shows: it opens without a network, in any browser, and prints."""

import base64
import functools
import html
from typing import Any

import jinja2
import markupsafe

from Classes.common import errors

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1060px; margin: 2em auto; padding: 0 1em; }
h1 { margin-bottom: 0; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: .6em 0; } th, td { padding: .3em .8em; text-align: right; }
th { font-weight: 600; border-bottom: 1px solid #999; } th:first-child, td:first-child { text-align: left; }
tr:nth-child(even) td { background: #f5f5f5; }
.problem { border-left: 5px solid #b3261e; background: #fdecea; padding: .5em 1em; margin: .5em 0; }
.fine { border-left: 5px solid #2e7d32; background: #edf7ed; padding: .5em 1em; }
.notice { color: #555; } .wide { width: 240px; } .plot { max-width: 100%; width: 470px; border: 0; }
figure { display: inline-block; margin: .3em .6em .3em 0; vertical-align: top; max-width: 270px; break-inside: avoid; }
figcaption { font-size: 12px; overflow-wrap: anywhere; } img { border: 1px solid #bbb; }
.swatch, .tag, .problem, .fine { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.swatch { display: inline-block; width: 14px; height: 14px; }
.tag { background: #b3261e; color: white; border-radius: 3px; padding: 0 .4em; }
"""


def render(package: str, template: str, **context: Any) -> str:
    """Render a template of a package; HTML is escaped, and control characters are shown as numbers.

    Args:
      package: full name of a package with a folder `templates`, such as "Classes.evaluation". Its templates can extend
        `page.html` and import `macros.html` of Classes/common/templates.
      template: file name.
      context: variables of the template; a missing one raises jinja2.UndefinedError.
    """
    return _environment(package).get_template(template).render(context)


@functools.cache
def _environment(package: str) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("Classes.common")]),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _printable(value: Any) -> Any:
    # Markup is the output of a macro or of a block, whose values were escaped already.
    return (
        errors.escape_control_chars(value)
        if isinstance(value, str) and not isinstance(value, markupsafe.Markup)
        else value
    )


def html_document(title, under, body):
    """A whole page.

    Args:
      title: text.
      under: HTML of the line under the title.
      body: HTML.
    """
    head = f'<meta charset="utf-8"><title>{escape_html(title)}</title><style>{STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>'
        f'<body><h1>{escape_html(title)}</h1><p class="notice">{under}</p>{body}</body></html>\n'
    )


def escape_html(value):
    """Any value as one line that HTML shows as it is."""
    return html.escape(errors.escape_control_chars(value))


def html_table(head, rows):
    """A table; its cells are HTML already."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{lines}</table>"


def data_uri(content, kind="png"):
    """The bytes of a picture as what an <img> shows."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
