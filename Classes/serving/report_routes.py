"""The report and the audit that Validation.py wrote, as pages behind the API key."""

import gzip
from collections.abc import Mapping

import flask
from werkzeug.datastructures import Headers

from Classes.common import html
from Classes.common.config import Configuration
from Classes.serving.api_errors import ApiError

# By address; the report links to the audit by its file name.
FILES = {"/report": "Report.html", "/Data.html": "Data.html", "/FieldValidation.html": "FieldValidation.html"}

# A browser asks for the key itself, because it cannot send X-API-Key when a link is opened.
CHALLENGE = 'Basic realm="API key as password", charset="UTF-8"'

blueprint = flask.Blueprint("reports", __name__)


def has_report(configuration: Configuration) -> bool:
    """Return whether there is a report to link to."""
    return (configuration.path("ReportDir") / FILES["/report"]).is_file()


def key_headers(request: flask.Request) -> Headers | Mapping[str, str]:
    """Return the headers with the key; a browser sends it as the password of Basic authentication."""
    given = request.authorization
    return {"X-API-Key": given.password or ""} if given and given.type == "basic" else request.headers


def security_policy() -> str:
    """Return the content security policy: pictures inside the page, its style, and only the script of this version."""
    script = html.script_hash(html.page_script())
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {script}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def _send_report() -> flask.Response:
    folder = flask.current_app.extensions["prediction_service"].configuration.path("ReportDir")
    name = FILES[str(flask.request.url_rule)]
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise ApiError("not_found", f"There is no {name}. Run python3 Validation.py on the server.") from error
    response = flask.Response(content, mimetype="text/html")
    response.vary.add("Accept-Encoding")
    # Plots and pictures are inside the page as text, so it is twice as fast on a slow phone.
    if flask.request.accept_encodings["gzip"]:
        response.set_data(gzip.compress(content))
        response.content_encoding = "gzip"
    return response


for _address in FILES:
    blueprint.add_url_rule(_address, _address[1:].replace(".", "_"), _send_report, methods=["GET"])

ENDPOINTS = tuple(f"reports.{address[1:].replace('.', '_')}" for address in FILES)
