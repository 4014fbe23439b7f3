"""Hostile requests for fields: damaged and disguised files, absurd parameters; never an internal error."""

import io
import random
import zipfile

import hypothesis
import numpy
import PIL.Image
import pytest
from hypothesis import strategies

from Classes.serving import api_errors, app, field_service
from Classes.serving.models import ModelRegistry, ServedModel
from tests.support import fields, graphs, mutations, services

CELLS = (fields.Cell(60, 60), fields.Cell(140, 100))
PIXELS = fields.draw(CELLS, 200, 160)
ALLOWED = {200, 400, 413, 415, 422}


class Finder(fields.HandFinder):
    def find(self, image, scale=None):
        return super().find(image, scale.microns if scale else None)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    settings = ("RateLimitPerMinute=0", "MaxPixels=1000000", "MaxSide=5000", "MaxBody=300000")
    configuration = graphs.configuration(folder, *settings)
    types = ServedModel("WhiteCells", configuration, fields.card(), fields.HandBackend((0.9, 0.02, 0.06, 0.02)))
    analyzer = field_service.FieldAnalyzer(configuration, ModelRegistry([types]), Finder(CELLS))
    others = [("WhiteCells", fields.card(), fields.HandBackend((0.9, 0.02, 0.06, 0.02)))]
    found = services.client(folder, *settings, fields=analyzer, others=others)
    yield found
    found.service.close()


def saved(kind, pixels=PIXELS, **options):
    content = io.BytesIO()
    PIL.Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def outcome(client, body, query="", **headers):
    response = client.post(f"/v1/field{query}", data=body, **headers)
    answer = response.get_json()
    assert isinstance(answer, dict)
    assert "Traceback" not in response.text
    return response.status_code, answer.get("code")


def test_formats_that_hold_a_field_are_counted(client):
    kinds = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
    assert {outcome(client, saved(kind)) for kind in kinds} == {(200, None)}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_truncated_and_damaged_files(client, kind):
    generator, whole = random.Random(3), saved(kind)
    for number in range(30):
        body = bytearray(whole)
        if number % 2:
            del body[generator.randrange(len(body)) :]
        else:
            for _ in range(20):
                body[generator.randrange(len(body))] = generator.randrange(256)
        status, code = outcome(client, bytes(body))
        assert status in ALLOWED, (number, status, code)
        assert code is None or code in api_errors.ERROR_CODES
    assert outcome(client, whole) == (200, None)
    assert client.service.field_admission.in_flight == 0


def test_files_that_are_two_things_at_once(client):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.png", saved("PNG"))
    script = b"<script>alert(1)</script>"
    # An image is what its first bytes say; what follows it is not used.
    assert outcome(client, saved("JPEG") + archive.getvalue()) == (200, None)
    assert outcome(client, saved("PNG") + script) == (200, None)
    assert outcome(client, archive.getvalue() + saved("JPEG")) == (415, "not_an_image")
    assert outcome(client, script + saved("PNG")) == (415, "not_an_image")
    assert outcome(client, b"%PDF-1.7\n" + saved("JPEG")) == (415, "not_an_image")


def test_sizes_beyond_the_limits(client):
    assert outcome(client, bytes(300_001)) == (413, "body_too_large")
    assert outcome(client, saved("PNG", numpy.zeros((1001, 1000, 3), "uint8"))) == (413, "image_too_large")
    assert outcome(client, saved("PNG", numpy.zeros((2, 5001, 3), "uint8"))) == (413, "image_too_large")
    assert outcome(client, saved("PNG", PIXELS[:1, :1]))[0] == 422


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/json", "image/png; charset=\xff", ";", ""])
def test_the_content_counts_and_not_its_stated_type(client, kind):
    assert outcome(client, saved("JPEG"), content_type=kind) == (200, None)


@pytest.mark.parametrize(
    "number", ["0", "-0.1", "1e-300", "1e308", "inf", "-inf", "nan", "NaN", "1" * 400, "0x1", "1_0"]
)
def test_absurd_scales(client, number):
    assert outcome(client, saved("PNG"), f"?scale={number}") == (400, "bad_request")


def test_scales_at_the_ends_of_the_range(client):
    from Classes.common import scale_option

    for microns in (scale_option.LOWEST, scale_option.HIGHEST):
        assert outcome(client, saved("PNG"), f"?scale={microns}") == (200, None)


NAMES = strategies.sampled_from(["scale", "overlay", "crops", "photograph", "model", "x"])
VALUES = strategies.sampled_from(["", "0", "1", "2", "0.1", "nan", "WhiteCells", "../../etc/passwd", "%00", "%F0%9F"])
QUERY = strategies.lists(strategies.tuples(NAMES, VALUES | strategies.text(max_size=20)), max_size=4)
BODY = strategies.sampled_from([saved("PNG"), saved("JPEG"), b"", b"--b--"]) | strategies.binary(max_size=60)


@mutations.steady(60)
@hypothesis.given(pairs=QUERY, body=BODY, kind=strategies.sampled_from(["", "image/png", "multipart/form-data"]))
def test_no_request_for_a_field_is_an_internal_error(client, pairs, body, kind):
    query = "&".join(f"{name}={value}" for name, value in pairs)
    environment = {"QUERY_STRING": query.encode().decode("latin-1"), "CONTENT_TYPE": kind}
    with client.post("/v1/field", input_stream=io.BytesIO(body), environ_overrides=environment) as response:
        assert response.status_code < 500
        assert app.REQUEST_ID_PATTERN.fullmatch(response.headers["X-Request-ID"])
        if response.status_code != 200:
            assert response.get_json()["code"] in api_errors.ERROR_CODES
    assert client.service.field_admission.in_flight == 0
