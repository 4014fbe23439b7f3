"""The web application: its addresses, and what every request goes through before and after them."""

import logging
import pathlib
import re
import time
import uuid

import flask
import werkzeug.exceptions

from Classes.common.errors import escape_control_chars
from Classes.serving import access_control, api_errors, request_origin, response_schemas, uploads
from Classes.serving.api_errors import ApiError
from Classes.serving.openapi import ONE_IMAGE_BODY, SEVERAL_IMAGES_BODY, documented, openapi_document

STATIC_FOLDER = pathlib.Path(__file__).with_name("static")
LEGACY_ENDPOINT = "/Inference"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Forms have the images' fields and few others.
MAX_FORM_FIELDS = 16

# Nothing is fetched from another host, and no page may show ours in a frame; heat maps are data, chosen files blobs.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_IMAGE_ERRORS = (
    "empty", "several_images", "image_too_large", "not_an_image", "damaged_image", "no_content", "unknown_bit_depth",
    "several_pages", "unsupported_image",
)  # fmt: skip
_LOAD_ERRORS = ("too_many_requests", "busy", "engine_failed", "deadline")
_HEAT_MAP = {"heatmap": ({"type": "string", "enum": ["0", "1"]}, "1: also draw what the verdict rests on")}

# Keys of a request's WSGI environment, from a server that judges a request before it reads the body (Listener): what
# `judge` has found, and when the first byte arrived by time.monotonic.
JUDGED, STARTED = "all.judged", "all.started"

_PAGES = {"index.html": "/", "docs.html": "/docs"}

log = logging.getLogger("ClassifierServer")


def create_app(laboratory):
    """The application.

    Args:
      laboratory: prediction_service.PredictionService.
    Returns:
      flask.Flask, which any WSGI server carries; `Server.py` has its own, Listener.
    """
    application = flask.Flask("Server", static_folder=None)
    application.request_class = uploads.InMemoryRequest
    application.json.sort_keys = False
    # A doubled slash is an address we do not have, not a redirection.
    application.url_map.merge_slashes = False
    application.config["MAX_CONTENT_LENGTH"] = laboratory.configuration["MaxBody"]
    application.config["MAX_FORM_PARTS"] = laboratory.configuration["MaxBatch"] + MAX_FORM_FIELDS
    proxies, carry = request_origin.Proxies(laboratory.configuration["TrustedProxy"]), application.wsgi_app

    def forward(environ, start_response):
        proxies.forward(environ)
        return carry(environ, start_response)

    application.wsgi_app, application.forward = forward, proxies.forward
    _register_hooks(application, laboratory)
    _register_predictions(application, laboratory)
    _register_operations(application, laboratory)
    _register_pages(application)
    return application


def judge(application, environ):
    """Decide by a request's headers alone, so that a server need not read what is refused or not looked at.

    Args:
      application: from `create`.
      environ: WSGI environment without the body.
    Returns:
      (the exception that refuses the request, or None; whether the body is wanted).
    """
    application.forward(environ)
    with application.request_context(environ):
        try:
            application.admit(flask.request)
        except (ApiError, werkzeug.exceptions.HTTPException) as error:
            return error, False
        return None, _takes_images(application, flask.request)


def error_renderer(application):
    """For what never reaches the application: callable (code, request id, caller) -> flask.Response."""

    def render(code, request_id, caller):
        refusal = ApiError(code, api_errors.ERROR_CODES[code][1])
        # What was asked for is not known, or not to be trusted.
        with application.test_request_context("/-", environ_base={"REMOTE_ADDR": caller}):
            flask.g.request_id, flask.g.outcome, flask.g.verdicts = request_id, refusal.code, []
            flask.g.start = time.perf_counter()
            response = application.make_response((refusal.body(request_id), refusal.status, refusal.headers))
            return application.process_response(response)

    return render


