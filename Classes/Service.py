"""The web application: its addresses, and what every request goes through before and after them."""

import logging
import pathlib
import re
import time
import uuid

import flask
import werkzeug.exceptions

from Classes import Answers, Callers, OpenApi, Origins, Refusals, Uploads
from Classes.Errors import one_line
from Classes.Refusals import Refusal

WEB = pathlib.Path(__file__).with_name("Web")
HISTORIC = "/Inference"
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Forms have the images' fields and few others.
OTHER_FIELDS = 16

# Nothing is fetched from another host, and no page may show ours in a frame; heat maps are data, chosen files blobs.
HEADERS = {
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

_IMAGE_REFUSALS = (
    "empty", "several_images", "image_too_large", "not_an_image", "damaged_image", "no_content", "unknown_bit_depth",
    "several_pages", "unsupported_image",
)  # fmt: skip
_LOAD_REFUSALS = ("too_many_requests", "busy", "engine_failed", "deadline")
_HEAT_MAP = {"heatmap": ({"type": "string", "enum": ["0", "1"]}, "1: also draw what the verdict rests on")}

# Keys of a request's WSGI environment, from a server that judges a request before it reads the body (Listener): what
# `judge` has found, and when the first byte arrived by time.monotonic.
JUDGED, STARTED = "all.judged", "all.started"

_PAGES = {"index.html": "/", "docs.html": "/docs"}

log = logging.getLogger("ClassifierServer")


def create(laboratory):
    """The application.

    Args:
      laboratory: Laboratory.Laboratory.
    Returns:
      flask.Flask, which any WSGI server carries; `Server.py` has its own, Listener.
    """
    application = flask.Flask("Server", static_folder=None)
    application.request_class = Uploads.Request
    application.json.sort_keys = False
    # A doubled slash is an address we do not have, not a redirection.
    application.url_map.merge_slashes = False
    application.config["MAX_CONTENT_LENGTH"] = laboratory.configuration["MaxBody"]
    application.config["MAX_FORM_PARTS"] = laboratory.configuration["MaxBatch"] + OTHER_FIELDS
    proxies, carry = Origins.Proxies(laboratory.configuration["TrustedProxy"]), application.wsgi_app

    def forward(environ, start_response):
        proxies.forward(environ)
        return carry(environ, start_response)

    application.wsgi_app, application.forward = forward, proxies.forward
    _frame(application, laboratory)
    _verdicts(application, laboratory)
    _operations(application, laboratory)
    _pages(application)
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
        except (Refusal, werkzeug.exceptions.HTTPException) as error:
            return error, False
        return None, _takes_images(application, flask.request)


def renderer(application):
    """For what never reaches the application: callable (code, request id, caller) -> flask.Response."""

    def render(code, request_id, caller):
        refusal = Refusal(code, Refusals.CODES[code][1])
        # What was asked for is not known, or not to be trusted.
        with application.test_request_context("/-", environ_base={"REMOTE_ADDR": caller}):
            flask.g.request_id, flask.g.outcome, flask.g.verdicts = request_id, refusal.code, []
            flask.g.start = time.perf_counter()
            response = application.make_response((refusal.body(request_id), refusal.status, refusal.headers))
            return application.process_response(response)

    return render


def _frame(application, laboratory):
    """What every request goes through."""
    hosts = Origins.Hosts(laboratory.configuration)
    pages = [f"web:{name}" for name in _PAGES]

    def admit(request):
        _check_address(request)
        host = request.headers.get("Host")
        hosts.check(host)
        opens_page = request.method == "GET" and request.endpoint in pages
        Origins.check_page(request.headers, host, laboratory.configuration["AllowedOrigins"], opens_page)
        if request.routing_exception is not None:
            raise request.routing_exception
        description = getattr(application.view_functions.get(request.endpoint), "description", None)
        if description and description.secured and request.method != "OPTIONS":
            Callers.check_key(laboratory.key, request.headers)
        if _takes_images(application, request):
            if (request.content_length or 0) > laboratory.configuration["MaxBody"]:
                raise werkzeug.exceptions.RequestEntityTooLarge
            laboratory.rate.take(request.remote_addr)

    application.admit = admit

    @application.before_request
    def begin():
        request = flask.request
        sent = request.headers.get("X-Request-ID", "")
        flask.g.request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
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
            error = Refusals.of_status(error.code, _words(error, laboratory.configuration))
        elif not isinstance(error, Refusal):
            log.error("request %s", flask.g.request_id, exc_info=error)
            error = Refusal("internal_error", "a defect of the server; its log has more under the request id")
        flask.g.outcome = error.code
        body = error.body(flask.g.request_id)
        if flask.request.path == HISTORIC:
            body = {"Response": "Error", "Message": error.message, **body}
        return flask.jsonify(body), error.status, {**headers, **error.headers}

    @application.after_request
    def end(response):
        response.headers.update(HEADERS)
        response.headers["X-Request-ID"] = flask.g.request_id
        response.headers.setdefault("Cache-Control", "no-store")
        _allow_origin(laboratory.configuration["AllowedOrigins"], response)
        seconds = time.perf_counter() - flask.g.start
        address = flask.request.url_rule.rule if flask.request.url_rule else "other"
        laboratory.telemetry.answered(address, flask.g.outcome, seconds)
        if laboratory.access is not None:
            laboratory.access.write(**_line(response, seconds))
        return response


def _verdicts(application, laboratory):
    """The addresses that answer with verdicts."""
    images, load = _IMAGE_REFUSALS, _LOAD_REFUSALS

    def one(heat_map=False):
        with place() as mine:
            content = Uploads.one(flask.request)
            try:
                return told(laboratory.examine(mine, content, heat_map))
            except Refusal as refusal:
                raise Uploads.explained(refusal, content, flask.request) from refusal

    def place():
        return laboratory.room.place(flask.request.environ.get(STARTED))

    def told(finding):
        flask.g.verdicts.append({"sha256": finding.sha256, "verdict": finding.verdict.finding})
        laboratory.note(finding, flask.g.request_id)
        return finding

    @application.post(HISTORIC)
    @OpenApi.describes(answer="Inference", refusals=images + load, body=OpenApi.ONE, secured=True)
    def inference():
        """Classify one image, in the form that the first clients know.

        The image is the body itself or the form's field `file`; its content type is not looked at.
        """
        finding = one()
        return {**Answers.historic(finding), **laboratory.origin(flask.g.request_id, finding)}

    @application.post("/v1/classify")
    @OpenApi.describes(
        answer="Classified",
        refusals=(*images, *load, "no_heat_map"),
        body=OpenApi.ONE,
        query=_HEAT_MAP,
        secured=True,
    )
    def classify():
        """Classify one image, on request with a heat map.

        The image is the body itself or the form's field `file`; its content type is not looked at.
        """
        finding = one(_heat_map(flask.request.args.get("heatmap", "0")))
        return {**Answers.verdict(finding), **laboratory.origin(flask.g.request_id, finding)}

    @application.post("/v1/batch")
    @OpenApi.describes(
        answer="Batch",
        refusals=("empty", "several_images", "too_many_images", *load),
        body=OpenApi.SEVERAL,
        secured=True,
    )
    def batch():
        """Classify several images of one form.

        Each is a field `file`. There is one result an image, in their order; one that is refused has `error` in its
        place and does not touch the others.
        """
        most = laboratory.configuration["MaxBatch"]
        with place() as mine:
            sent = Uploads.several(flask.request)
            if len(sent) > most:
                raise Refusal("too_many_images", f"{len(sent)} images, {most} are allowed (MaxBatch); send fewer")
            laboratory.rate.take(flask.request.remote_addr, len(sent), counted=1)
            found = laboratory.examine_all(mine, [content for _, content in sent])
            found = [
                Uploads.explained(each, content, flask.request) if isinstance(each, Refusal) else each
                for each, (_, content) in zip(found, sent, strict=True)
            ]
            findings = [told(each) for each in found if not isinstance(each, Refusal)]
        results = [
            {"index": index, "name": Answers.shown(name), **Answers.result(each)}
            for index, ((name, _), each) in enumerate(zip(sent, found, strict=True))
        ]
        return {
            "results": results,
            "failed": sum("error" in each for each in results),
            **laboratory.origin(flask.g.request_id, *findings),
        }


def _operations(application, laboratory):
    """The addresses for those who run the service."""

    @application.get("/v1/model")
    @OpenApi.describes(answer="Model", secured=True)
    def model():
        """The model card: classes, input, threshold, data, figures, versions and hashes."""
        return {**laboratory.card_fields(), **laboratory.origin(flask.g.request_id)}

    @application.get("/health/live")
    @OpenApi.describes(answer="Health")
    def live():
        """Whether the process answers at all."""
        return {"status": "ok"}

    @application.get("/health/ready")
    @OpenApi.describes(answer="Health", refusals=("not_ready",))
    def ready():
        """Whether a verdict can be expected now.

        Not before the first inference, not while the server stops, and not after the device failed until it answers
        again.
        """
        laboratory.look()
        if not laboratory.ready:
            raise Refusal("not_ready", "starting, stopping, or the device gives no sound answers", retry_after=1)
        return {"status": "ok"}

    @application.get("/metrics")
    @OpenApi.describes(answer="text/plain", secured=True)
    def metrics():
        """The service's figures, for Prometheus."""
        return flask.Response(laboratory.telemetry.text(), content_type=laboratory.telemetry.content_type)


def _pages(application):
    """The page, its parts, and the API's document."""

    @application.get("/openapi.json")
    @OpenApi.describes(answer="Document")
    def openapi():
        """This document."""
        return OpenApi.document(application)

    def add(address, name):
        # A rule a file, made once: what is asked for is never made into a path.
        def page():
            return flask.send_from_directory(WEB, name, max_age=0)

        application.add_url_rule(address, f"web:{name}", page, methods=["GET"])

    for path in sorted(WEB.glob("[!.]*.*")):
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
        raise Refusal("bad_request", "what stands behind ? is not UTF-8; write other characters as %xx") from error


def _heat_map(text):
    """Whether a heat map is wanted; a word that is not known must not pass for no."""
    wanted = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}.get(
        text.lower()
    )
    if wanted is None:
        raise Refusal("bad_request", f"heatmap is {text[:16]}; it is 1 or 0")
    return wanted


def _words(error, configuration):
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


def _line(response, seconds):
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
        "agent": one_line(request.user_agent.string)[:255],
        "verdicts": flask.g.verdicts,
    }
