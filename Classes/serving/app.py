"""The Flask application: what every request passes before and after its endpoint.

Endpoints are in prediction_routes.py (results), field_routes.py (fields), operation_routes.py (health, metrics),
example_routes.py (practice images) and page_routes.py (web page).
"""

import logging
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any

import flask
import werkzeug.exceptions

from Classes.common import translation
from Classes.common.errors import escape_control_chars
from Classes.serving import (
    api_errors,
    example_routes,
    field_routes,
    json_answers,
    openapi,
    operation_routes,
    page_routes,
    prediction_routes,
    report_routes,
    request_origin,
    uploads,
)
from Classes.serving.api_errors import ApiError
from Classes.serving.prediction_service import PredictionService

REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")

# A form has fields for the images, and may have a few others.
MAX_FORM_FIELDS = 16

# The pages load nothing from other hosts and cannot be framed; heat maps are data URIs, selected files are blobs.
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

# Keys of the WSGI environment that a server sets if it checks a request's headers before it reads the body:
# the exception from `check_headers`, or None; and time.monotonic() when the first byte arrived.
HEADER_CHECK, ARRIVED = "all.header_check", prediction_routes.ARRIVED

log = logging.getLogger("ClassifierServer")


def create_app(service: PredictionService) -> "Application":
    """Create the WSGI application; http_server.GracefulServer serves it, and any other WSGI server can."""
    return Application(service)