def _register_hooks(application, laboratory):
    """What every request goes through."""
    hosts = request_origin.Hosts(laboratory.configuration)
    pages = [f"web:{name}" for name in _PAGES]

    def admit(request):
        _check_address(request)
        host = request.headers.get("Host")
        hosts.check(host)
        opens_page = request.method == "GET" and request.endpoint in pages
        request_origin.check_page(request.headers, host, laboratory.configuration["AllowedOrigins"], opens_page)
        if request.routing_exception is not None:
            raise request.routing_exception
        description = getattr(application.view_functions.get(request.endpoint), "description", None)
        if description and description.secured and request.method != "OPTIONS":
            access_control.check_key(laboratory.key, request.headers)
        if _takes_images(application, request):
            if (request.content_length or 0) > laboratory.configuration["MaxBody"]:
                raise werkzeug.exceptions.RequestEntityTooLarge
            laboratory.rate.take(request.remote_addr)

    application.admit = admit

    @application.before_request
    def begin():
        request = flask.request
        sent = request.headers.get("X-Request-ID", "")
        flask.g.request_id = sent if REQUEST_ID_PATTERN.fullmatch(sent) else uuid.uuid4().hex
        flask.g.start, flask.g.outcome, flask.g.verdicts = time.perf_counter(), "ok", []
        if JUDGED not in request.environ:
            admit(request)
            return
        _check_address(request)
        if request.environ[JUDGED] is not None:
            raise request.environ[JUDGED]

    @application.errorhandler(Exception)
    def refuse(error):
        headers = {}
        if isinstance(error, werkzeug.exceptions.HTTPException):
            headers = {key: value for key, value in error.get_headers() if key == "Allow"}
            error = api_errors.api_error_from_status(error.code, _plain_message(error, laboratory.configuration))
        elif not isinstance(error, ApiError):
            log.error("request %s", flask.g.request_id, exc_info=error)
            error = ApiError("internal_error", "a defect of the server; its log has more under the request id")
        flask.g.outcome = error.code
        body = error.body(flask.g.request_id)
        if flask.request.path == LEGACY_ENDPOINT:
            body = {"Response": "Error", "Message": error.message, **body}
        return flask.jsonify(body), error.status, {**headers, **error.headers}

    @application.after_request
    def end(response):
        response.headers.update(SECURITY_HEADERS)
        response.headers["X-Request-ID"] = flask.g.request_id
        response.headers.setdefault("Cache-Control", "no-store")
        _allow_origin(laboratory.configuration["AllowedOrigins"], response)
        seconds = time.perf_counter() - flask.g.start
        address = flask.request.url_rule.rule if flask.request.url_rule else "other"
        laboratory.telemetry.answered(address, flask.g.outcome, seconds)
        if laboratory.access is not None:
            laboratory.access.write(**_access_record(response, seconds))
        return response


def _register_predictions(application, laboratory):
    """The addresses that answer with verdicts."""
    images, load = _IMAGE_ERRORS, _LOAD_ERRORS

    def one(heat_map=False):
        with place() as mine:
            content = uploads.single_image(flask.request)
            try:
                return told(laboratory.examine(mine, content, heat_map))
            except ApiError as refusal:
                raise uploads.explained(refusal, content, flask.request) from refusal

    def place():
        return laboratory.room.place(flask.request.environ.get(STARTED))

    def told(finding):
        flask.g.verdicts.append({"sha256": finding.sha256, "verdict": finding.verdict.finding})
        laboratory.note(finding, flask.g.request_id)
        return finding

    @application.post(LEGACY_ENDPOINT)
    @documented(answer="Inference", refusals=images + load, body=ONE_IMAGE_BODY, secured=True)
    def inference():
        """Classify one image, in the form that the first clients know.

        The image is the body itself or the form's field `file`; its content type is not looked at.
        """
        finding = one()
        return {**response_schemas.to_legacy_json(finding), **laboratory.origin(flask.g.request_id, finding)}

    @application.post("/v1/classify")
    @documented(
        answer="Classified",
        refusals=(*images, *load, "no_heat_map"),
        body=ONE_IMAGE_BODY,
        query=_HEAT_MAP,
        secured=True,
    )
    def classify():
        """Classify one image, on request with a heat map.

        The image is the body itself or the form's field `file`; its content type is not looked at.
        """
        finding = one(_heat_map(flask.request.args.get("heatmap", "0")))
        return {**response_schemas.to_json(finding), **laboratory.origin(flask.g.request_id, finding)}

    @application.post("/v1/batch")
    @documented(
        answer="Batch",
        refusals=("empty", "several_images", "too_many_images", *load),
        body=SEVERAL_IMAGES_BODY,
        secured=True,
    )
    def batch():
        """Classify several images of one form.

        Each is a field `file`. There is one result an image, in their order; one that is refused has `error` in its
        place and does not touch the others.
        """
        most = laboratory.configuration["MaxBatch"]
        with place() as mine:
            sent = uploads.all_images(flask.request)
            if len(sent) > most:
                raise ApiError("too_many_images", f"{len(sent)} images, {most} are allowed (MaxBatch); send fewer")
            laboratory.rate.take(flask.request.remote_addr, len(sent), counted=1)
            found = laboratory.examine_all(mine, [content for _, content in sent])
            found = [
                uploads.explained(each, content, flask.request) if isinstance(each, ApiError) else each
                for each, (_, content) in zip(found, sent, strict=True)
            ]
            findings = [told(each) for each in found if not isinstance(each, ApiError)]
        results = [
            {"index": index, "name": response_schemas.display_name(name), **response_schemas.batch_item_json(each)}
            for index, ((name, _), each) in enumerate(zip(sent, found, strict=True))
        ]
        return {
            "results": results,
            "failed": sum("error" in each for each in results),
            **laboratory.origin(flask.g.request_id, *findings),
        }


