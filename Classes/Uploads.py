"""The images in a request, whichever of the known ways they were sent in."""

import io

import flask

from Classes.Refusals import Refusal

FIELD = "file"


class Request(flask.Request):
    """Keeps what is sent in memory, where its size is limited: no upload is ever a file of ours."""

    def _get_file_stream(self, total_content_length, content_type, filename=None, content_length=None):
        return io.BytesIO()


def one(request):
    """The bytes of the one image of a request: its body as it is, or the form's field `file`.

    Whatever the content type says: old clients call everything image/jpeg, and curl a form that it is not.

    Raises:
      Refusal: there is none, or it is empty.
    """
    if request.mimetype == "multipart/form-data":
        content = several(request)[0][1]
    else:
        content = request.get_data(cache=False, parse_form_data=False)
    if not content:
        raise Refusal("empty", f"no image was sent; send it as the body, or as the form's field {FIELD}")
    return content


def several(request):
    """[(name, bytes)] of every image in the form's field `file`.

    Raises:
      Refusal: there is none.
    """
    files = request.files.getlist(FIELD)
    if not files:
        raise Refusal("empty", f"no image was sent; send a form (multipart/form-data) with the field {FIELD}")
    return [(file.filename or "", file.read()) for file in files]
