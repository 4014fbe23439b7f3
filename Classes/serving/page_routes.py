"""The web pages, in the reader's language, their files in static/, and the practice images."""

import functools
import json
import pathlib

import flask

from Classes.common import conditions, html, translation
from Classes.common.conditions import Condition
from Classes.common.config import Configuration
from Classes.common.paths import PROJECT
from Classes.common.translation import gettext as _
from Classes.serving import field_page, report_routes

STATIC_FOLDER = pathlib.Path(__file__).with_name("static")

# Synthetic smears, see Model/Demo/README.md.
EXAMPLES_FOLDER = PROJECT / "Model" / "Demo" / "Images"

# Folder of the addresses of the practice images; relative, so that it also works under a path prefix of a proxy.
EXAMPLES = "examples"

_PAGES = {"index.html": "/", "docs.html": "/docs", "history.html": "/history"}

# Endpoints of the pages that other sites may link to.
PAGE_ENDPOINTS = ("pages.index_html", "pages.docs_html", "pages.history_html")

# A choice in the page's language menu, and where it is kept.
LANGUAGE = "language"
_YEAR = 365 * 24 * 3600


def create_blueprint() -> flask.Blueprint:
    """Return a blueprint with one fixed rule per file, so that no request can name another file."""
    blueprint = flask.Blueprint("pages", __name__)
    for path in sorted(STATIC_FOLDER.glob("[!.]*.*")):
        if path.suffix == ".html":
            view = functools.partial(_send_page, path)
        else:
            view = functools.partial(flask.send_from_directory, STATIC_FOLDER, path.name, max_age=0)
        address = _PAGES.get(path.name, f"/{path.name}")
        blueprint.add_url_rule(address, path.name.replace(".", "_"), view, methods=["GET"])
    blueprint.add_url_rule("/field-counts", "field_counts", _send_counts, methods=["GET"])
    for path in example_images():
        view = functools.partial(flask.send_from_directory, EXAMPLES_FOLDER, path.name)
        blueprint.add_url_rule(f"/{EXAMPLES}/{path.name}", path.name.replace(".", "_"), view, methods=["GET"])
    return blueprint


def example_images() -> list[pathlib.Path]:
    """Return the practice images, both classes in turn; none if Model/Demo was removed."""
    return sorted(EXAMPLES_FOLDER.glob("*.jpg"))


def _send_page(path: pathlib.Path) -> flask.Response:
    service = flask.current_app.extensions["prediction_service"]
    chosen = flask.request.args.get(LANGUAGE, "")
    language = _language(chosen)
    has_report = report_routes.has_report(service.configuration)
    # A model that detects nothing has the condition of the configuration only by default.
    card = service.models.first.card
    condition = card.condition if card.positive else None
    response = flask.make_response(render_page(path, language, service.history is not None, has_report, condition))
    response.headers["Content-Language"] = language
    response.headers["Cache-Control"] = "no-cache"
    response.vary.update(["Accept-Language", "Cookie"])
    if chosen in translation.languages():
        response.set_cookie(LANGUAGE, chosen, max_age=_YEAR, samesite="Strict", httponly=True)
    response.add_etag()
    response.make_conditional(flask.request)
    return response


def _send_counts() -> flask.Response:
    with translation.use_language(_language(flask.request.args.get(LANGUAGE, ""))):
        return field_page.send_counts()


def _language(chosen: str) -> str:
    """Return the language chosen in the menu, else an earlier choice, else the one that the browser prefers."""
    for each in (chosen, flask.request.cookies.get(LANGUAGE, "")):
        if each in translation.languages():
            return each
    fallback = _configuration().language
    return translation.language_for_request(flask.request.headers.get("Accept-Language"), fallback)


def _configuration() -> Configuration:
    return flask.current_app.extensions["prediction_service"].configuration


@functools.cache
def render_page(
    path: pathlib.Path,
    language: str,
    history: bool = False,
    has_report: bool = False,
    condition: Condition | None = conditions.ALL,
) -> str:
    """Return a page of static/ in a language.

    Args:
      path: the page.
      language: a key of translation.languages().
      history, has_report: with a link to the history, the report.
      condition: what the default model detects; None: nothing.
    """
    with translation.use_language(language):
        title = heading = _("Types of white blood cells")
        if condition is not None:
            title = _("{condition} detection").format(condition=condition.label)
            heading = _("{condition} detection").format(condition=condition.title)
        return html.render_file(
            path,
            language=language,
            languages=translation.language_names(),
            messages=_page_messages(language),
            field_data=field_page.page_data(),
            history=history,
            has_report=has_report,
            current=path.name,
            title=title,
            heading=heading,
        )


def _page_messages(language: str) -> dict:
    """Return what translation.js needs; nothing for English."""
    path = translation.FOLDER / language / "LC_MESSAGES" / "page.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
