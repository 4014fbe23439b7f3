"""Reads the images of a request, and explains what to do if an image was encoded in an unsupported way."""

import io
from typing import IO

import flask

from Classes.common.errors import escape_control_chars
from Classes.imaging import file_kinds
from Classes.serving.api_errors import ApiError

FORM_FIELD = "file"

_RAW = f"Send the file's own bytes: curl --data-binary @FILE, or -F {FORM_FIELD}=@FILE."


class InMemoryRequest(flask.Request):
    """Keeps uploads in memory, where their size is limited; they contain patient data and must not reach the disk."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


def single_image(request: flask.Request) -> bytes:
    """Return the one image of a request: the body, or the form field `file`.

    The content type matters for forms only: old clients send image/jpeg for every format, and curl -d sends
    application/x-www-form-urlencoded.

    Raises:
      ApiError: `empty` or `several_images`.
    """
    if request.mimetype == "multipart/form-data":
        images = all_images(request)
        if len(images) > 1:
            raise ApiError(
                "several_images",
                f"The request has {len(images)} files instead of one. Send one request per file, or use /v1/batch.",
            )
        content = images[0][1]
    else:
        content = request.get_data(cache=False, parse_form_data=False)
    if not content:
        raise ApiError("empty", f"The request has no image. Send it as the body, or as the form field {FORM_FIELD}.")
    return content


def image_name(request: flask.Request) -> str:
    """Return the name of the file of `single_image`; "" for a request body."""
    file = request.files.get(FORM_FIELD) if request.mimetype == "multipart/form-data" else None
    return (file.filename or "") if file else ""


def all_images(request: flask.Request) -> list[tuple[str, bytes]]:
    """Return (name, bytes) of every image in the form field `file`.

    Raises:
      ApiError: `empty`, or `several_images` if another field has a file, which would be ignored.
    """
    files = request.files.getlist(FORM_FIELD)
    sent_as_text = any(request.form.getlist(FORM_FIELD))
    other_fields = sorted(set(request.files) - {FORM_FIELD})
    if not files:
        example = f"curl -F {FORM_FIELD}=@NAME" if sent_as_text or other_fields else "multipart/form-data"
        raise ApiError("empty", f"The request has no image. Send a form ({example}) with the field {FORM_FIELD}.")
    if other_fields or sent_as_text:
        field = (
            f"the field {escape_control_chars(other_fields[0])[:64]}"
            if other_fields
            else f"the text of the field {FORM_FIELD}"
        )
        raise ApiError("several_images", f"The request has data in {field}. Send only files in the field {FORM_FIELD}.")
    return [(file.filename or "", file.read()) for file in files]


def add_hint(error: ApiError, content: bytes, request: flask.Request) -> ApiError:
    """Return `error`, with a better message if `content` is an image that was encoded before it was sent."""
    hint = _encoding_hint(content, request) if error.code in ("not_an_image", "damaged_image") else None
    return ApiError(error.code, hint, error.retry_after) if hint else error


def _encoding_hint(content: bytes, request: flask.Request) -> str | None:
    """Return which encoding was sent instead of an image and how to send the image; None if it is unknown."""
    kind = (file_kinds.identify(content[:1024]) or ("",))[0]
    stated = request.headers.get("Content-Encoding", "").strip().lower()
    if kind in file_kinds.COMPRESSED or stated not in ("", "identity"):
        name = kind if kind in file_kinds.COMPRESSED else escape_control_chars(stated)[:32]
        return f"The content is compressed ({name}). Send the image without compression."
    if kind == "multipart form data":
        return "The body is a form whose Content-Type header is not multipart/form-data. Leave that header to curl -F."
    if kind in file_kinds.ENCODED:
        return f"The content is {kind}, not an image. {_RAW}"
    if request.mimetype == "application/x-www-form-urlencoded" and b"\n" not in content and b"\r" not in content:
        # curl -d removes line breaks, and nearly every image contains some.
        return f"The content was sent as a URL-encoded form, and curl -d changes the bytes of a file. {_RAW}"
    return None
