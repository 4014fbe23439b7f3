"""A page of HTML that carries all it shows: it opens without a network, in any browser, and prints."""

import base64
import html

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
