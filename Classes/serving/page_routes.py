"""The web page and its files in static/."""

import functools
import pathlib

import flask

STATIC_FOLDER = pathlib.Path(__file__).with_name("static")

_PAGES = {"index.html": "/", "docs.html": "/docs"}

# Endpoints of the pages that other sites may link to.
PAGE_ENDPOINTS = ("pages.index_html", "pages.docs_html")


def create_blueprint() -> flask.Blueprint:
    """Return a blueprint with one fixed rule per file, so that no request can name another file."""
    blueprint = flask.Blueprint("pages", __name__)
    for path in sorted(STATIC_FOLDER.glob("[!.]*.*")):
        view = functools.partial(flask.send_from_directory, STATIC_FOLDER, path.name, max_age=0)
        address = _PAGES.get(path.name, f"/{path.name}")
        blueprint.add_url_rule(address, path.name.replace(".", "_"), view, methods=["GET"])
    return blueprint
