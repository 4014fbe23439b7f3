"""Uploads: forms with several files, and encoded images, are rejected with a hint."""

import base64
import gzip
import io
import json
import urllib.parse
import zlib

import numpy
import pytest
import tifffile

from tests.support import graphs, services


def multipart(*parts):
    """Return the arguments of a form with (field, file name or None, content) parts."""
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (field.encode(), b'; filename="%s"' % name.encode() if name else b"", content)
        for field, name, content in parts
    )
    return {"data": body + b"--b--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}


@pytest.mark.parametrize("address", ["/Inference", "/v1/classify"])
@pytest.mark.parametrize(
    "others",
    [
        [("file", "b.png", services.image(64, 20))],
        [("file", "b.png", b"")],
        [("image", "b.png", services.image(64, 20))],
        [("file", None, b"text")],
    ],
)
def test_two_files_where_one_is_expected(client, address, others):
    first = ("file", "a.png", services.image(192, 20))

    services.assert_error(client.post(address, **multipart(first, *others)), "several_images")
    services.assert_error(client.post(address, **multipart(*others, first)), "several_images")


@pytest.mark.parametrize("address", ["/Inference", "/v1/classify", "/v1/batch"])
def test_other_form_fields_are_ignored(client, address):
    sent = multipart(("file", "a.png", services.image(192, 20)), ("note", None, b"text"))

    assert client.post(address, **sent).status_code == 200


def test_a_file_in_an_unknown_field_of_a_batch_is_an_error(client):
    image = services.image(64, 20)

    response = client.post("/v1/batch", **multipart(("file", "a", image), ("image", "b", image)))

    services.assert_error(response, "several_images")


def encoded(kind):
    """Return (body, headers) of an image that is encoded in an unsupported way."""
    image = services.image(192, 40, "JPEG")
    text = base64.b64encode(image)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    found = {
        "curl -d": (image.translate(None, b"\r\n\0"), form),
        "curl -d png": (services.image(192, 40).translate(None, b"\r\n\0"), form),
        "form": (urllib.parse.urlencode({"image": text}).encode(), form),
        "base64": (text, {}),
        "base64 in lines": (base64.encodebytes(image), {"Content-Type": "text/plain"}),
        "base64 for addresses": (base64.urlsafe_b64encode(image), {}),
        "data": (b"data:image/jpeg;base64," + text, {}),
        "json": (json.dumps({"image": text.decode()}).encode(), {"Content-Type": "application/json"}),
        "json list": (json.dumps([text.decode()]).encode(), {}),
        "gzip": (gzip.compress(image), {"Content-Encoding": "gzip"}),
        "gzip file": (gzip.compress(image), {}),
        "deflate": (zlib.compress(image), {"Content-Encoding": "deflate"}),
        "br": (b"\x8b\x04\x80rest", {"Content-Encoding": "br"}),
    }
    return found[kind]


RAW = [
    "curl -d",
    "curl -d png",
    "form",
    "base64",
    "base64 in lines",
    "base64 for addresses",
    "data",
    "json",
    "json list",
]


@pytest.mark.parametrize("kind", RAW)
def test_an_encoded_image_is_rejected_with_a_hint(client, kind):
    body, headers = encoded(kind)

    response = client.post("/v1/classify", data=body, headers=headers)

    assert response.status_code in (415, 422)
    assert "curl --data-binary @FILE" in response.get_json()["message"]
    assert "-F file=@FILE" in response.get_json()["message"]


@pytest.mark.parametrize("kind", ["gzip", "gzip file", "deflate", "br"])
def test_a_compressed_image_is_rejected_with_a_hint(client, kind):
    body, headers = encoded(kind)

    message = client.post("/v1/classify", data=body, headers=headers).get_json()["message"]

    assert "compress" in message


def test_in_a_batch_each_image_has_its_own_hint(client):
    sent = multipart(("file", "a", services.image(192, 20)), ("file", "b", encoded("base64")[0]), ("file", "c", b"x"))

    first, second, third = client.post("/v1/batch", **sent).get_json()["results"]

    assert first["class"] == "1"
    assert second["error"]["message"] != third["error"]["message"]


def test_a_form_with_a_wrong_content_type_is_rejected_with_a_hint(client):
    sent = multipart(("file", "a.png", services.image(192, 20)))

    body = services.assert_error(
        client.post("/v1/classify", data=sent["data"], headers={"Content-Type": "image/png"}), "not_an_image"
    )

    assert "multipart/form-data" in body["message"]


@pytest.mark.parametrize("encoding", ["gzip", "identity", "binary", "base64"])
def test_a_wrong_content_encoding_header_is_ignored(client, encoding):
    headers = {"Content-Encoding": encoding}

    assert client.post("/v1/classify", data=services.image(192, 20), headers=headers).status_code == 200


def test_an_unknown_bit_depth_is_an_error_unless_configured(tmp_path):
    file = io.BytesIO()
    pixels = numpy.asarray(graphs.red(64, 80)).astype("uint16") * 16
    tifffile.imwrite(file, pixels, photometric="rgb")
    for settings, code in (((), "unknown_bit_depth"), (("SampleBits=12",), None)):
        client = services.client(tmp_path, *settings)
        try:
            answer = client.post("/v1/classify", data=file.getvalue())
        finally:
            client.service.close()
        assert answer.get_json().get("code") == code
