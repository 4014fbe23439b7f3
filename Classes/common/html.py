"""Render pages from the Jinja2 templates of a package; a page includes its pictures and opens without a network."""

import base64
import functools
from typing import Any

import jinja2
import markupsafe

from Classes.common import errors


def render(package: str, template: str, **context: Any) -> str:
    """Render a template of a package; HTML is escaped, and control characters are shown as numbers.

    Args:
      package: full name of a package with a folder `templates`, such as "Classes.evaluation". Its templates can extend
        `page.html` and import `macros.html` of Classes/common/templates.
      template: file name.
      context: variables of the template; a missing one raises jinja2.UndefinedError.
    """
    return _environment(package).get_template(template).render(context)


def data_uri(content: bytes, kind: str = "png") -> str:
    """Return the content of an image file as the source of an <img>."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


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
    # Markup is the output of a macro or a block, whose values were escaped already.
    if isinstance(value, str) and not isinstance(value, markupsafe.Markup):
        return errors.escape_control_chars(value)
    return value
