"""What the service answers when it does not answer with a verdict: one class, one place for statuses and codes."""

from Classes.common.errors import EngineError, GraphError, ImageError, ImageSizeError, UnsupportedImageError

# code: (status, when). Clients may rely on the codes; the messages are for people. The first code of a status is the
# one for what a library refuses with it.
ERROR_CODES = {
    "bad_request": (400, "the request is no valid HTTP, or its form or a parameter cannot be read"),
    "empty": (400, "no image was sent"),
    "several_images": (400, "more than one file was sent where one is expected, or a file in an unknown field"),
    "unauthorized": (401, "the API key is missing or wrong"),
    "host_not_allowed": (403, "the Host header names another server; see AllowedHosts"),
    "origin_not_allowed": (403, "a web page of another origin sent the request; see AllowedOrigins"),
    "not_found": (404, "there is no such address"),
    "method_not_allowed": (405, "the address does not know this method"),
    "request_timeout": (408, "the request was not received within RequestTimeout"),
    "body_too_large": (413, "the request is larger than MaxBody"),
    "image_too_large": (413, "the image is larger than MaxPixels or MaxSide"),
    "too_many_images": (413, "more images than MaxBatch"),
    "not_an_image": (415, "the bytes are no image of a kind that is read"),
    "damaged_image": (422, "the image is damaged"),
    "no_content": (422, "the image shows nothing: it is blank, one color, transparent, a gradient or noise"),
    "unknown_bit_depth": (422, "more than 8 bits per channel, and neither the file nor SampleBits states the depth"),
    "several_pages": (422, "the file holds several images or channels that are not one photograph"),
    "unsupported_image": (422, "a variant of its format that is not read; the message has the reason"),
    "too_many_requests": (429, "the caller is over RateLimitPerMinute"),
    "headers_too_large": (431, "the request's headers are too large"),
    "internal_error": (500, "a defect of the server; the log has the details under the request id"),
    "not_implemented": (501, "a transfer encoding that is not known"),
    "no_heat_map": (501, "the model's graph has no heat maps"),
    "busy": (503, "the waiting room, or the memory for requests, is full"),
    "not_ready": (503, "the server is starting, stopping, or its device gives no sound answers"),
    "engine_failed": (503, "the device failed or gave an answer that is no probability"),
    "deadline": (504, "no answer within RequestTimeout"),
}


# The closer codes of errors.ImageError; the service has one for all variants that are not read.
_IMAGE_CODES = {code: code for code in ("no_content", "unknown_bit_depth", "several_pages")} | dict.fromkeys(
    ("sample_format", "negative_samples", "not_finite", "camera_raw", "tiff_compression", "tiff_colours"),
    "unsupported_image",
)
_IMAGE_CODES["several_channels"] = "several_pages"


class ApiError(Exception):
    """An answer other than a verdict.

    Args:
      code: a key of CODES.
      message: what happened and what to do, for people.
      retry_after: seconds after which trying again makes sense, or None.
    """

    def __init__(self, code, message, retry_after=None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @property
    def status(self):
        """The HTTP status."""
        return ERROR_CODES[self.code][0]

    @property
    def headers(self):
        """The headers that belong to it."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {**found, "WWW-Authenticate": "Bearer"} if self.status == 401 else found

    def body(self, request_id):
        """The JSON object that is sent."""
        found = {"code": self.code, "message": self.message, "request_id": request_id}
        return found if self.retry_after is None else {**found, "retry_after": self.retry_after}


def api_error_from_exception(error):
    """The refusal for an error of the toolkit's own tree.

    Args:
      error: ImageError, which is the caller's; EngineError or, from a heat map, GraphError, which are ours.
    """
    if isinstance(error, ImageSizeError):
        return ApiError("image_too_large", str(error))
    if isinstance(error, UnsupportedImageError):
        return ApiError("not_an_image", str(error))
    if isinstance(error, ImageError):
        return ApiError(_IMAGE_CODES.get(error.code, "damaged_image"), str(error))
    if isinstance(error, EngineError):
        return ApiError("engine_failed", f"{error}", retry_after=5)
    if isinstance(error, GraphError):
        return ApiError("no_heat_map", "this model's graph has no heat maps; leave heatmap out")
    raise error


def api_error_from_status(status, message):
    """The refusal for an HTTP status that a library found, with the first code of that status."""
    code = next((code for code, (known, _) in ERROR_CODES.items() if known == status), None)
    return ApiError(code or ("bad_request" if status < 500 else "internal_error"), message)
