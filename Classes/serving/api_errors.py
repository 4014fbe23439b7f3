"""All errors that the API answers with: one exception class and one table of codes."""

from typing import Any

from Classes.common.errors import EngineError, GraphError, ImageError, ImageSizeError, UnsupportedImageError

# {code: (HTTP status, when it occurs)}. Clients may rely on the codes; messages are for people. The first code of a
# status is also used for errors of that status that Flask or the HTTP server raise.
ERROR_CODES = {
    "bad_request": (400, "the request is not valid HTTP, or a form or parameter in it cannot be parsed"),
    "empty": (400, "the request contains no image"),
    "several_images": (400, "several files where one is expected, or a file in an unknown form field"),
    "not_a_cell_type_model": (400, "the model names no types of cells, which fields need"),
    "unauthorized": (401, "the API key is missing or wrong"),
    "host_not_allowed": (403, "the Host header names another server; see AllowedHosts"),
    "origin_not_allowed": (403, "the request comes from a web page of another origin; see AllowedOrigins"),
    "not_found": (404, "there is no such endpoint"),
    "unknown_model": (404, "the server has no model with this name; /v1/models lists them"),
    "no_model": (404, "the model is not available, such as the own model before the first training; see /v1/models"),
    "no_history": (404, "the server keeps no history; see HistoryDays"),
    "method_not_allowed": (405, "the endpoint does not accept this method"),
    "request_timeout": (408, "the request did not arrive within RequestTimeout"),
    "body_too_large": (413, "the request is larger than MaxBody"),
    "image_too_large": (413, "the image is larger than MaxPixels or MaxSide"),
    "too_many_images": (413, "the batch has more images than MaxBatch"),
    "not_an_image": (415, "the bytes are not an image in a supported format"),
    "damaged_image": (422, "the image is damaged"),
    "no_content": (422, "the image has no content: it is blank, one color, transparent, a gradient or noise"),
    "unknown_bit_depth": (422, "more than 8 bits per channel, and neither the file nor SampleBits states the depth"),
    "several_pages": (422, "the file holds several images, or channels that do not form one photograph"),
    "unsupported_image": (422, "this variant of the image format is not supported; see the message"),
    "not_a_smear": (422, "the image does not look like a field of a stained smear"),
    "photograph_of_a_screen": (422, "the field is a photograph of a screen"),
    "field_out_of_focus": (422, "the field is out of focus"),
    "too_many_cells": (422, "the image has more white cells than a field can have"),
    "too_many_requests": (429, "the client exceeds its rate limit, RateLimitPerMinute"),
    "headers_too_large": (431, "the request's headers are too large"),
    "internal_error": (500, "a bug in the server; its log has the details under the request id"),
    "not_implemented": (501, "the transfer encoding is not supported"),
    "no_heat_map": (501, "the model does not support heat maps"),
    "busy": (503, "the request queue, or the memory for requests, is full"),
    "not_ready": (503, "the server is starting or stopping, or its device fails"),
    "history_unavailable": (503, "the history cannot be read; the server's log has the reason"),
    "engine_failed": (503, "the device failed or returned values that are not probabilities"),
    "deadline": (504, "the result was not ready within RequestTimeout"),
}

_SAME_CODES = (
    "no_content", "unknown_bit_depth", "several_pages", "not_a_smear", "photograph_of_a_screen", "field_out_of_focus",
    "too_many_cells",
)  # fmt: skip

# {code of an ImageError: code of the API}, for those that the API does not call "damaged_image".
_IMAGE_CODES = {code: code for code in _SAME_CODES} | dict.fromkeys(
    ("sample_format", "negative_samples", "not_finite", "camera_raw", "tiff_compression", "tiff_colours"),
    "unsupported_image",
)
_IMAGE_CODES["several_channels"] = "several_pages"


class ApiError(Exception):
    """An error that the API answers with.

    Args:
      code: a key of ERROR_CODES.
      message: what happened and what to do, for people.
      retry_after: seconds after which the client can try again, or None.
    """

    def __init__(self, code: str, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return ERROR_CODES[self.code][0]

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of the response."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {**headers, "WWW-Authenticate": "Bearer"} if self.status == 401 else headers

    def to_json(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body of the response."""
        body = {"code": self.code, "message": self.message, "request_id": request_id}
        return body if self.retry_after is None else {**body, "retry_after": self.retry_after}


def api_error_from_exception(error: Exception) -> ApiError:
    """Convert an ImageError, EngineError or GraphError (no heat map) to an ApiError; raise any other `error` again."""
    if isinstance(error, ImageSizeError):
        return ApiError("image_too_large", str(error))
    if isinstance(error, UnsupportedImageError):
        return ApiError("not_an_image", str(error))
    if isinstance(error, ImageError):
        return ApiError(_IMAGE_CODES.get(error.code, "damaged_image"), str(error))
    if isinstance(error, EngineError):
        return ApiError("engine_failed", str(error), retry_after=5)
    if isinstance(error, GraphError):
        return ApiError("no_heat_map", "This model does not support heat maps. Send the request without heatmap.")
    raise error


def api_error_from_status(status: int, message: str) -> ApiError:
    """Return the first error code of an HTTP status, as an ApiError."""
    code = next((code for code, (known, _) in ERROR_CODES.items() if known == status), None)
    return ApiError(code or ("bad_request" if status < 500 else "internal_error"), message)
