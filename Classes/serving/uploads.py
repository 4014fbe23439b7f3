"""Reads the images of a request, and explains what to do if an image was encoded in an unsupported way."""

import base64
import binascii
import io
import re
import urllib.parse
from typing import IO

import flask

from Classes.common.errors import escape_control_chars
from Classes.serving.api_errors import ApiError

FORM_FIELD = "file"

_RAW = f"Send the file's own bytes: curl --data-binary @FILE, or -F {FORM_FIELD}=@FILE."

# First bytes of the supported image formats.
_IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"II+\0", b"MM\0+")
_COMPRESSION_SIGNATURES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")


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
    hint = None
    if error.code in ("not_an_image", "damaged_image"):
        hint = _compression_hint(content, request) or _encoding_hint(content, request)
    return ApiError(error.code, hint, error.retry_after) if hint else error


def _compression_hint(content: bytes, request: flask.Request) -> str | None:
    stated = request.headers.get("Content-Encoding", "").strip().lower()
    found = next((name for start, name in _COMPRESSION_SIGNATURES.items() if content.startswith(start)), None)
    if found is None and stated in ("", "identity"):
        return None
    name = found or escape_control_chars(stated)[:32]
    return f"The content is compressed ({name}). Send the image without compression."


def _encoding_hint(content: bytes, request: flask.Request) -> str | None:
    """Return which encoding was sent instead of an image and how to send the image; None if it is unknown."""
    start = content[:2048].lstrip(b"\xef\xbb\xbf \t\r\n\"'")
    if start.startswith(b"--") and b"content-disposition:" in start.lower():
        return "The body is a form whose Content-Type header is not multipart/form-data. Leave that header to curl -F."
    if start[:5].lower() == b"data:":
        return f"The content is a data URI. {_RAW}"
    if start.startswith((b"{", b"[")) or request.mimetype == "application/json":
        return f"The content is JSON. {_RAW}"
    if _is_base64(start):
        return f"The content is base64 text. {_RAW}"
    if request.mimetype == "application/x-www-form-urlencoded" and b"\n" not in content and b"\r" not in content:
        # curl -d removes line breaks, and nearly every image contains some.
        return f"The content was sent as a URL-encoded form, and curl -d changes the bytes of a file. {_RAW}"
    return None


def _is_base64(start: bytes) -> bool:
    text = b"".join(start.split())
    if b"=" in text.rstrip(b"=")[:64]:
        # Remove a form field in front of it, such as image=…
        text = urllib.parse.unquote_to_bytes(text.partition(b"=")[2])
    found = _BASE64.match(text)
    if not found:
        return False
    try:
        decoded = base64.b64decode(found[0][: len(found[0]) // 4 * 4][:64].translate(bytes.maketrans(b"-_", b"+/")))
    except binascii.Error:
        return False
    return decoded.startswith(_IMAGE_SIGNATURES)
