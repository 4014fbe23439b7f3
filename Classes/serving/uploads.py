"""The images in a request, whichever of the known ways they were sent in, and what to do where it was another way."""

import base64
import binascii
import io
import re
import urllib.parse

import flask

from Classes.common.errors import escape_control_chars
from Classes.serving.api_errors import ApiError

FORM_FIELD = "file"

_RAW = f"Send the file's own bytes: curl --data-binary @FILE, or -F {FORM_FIELD}=@FILE."

# How the kinds of image that are read begin.
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"II+\0", b"MM\0+")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")


class InMemoryRequest(flask.Request):
    """Keeps what is sent in memory, where its size is limited: no upload is ever a file of ours."""

    def _get_file_stream(self, total_content_length, content_type, filename=None, content_length=None):
        return io.BytesIO()


def single_image(request):
    """The bytes of the one image of a request: its body as it is, or the form's field `file`.

    Whatever the content type says: old clients call everything image/jpeg, and curl a form that it is not.

    Raises:
      Refusal: there is none, it is empty, or there are several.
    """
    if request.mimetype == "multipart/form-data":
        found = all_images(request)
        if len(found) > 1:
            raise ApiError(
                "several_images",
                f"{len(found)} files were sent where one is expected. Send one request per file, or use /v1/batch.",
            )
        content = found[0][1]
    else:
        content = request.get_data(cache=False, parse_form_data=False)
    if not content:
        raise ApiError("empty", f"no image was sent; send it as the body, or as the form's field {FORM_FIELD}")
    return content


def all_images(request):
    """[(name, bytes)] of every image in the form's field `file`.

    Raises:
      Refusal: there is none, or there is a file in another field, which nobody would look at.
    """
    files = request.files.getlist(FORM_FIELD)
    as_text = any(request.form.getlist(FORM_FIELD))
    others = sorted(set(request.files) - {FORM_FIELD})
    if not files:
        hint = f"curl -F {FORM_FIELD}=@NAME" if as_text or others else "multipart/form-data"
        raise ApiError("empty", f"no image was sent; send a form ({hint}) with the field {FORM_FIELD}")
    if others or as_text:
        where = f"the field {escape_control_chars(others[0])[:64]}" if others else f"the text of the field {FORM_FIELD}"
        raise ApiError("several_images", f"Only files in the field {FORM_FIELD} are read, and {where} is another one.")
    return [(file.filename or "", file.read()) for file in files]


def explained(refusal, content, request):
    """The refusal of bytes that are no image, with what to do where they are an image that was encoded on its way.

    Args:
      refusal: Refusal.
      content: the bytes that were taken for an image.
      request: the request they came with.
    """
    hint = None
    if refusal.code in ("not_an_image", "damaged_image"):
        hint = _compression(content, request) or _encoding(content, request)
    return ApiError(refusal.code, hint, refusal.retry_after) if hint else refusal


def _compression(content, request):
    stated = request.headers.get("Content-Encoding", "").strip().lower()
    found = next((name for start, name in _COMPRESSED.items() if content.startswith(start)), None)
    if found is None and stated in ("", "identity"):
        return None
    return f"The content is compressed ({found or escape_control_chars(stated)[:32]}). Send the image as it is, without compression."


def _encoding(content, request):
    """What was sent in place of an image, and how to send the image; None for anything else."""
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
        # Which no image of some size lacks; curl -d leaves them out.
        return f"The content was sent as a URL-encoded form, and curl -d changes the bytes of a file. {_RAW}"
    return None


def _is_base64(start):
    text = b"".join(start.split())
    if b"=" in text.rstrip(b"=")[:64]:
        # A field of a form before it, such as image=…
        text = urllib.parse.unquote_to_bytes(text.partition(b"=")[2])
    found = _BASE64.match(text)
    if not found:
        return False
    try:
        decoded = base64.b64decode(found[0][: len(found[0]) // 4 * 4][:64].translate(bytes.maketrans(b"-_", b"+/")))
    except binascii.Error:
        return False
    return decoded.startswith(_IMAGES)
