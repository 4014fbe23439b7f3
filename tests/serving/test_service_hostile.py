import concurrent.futures
import io
import json
import random
import zipfile

import hypothesis
import numpy
import PIL.Image
import pytest
from hypothesis import strategies

from Classes.inference import classify_files, device_selection, model_card
from Classes.serving import api_errors, app
from tests.support import graphs, mutations, services, smears

ALLOWED = {200, 400, 413, 415, 422}


@pytest.fixture
def client(tmp_path):
    found = services.client(tmp_path, "RateLimitPerMinute=0", "MaxPixels=1000000", "MaxSide=5000", "MaxBody=200000")
    yield found
    found.service.close()


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seeds():
    """Return small images of every format, mode and orientation."""
    base = PIL.Image.fromarray(smears.cell(True, 1)).convert("L").resize((40, 30))
    pixels = numpy.asarray(base)
    # Scaled to the range of their sample type.
    wide = {"I;16": pixels.astype("uint16") * 257, "F": pixels.astype("float32") / 255}
    modes = {
        "JPEG": ("L", "RGB", "CMYK"),
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "TIFF": ("L", "RGBA", "CMYK", "I;16", "F"),
        "BMP": ("1", "P", "RGB"),
        "GIF": ("P",),
        "WEBP": ("RGB", "RGBA"),
    }

    def plain(mode):
        # A dithered image of 40x30 is noise.
        return base.convert(mode, dither=PIL.Image.Dither.NONE)

    for kind, names in modes.items():
        for mode in names:
            yield saved(PIL.Image.fromarray(wide[mode]) if mode in wide else plain(mode), kind)
    for orientation in range(1, 9):
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        yield saved(base, "JPEG", exif=exif)


def outcome(client, body, path="/v1/classify"):
    response = client.post(path, data=body)
    answer = response.get_json()
    assert isinstance(answer, dict)
    return response.status_code, answer.get("code")


def test_every_format_mode_and_orientation_has_a_result(client):
    assert {outcome(client, body) for body in seeds()} == {(200, None)}


def test_truncated_and_corrupted_images_give_results_or_errors(client):
    generator, images = random.Random(7), list(seeds())
    before = client.post("/v1/classify", data=images[0]).get_json()["probabilities"]
    for number in range(400):
        body = bytearray(generator.choice(images))
        if number % 2:
            del body[generator.randrange(len(body)) :]
        else:
            for _ in range(generator.choice((1, 3, 20))):
                body[generator.randrange(len(body))] = generator.randrange(256)
        status, code = outcome(client, bytes(body))

        assert status in ALLOWED, (number, status, code)

    assert client.post("/v1/classify", data=images[0]).get_json()["probabilities"] == before
    assert client.service.admission.in_flight == 0


def test_invalid_and_oversized_images(client):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.jpg", next(seeds()))
    expected = {
        b"": (400, "empty"),
        b"<!DOCTYPE html><html></html>": (415, "not_an_image"),
        archive.getvalue(): (415, "not_an_image"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": (415, "not_an_image"),
        b"%PDF-1.7\n": (415, "not_an_image"),
        bytes(1000): (415, "not_an_image"),
        saved(PIL.Image.new("1", (5001, 1)), "PNG"): (413, "image_too_large"),
        saved(PIL.Image.new("1", (1001, 1000)), "PNG"): (413, "image_too_large"),
        bytes(200_001): (413, "body_too_large"),
    }

    assert {body: outcome(client, body) for body in expected} == expected


ADDRESSES = ["/Inference", "/v1/classify", "/v1/batch", "/v1/model", "/metrics", "/", "/docs", "/openapi.json", "/x"]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "\xe9"]
KINDS = ["multipart/form-data; boundary=b", "multipart/form-data", "image/png", "text/x; charset=\xff", "", "/", ";"]
NAMES = ["X-Request-ID", "X-API-Key", "Authorization", "Origin", "Accept", "Range", "Host", "X-Forwarded-For", "Cookie"]
HEADER = strategies.text(strategies.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
BODIES = strategies.binary(max_size=200) | strategies.sampled_from([services.image(64, 20), b"--b--", PART, PART * 60])


@pytest.mark.slow
@mutations.steady(300)
@hypothesis.given(
    path=strategies.sampled_from(ADDRESSES) | HEADER.map(lambda text: f"/{text}"),
    method=strategies.sampled_from(METHODS),
    query=HEADER,
    kind=strategies.sampled_from(KINDS) | HEADER,
    headers=strategies.dictionaries(strategies.sampled_from(NAMES), HEADER, max_size=3),
    body=BODIES,
    length=strategies.sampled_from([None, None, None, "", "-1", "7", "x", "9" * 30]),
)
def test_no_request_causes_an_internal_error(client, path, method, query, kind, headers, body, length):
    environment = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": query, "CONTENT_TYPE": kind}
    environment |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    environment |= {} if length is None else {"CONTENT_LENGTH": length}

    with client.open(input_stream=io.BytesIO(body), environ_overrides=environment) as response:
        assert response.status_code < 500
        assert app.REQUEST_ID_PATTERN.fullmatch(response.headers["X-Request-ID"])
        if response.status_code >= 400 and method != "HEAD":
            assert response.get_json()["code"] in api_errors.ERROR_CODES
    assert client.service.admission.in_flight == 0


def test_concurrent_requests_get_their_own_results(tmp_path):
    application = services.client(tmp_path, "RateLimitPerMinute=0", "MaxQueued=1000")
    values = [value for value in graphs.RED for _ in range(10)]

    def ask(red):
        return application.application.test_client().post("/v1/classify", data=services.image(red, 40)).get_json()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, values))

    for value, answer in zip(values, answers, strict=True):
        assert answer["probabilities"]["1"] == pytest.approx(graphs.RED[value], abs=1e-6)
    assert len({answer["request_id"] for answer in answers}) == len(values)
    application.service.close()


@pytest.mark.slow
def test_server_and_classifier_give_the_same_results(tmp_path):
    """With the same model and device, for several image formats."""
    card = model_card.load_model_card(graphs.write(tmp_path / "Model"))
    pixels = smears.cell(True, 2, size=360)
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.gif", "GIF")):
        path = tmp_path / "Model/Test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(PIL.Image.fromarray(pixels), kind))
    configuration = graphs.configuration(tmp_path)
    classify_files.classify_files(configuration, json_path=tmp_path / "rows.json")
    rows = json.loads((tmp_path / "rows.json").read_text())["images"]

    with device_selection.open_backend(configuration, card) as engine:
        client = services.client(tmp_path, backend=engine, card=card)
        answers = [
            client.post("/v1/classify", data=path.read_bytes()).get_json()
            for path in sorted((tmp_path / "Model/Test").iterdir())
        ]
        client.service.close()

    assert [row["probability_1"] for row in rows] == [answer["probabilities"]["1"] for answer in answers]
    assert [row["verdict"] for row in rows] == [answer["verdict"] for answer in answers]
    assert len({row["probability_1"] for row in rows}) == 3