class Application(flask.Flask):
    """The application around a PredictionService."""

    request_class = uploads.InMemoryRequest
    json_provider_class = json_answers.AnswerJSON

    def __init__(self, service: PredictionService):
        super().__init__("Server", static_folder=None)
        configuration = service.configuration
        self.service = service
        self._proxies = request_origin.TrustedProxies(configuration["TrustedProxy"])
        self._hosts = request_origin.HostCheck(configuration)
        self._allowed_origins = configuration["AllowedOrigins"]
        # No redirect of an address with doubled slashes: it does not exist.
        self.url_map.merge_slashes = False
        self.config["MAX_CONTENT_LENGTH"] = configuration["MaxBody"]
        self.config["MAX_FORM_PARTS"] = configuration["MaxBatch"] + MAX_FORM_FIELDS
        self.extensions["prediction_service"] = service
        self.before_request(self._begin)
        self.after_request(self._end)
        self.register_error_handler(Exception, self._handle_error)
        self.register_blueprint(prediction_routes.blueprint)
        self.register_blueprint(field_routes.blueprint)
        self.register_blueprint(operation_routes.blueprint)
        self.register_blueprint(example_routes.blueprint)
        self.register_blueprint(page_routes.create_blueprint())
        self.register_blueprint(report_routes.blueprint)

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request, with the address that trusted proxies give the client."""
        self._proxies.apply_forwarded_headers(environ)
        # The API is English; only the pages are in the language of the reader.
        with translation.use_language(translation.ENGLISH):
            return super().wsgi_app(environ, start_response)

    def check_headers(self, environ: dict[str, Any]) -> tuple[Exception | None, bool]:
        """Check a request by its headers alone, so that a server need not read a body that nobody needs.

        Args:
          environ: WSGI environment without the body.
        Returns:
          (the exception to answer with, or None; whether the endpoint needs the body).
        """
        self._proxies.apply_forwarded_headers(environ)
        # The context is not entered, because that takes as long as the check.
        context = self.request_context(environ)
        if context.url_adapter is not None:
            context.match_request()
        try:
            self._check_request(context.request)
        except (ApiError, werkzeug.exceptions.HTTPException) as error:
            return error, False
        return None, self._accepts_images(context.request)

    def render_error(self, code: str, request_id: str, client: str) -> flask.Response:
        """Return the response for a request that cannot be passed to the application, and log and count it.

        Args:
          code: a key of api_errors.ERROR_CODES.
          request_id: identifier of the request.
          client: IP address of the client.
        """
        error = ApiError(code, api_errors.ERROR_CODES[code][1])
        # The requested path is unknown or not trustworthy.
        with self.test_request_context("/-", environ_base={"REMOTE_ADDR": client}):
            self._start_record(request_id, error.code)
            response = self.make_response((error.to_json(request_id), error.status, error.headers))
            return self.process_response(response)

    def _begin(self) -> None:
        request = flask.request
        sent = request.headers.get("X-Request-ID", "")
        self._start_record(sent if REQUEST_ID_PATTERN.fullmatch(sent) else uuid.uuid4().hex, "ok")
        if HEADER_CHECK not in request.environ:
            self._check_request(request)
        else:
            _check_address(request)
            if request.environ[HEADER_CHECK] is not None:
                raise request.environ[HEADER_CHECK]
        flask.g.key_name = self._identify(request)

    def _end(self, response: flask.Response) -> flask.Response:
        request, record = flask.request, flask.g
        response.headers.update(SECURITY_HEADERS)
        if request.endpoint in report_routes.ENDPOINTS:
            response.headers["Content-Security-Policy"] = report_routes.security_policy()
            if response.status_code == 401:
                response.headers["WWW-Authenticate"] = report_routes.CHALLENGE
        response.headers["X-Request-ID"] = record.request_id
        response.headers.setdefault("Cache-Control", "no-store")
        self._set_cors_headers(response)
        seconds = time.perf_counter() - record.start
        endpoint = request.url_rule.rule if request.url_rule else "other"
        self.service.metrics.observe_response(endpoint, record.outcome, seconds)
        if self.service.access_log is not None:
            self.service.access_log.write(
                request_id=record.request_id,
                caller=request.remote_addr,
                key=record.key_name or None,
                method=request.method[:16],
                path=request.path[:255],
                status=response.status_code,
                outcome=record.outcome,
                received=request.content_length or 0,
                sent=response.content_length,
                seconds=round(seconds, 6),
                agent=escape_control_chars(request.user_agent.string)[:255],
                verdicts=record.predictions,
                model=record.model or None,
            )
        return response

    def _handle_error(self, error: Exception) -> tuple[flask.Response, int, dict[str, str]]:
        headers = {}
        if isinstance(error, werkzeug.exceptions.HTTPException):
            headers = {key: value for key, value in error.get_headers() if key == "Allow"}
            api_error = api_errors.api_error_from_status(error.code or 500, self._http_error_message(error))
        elif isinstance(error, ApiError):
            api_error = error
        else:
            log.error("request %s", flask.g.request_id, exc_info=error)
            api_error = ApiError(
                "internal_error", "This is a bug in the server. Its log has the details under the request id."
            )
        flask.g.outcome = api_error.code
        body = api_error.to_json(flask.g.request_id)
        if flask.request.path == prediction_routes.LEGACY_ENDPOINT:
            body = {"Response": "Error", "Message": api_error.message, **body}
        return flask.jsonify(body), api_error.status, {**headers, **api_error.headers}

    @staticmethod
    def _start_record(request_id: str, outcome: str) -> None:
        """Set what the access log and the metrics need of a request."""
        flask.g.request_id, flask.g.outcome, flask.g.predictions = request_id, outcome, []
        flask.g.key_name = flask.g.model = ""
        flask.g.start = time.perf_counter()

    def _check_request(self, request: flask.Request) -> None:
        """Raise an ApiError or HTTPException if a request must be rejected because of its headers."""
        _check_address(request)
        host = request.headers.get("Host")
        self._hosts.check(host)
        opens_page = request.method == "GET" and request.endpoint in (
            *page_routes.PAGE_ENDPOINTS,
            *report_routes.ENDPOINTS,
        )
        request_origin.check_origin(request.headers, host, self._allowed_origins, opens_page)
        if request.routing_exception is not None:
            raise request.routing_exception
        self._identify(request)
        if self._accepts_images(request):
            model, found = request.args.get("model", ""), self._documentation(request)
            if model or (found is not None and found.needs_default_model):
                self.service.models.find(model)
            if (request.content_length or 0) > self.config["MAX_CONTENT_LENGTH"]:
                raise werkzeug.exceptions.RequestEntityTooLarge
            self.service.rate_limiter.consume(request.remote_addr or "")

    def _identify(self, request: flask.Request) -> str:
        """Return the name of the API key that the client sent; "" if it has none or the endpoint needs none.

        Raises:
          ApiError: `unauthorized`.
        """
        if request.endpoint in report_routes.ENDPOINTS:
            return self.service.keys.identify(report_routes.key_headers(request))
        found = self._documentation(request)
        secured = found is not None and found.secured and request.method != "OPTIONS"
        return self.service.keys.identify(request.headers) if secured else ""

    def _accepts_images(self, request: flask.Request) -> bool:
        found = self._documentation(request)
        return request.method == "POST" and found is not None and found.body is not None

    def _documentation(self, request: flask.Request) -> openapi.Documentation | None:
        return openapi.documentation(self.view_functions.get(request.endpoint or ""))

    def _http_error_message(self, error: werkzeug.exceptions.HTTPException) -> str:
        """Return a plain text message, because those of werkzeug are HTML."""
        method, path = flask.request.method[:16], flask.request.path[:255]
        if isinstance(error, werkzeug.exceptions.MethodNotAllowed):
            return f"{path} does not accept {method}. Use {', '.join(error.valid_methods or ())}."
        if error.code == 404:
            return f"{path}: there is no such endpoint. See /docs."
        if error.code == 413:
            limit = self.config["MAX_CONTENT_LENGTH"]
            return f"The request is larger than {limit} bytes (MaxBody) or has too many fields."
        return f"The request cannot be parsed ({error.name})."

    def _set_cors_headers(self, response: flask.Response) -> None:
        """Allow pages of the configured origins to read the response."""
        origin = flask.request.headers.get("Origin")
        if self._allowed_origins:
            response.vary.add("Origin")
        if origin in self._allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-API-Key, X-Request-ID"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST"
            response.headers["Access-Control-Expose-Headers"] = "Retry-After, X-Request-ID"
            # With same-origin, browsers would withhold the response from the page.
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"


def _check_address(request: flask.Request) -> None:
    """Reject addresses that Flask accepts.

    Flask treats `//Inference` as `/Inference`, which would bypass a proxy's rules for that path. A query may consist of
    any bytes.
    """
    path = request.environ.get("PATH_INFO", "")
    slashes = len(path) - len(path.lstrip("/"))
    if slashes > 1:
        request.path, request.url_rule = "/" * (slashes - 1) + request.path, None
        raise werkzeug.exceptions.NotFound
    try:
        request.query_string.decode()
    except UnicodeDecodeError as error:
        raise ApiError("bad_request", "The query is not UTF-8. Write other characters as %xx.") from error
