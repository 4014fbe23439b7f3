"""Render pages from the Jinja2 templates of a package; a page includes its pictures and opens without a network."""

import base64
import functools
import hashlib
import os
import pathlib
from typing import Any

import jinja2
import markupsafe

from Classes.common import atomic_files, errors, number_format, translation


def render(package: str, template: str, **context: Any) -> str:
    """Render a template of a package; HTML is escaped, and control characters are shown as numbers.

    Args:
      package: full name of a package with a folder `templates`, such as "Classes.evaluation". Its templates can extend
        `page.html` and import `macros.html` of Classes/common/templates.
      template: file name.
      context: variables of the template; a missing one raises jinja2.UndefinedError.
    """
    return _environment(package).get_template(template).render(context)


def write(path: str | os.PathLike[str], package: str, template: str, into: bool = False, **context: Any) -> None:
    """Write what `render` returns part by part, so that it is never in memory as a whole.

    A value with a method `__html__` is asked for its HTML when it is written.

    Args:
      path, into: see atomic_files.atomic_replace.
      package, template, context: see `render`.
    Raises:
      OSError: it cannot be written.
    """
    with atomic_files.atomic_replace(path, into) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(_environment(package).get_template(template).generate(context))


def render_file(path: pathlib.Path, **context: Any) -> str:
    """Render a template beside a package's `templates`, such as a page of the server; it can include those."""
    loader = jinja2.FileSystemLoader([path.parent, path.parent.with_name("templates")])
    return _create_environment(loader).get_template(path.name).render(context)


def data_uri(content: bytes, kind: str = "png") -> markupsafe.Markup:
    """Return the content of an image file as the source of an <img>; nothing in it needs to be escaped."""
    return markupsafe.Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def page_script() -> str:
    """Return the script of pages that extend `page.html`: enlarged pictures, copied commands, the threshold slider."""
    return (pathlib.Path(__file__).parent / "templates" / "page.js").read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """Return the source of an inline script for a content security policy, such as 'sha256-…'."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@functools.cache
def _environment(package: str) -> jinja2.Environment:
    return _create_environment(jinja2.PackageLoader(package))


def _create_environment(loader: jinja2.BaseLoader) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([loader, jinja2.PackageLoader("Classes.common")]),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=["jinja2.ext.i18n"],
    )
    # {{ _("…") }} and {% trans %} look up the current language when a template is rendered.
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        translation.gettext, translation.ngettext, pgettext=translation.pgettext
    )
    environment.policies["ext.i18n.trimmed"] = True
    # {{ value | number(".3f") }}, {{ text | numbers }}
    environment.filters |= {
        "number": number_format.format_number,
        "numbers": number_format.localize_numbers,
        "moment": number_format.format_moment,
    }
    environment.globals |= {
        "current_language": translation.current_language,
        "localize": translation.localize,
        # A line end inside a value would be shown as a number.
        "newline": markupsafe.Markup("\n"),
        "page_script": markupsafe.Markup(page_script()),
        "page_script_hash": script_hash(page_script()),
    }
    return environment


def _printable(value: Any) -> Any:
    # Markup is the output of a macro or a block, whose values were escaped already.
    if isinstance(value, str) and not isinstance(value, markupsafe.Markup):
        return errors.escape_control_chars(value)
    return value