def _register_operations(application, laboratory):
    """The addresses for those who run the service."""

    @application.get("/v1/model")
    @documented(answer="Model", secured=True)
    def model():
        """The model card: classes, input, threshold, data, figures, versions and hashes."""
        return {**laboratory.card_fields(), **laboratory.origin(flask.g.request_id)}

    @application.get("/health/live")
    @documented(answer="Health")
    def live():
        """Whether the process answers at all."""
        return {"status": "ok"}

    @application.get("/health/ready")
    @documented(answer="Health", refusals=("not_ready",))
    def ready():
        """Whether a verdict can be expected now.

        Not before the first inference, not while the server stops, and not after the device failed until it answers
        again.
        """
        laboratory.look()
        if not laboratory.ready:
            raise ApiError("not_ready", "starting, stopping, or the device gives no sound answers", retry_after=1)
        return {"status": "ok"}

    @application.get("/metrics")
    @documented(answer="text/plain", secured=True)
    def metrics():
        """The service's figures, for Prometheus."""
        return flask.Response(laboratory.telemetry.text(), content_type=laboratory.telemetry.content_type)


def _register_pages(application):
    """The page, its parts, and the API's document."""

    @application.get("/openapi.json")
    @documented(answer="Document")
    def openapi():
        """This document."""
        return openapi_document(application)

    def add(address, name):
        # A rule a file, made once: what is asked for is never made into a path.
        def page():
            return flask.send_from_directory(STATIC_FOLDER, name, max_age=0)

        application.add_url_rule(address, f"web:{name}", page, methods=["GET"])

    for path in sorted(STATIC_FOLDER.glob("[!.]*.*")):
        add(_PAGES.get(path.name, f"/{path.name}"), path.name)


def _takes_images(application, request):
    """Whether a request's address looks at the body."""
    description = getattr(application.view_functions.get(request.endpoint), "description", None)
    return request.method == "POST" and description is not None and description.body is not None


def _check_address(request):
    """Refuse what the libraries let pass.

    `//Inference` would be read as `/Inference`, past what a proxy's rules say of that; a query may be any bytes.
    """
    asked = request.environ.get("PATH_INFO", "")
    slashes = len(asked) - len(asked.lstrip("/"))
    if slashes > 1:
        request.path, request.url_rule = "/" * (slashes - 1) + request.path, None
        raise werkzeug.exceptions.NotFound
    try:
        request.query_string.decode()
    except UnicodeDecodeError as error:
        raise ApiError("bad_request", "what stands behind ? is not UTF-8; write other characters as %xx") from error


def _heat_map(text):
    """Whether a heat map is wanted; a word that is not known must not pass for no."""
    wanted = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}.get(
        text.lower()
    )
    if wanted is None:
        raise ApiError("bad_request", f"heatmap is {text[:16]}; it is 1 or 0")
    return wanted


def _plain_message(error, configuration):
    """What a library's refusal is to people; its own texts are HTML's."""
    if error.code == 404:
        return f"{flask.request.path[:255]}: there is no such address; see /docs"
    if error.code == 405:
        return (
            f"{flask.request.method[:16]} is not for {flask.request.path[:255]}; use {', '.join(error.valid_methods)}"
        )
    if error.code == 413:
        return f"the request is larger than {configuration['MaxBody']} bytes (MaxBody) or has too many fields"
    return f"the request cannot be read ({error.name})"


def _allow_origin(allowed, response):
    """Let the pages of listed origins, and no others, read answers."""
    origin = flask.request.headers.get("Origin")
    if allowed:
        response.vary.add("Origin")
    if origin in allowed:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-API-Key, X-Request-ID"
        response.headers["Access-Control-Allow-Methods"] = "GET, POST"
        response.headers["Access-Control-Expose-Headers"] = "Retry-After, X-Request-ID"
        # Without it a browser keeps such an answer from the page that asked.
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"


def _access_record(response, seconds):
    """What the access log says of a request."""
    request = flask.request
    return {
        "request_id": flask.g.request_id,
        "caller": request.remote_addr,
        "method": request.method[:16],
        "path": request.path[:255],
        "status": response.status_code,
        "outcome": flask.g.outcome,
        "received": request.content_length or 0,
        "sent": response.content_length,
        "seconds": round(seconds, 6),
        "agent": escape_control_chars(request.user_agent.string)[:255],
        "verdicts": flask.g.verdicts,
    }
