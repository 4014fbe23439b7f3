"""Test the answer for photographed fields, with drawn fields and a finder that knows their cells."""

import base64
import io
import json
import threading

import jsonschema
import numpy
import PIL.Image
import pytest

from Classes.common.errors import EngineError
from Classes.common.translation import Message
from Classes.fields import classify_fields, field_outputs
from Classes.fields.cell_typing import CellTyper
from Classes.inference import model_card
from Classes.serving import access_control, field_service
from Classes.serving.models import ModelRegistry, ServedModel
from tests.support import drawn_fields, fields, graphs, services, smears, waiting

CELLS = (fields.Cell(150, 200), fields.Cell(400, 300), fields.Cell(560, 120, flags=("cut",)))
LYMPHOCYTE = (0.9, 0.02, 0.06, 0.02)
PHOTOGRAPH = smears.png(fields.draw(CELLS))


class Finder(fields.HandFinder):
    """Takes the scale as the real finder does."""

    def find(self, image, scale=None):
        return super().find(image, scale.microns if scale else None)


class SlowFinder(Finder):
    """Waits until `free` is set."""

    def __init__(self, cells):
        super().__init__(cells)
        self.entered, self.free = threading.Event(), threading.Event()

    def find(self, image, scale=None):
        self.entered.set()
        assert self.free.wait(waiting.LIMIT)
        return super().find(image, scale)


@pytest.fixture
def open_client(tmp_path):
    """A function that returns a client of a server with a model of blasts and one of cell types."""
    opened = []

    def run(*settings, finder=None, rows=(LYMPHOCYTE,), synthetic=True, **parts):
        configuration = graphs.configuration(tmp_path, *settings)
        card = model_card.load_model_card(graphs.write(tmp_path / "Model", content=b"", synthetic=synthetic))
        served = [
            ServedModel("ALLGraph", configuration, card, services.FakeBackend()),
            ServedModel("WhiteCells", configuration, fields.card(), fields.HandBackend(*rows)),
        ]
        analyzer = field_service.FieldAnalyzer(configuration, ModelRegistry(served), finder or Finder(CELLS))
        others = [("WhiteCells", fields.card(), fields.HandBackend(*rows))]
        opened.append(services.client(tmp_path, *settings, fields=analyzer, card=card, others=others, **parts))
        return opened[-1]

    yield run
    for client in opened:
        client.service.close()


def send(client, query="", content=PHOTOGRAPH, **parts):
    return client.post(f"/v1/field{query}", data=content, **parts)


def opened_picture(uri):
    kind, _, content = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return PIL.Image.open(io.BytesIO(base64.b64decode(content)))


def test_cells_counts_and_scale(open_client):
    found = send(open_client()).json
    assert [(cell["x"], cell["y"], cell["group"]) for cell in found["cells"]] == [
        (560, 120, "lymphocyte"),
        (150, 200, "lymphocyte"),
        (400, 300, "lymphocyte"),
    ]
    assert [cell["cut_by_border"] for cell in found["cells"]] == [True, False, False]
    assert found["white_cells"] == found["counts"]["white_cells"] == 3
    [row] = found["counts"]["differential"]
    # Wilson's interval of 3 of 3: 3 / (3 + 1.96 ** 2).
    assert (row["count"], row["fraction"]) == (3, 1.0)
    assert row["interval"] == pytest.approx([0.4385, 1], abs=1e-3)
    assert (found["um_per_pixel"], found["scale_source"]) == (0.25, "red_cells")
    assert (found["counts"]["enough"], found["counts"]["blasts"]) == (False, None)
    assert found["sentences"]
    assert found["model_name"] == "Hand"
    assert not {"overlay", "crops"} & set(found)


def test_the_records_are_those_of_the_script(open_client, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(PHOTOGRAPH)
    monkeypatch.chdir(tmp_path)
    fields.install(monkeypatch, fields.HandFinder(CELLS))
    outputs = field_outputs.FieldOutputs(json="o.json")
    configuration = graphs.configuration(tmp_path)
    classify_fields.classify_fields(configuration, fields.card(), fields.FINDER, ["a.png"], outputs)
    script = json.loads((tmp_path / "o.json").read_text())

    form = {"file": (io.BytesIO(PHOTOGRAPH), "a.png")}
    found = send(open_client(), content=form).json
    assert found["cells"] == script["cells"]
    assert found["counts"] == script["counts"]
    [row] = script["fields"]
    same = set(row) - {"code", "error"}
    assert {name: found[name] for name in same} == {name: row[name] for name in same}


def test_answers_match_the_document(open_client):
    client = open_client(synthetic=False)
    document = client.get("/openapi.json").json
    schema = document["paths"]["/v1/field"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    for query in ("", "?overlay=1&crops=1&scale=0.1"):
        validator.validate(send(client, query).json)


def test_the_own_model_counts_blasts(open_client):
    # FakeBackend calls red images positive; the drawn nuclei have less red.
    found = send(open_client(synthetic=False)).json
    blasts = found["counts"]["blasts"]
    assert (blasts["type"], blasts["cells"]) == ("lymphoblast", 3)
    assert blasts["blasts"] == sum(cell["blast"] is True for cell in found["cells"])
    assert all(cell["blast_probability"] is not None for cell in found["cells"])
    assert found["models"]["blasts"]["graph"] == "ALLGraph.pb"


def test_overlay_and_crops_are_pictures(open_client):
    found = send(open_client(), "?overlay=1&crops=1").json
    overlay = opened_picture(found["overlay"])
    assert overlay.width % 640 == 0
    assert overlay.height > 480
    assert len(found["crops"]) == 3
    crop = numpy.asarray(opened_picture(found["crops"][1]))
    middle = crop[crop.shape[0] // 2, crop.shape[1] // 2]
    assert abs(middle.astype(int) - fields.NUCLEUS).max() < 40


def test_the_photograph_is_returned_as_the_cells_are_placed_in_it(open_client):
    picture = PIL.Image.fromarray(fields.draw(CELLS))
    exif = PIL.Image.Exif()
    # Turned by 90 degrees: the stored picture is higher than wide.
    exif[0x0112] = 6
    content = io.BytesIO()
    picture.transpose(PIL.Image.Transpose.ROTATE_90).save(content, "PNG", exif=exif)
    found = send(open_client(), "?photograph=1", content.getvalue()).json
    shown = opened_picture(found["photograph"])
    assert shown.size == (found["width"], found["height"]) == (640, 480)
    assert numpy.abs(numpy.asarray(shown.convert("RGB"), float) - numpy.asarray(picture, float)).mean() < 5
    assert not shown.getexif()


def test_a_scale_can_be_given(open_client):
    found = send(open_client(), "?scale=0.1").json
    assert (found["um_per_pixel"], found["scale_source"]) == (0.1, "given")
    assert found["cells"][0]["x_um"] == pytest.approx(56)


@pytest.mark.parametrize("query", ["?scale=x", "?scale=0", "?scale=nan", "?scale=9", "?overlay=2", "?crops=x"])
def test_wrong_parameters_are_refused(open_client, query):
    answer = send(open_client(), query)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")


def test_a_model_must_name_types(open_client):
    client = open_client()
    assert send(client, "?model=WhiteCells").status_code == 200
    answer = send(client, "?model=ALLGraph")
    assert (answer.status_code, answer.json["code"]) == (400, "not_a_cell_type_model")
    assert send(client, "?model=No").json["code"] == "unknown_model"


def test_fields_need_no_own_model(tmp_path):
    configuration = graphs.configuration(tmp_path)
    types = ServedModel("WhiteCells", configuration, fields.card(), fields.HandBackend(LYMPHOCYTE))
    analyzer = field_service.FieldAnalyzer(configuration, ModelRegistry([types]), Finder(CELLS))
    others = [("WhiteCells", fields.card(), fields.HandBackend(LYMPHOCYTE))]
    client = services.client(tmp_path, fields=analyzer, others=others, unavailable={"ALLGraph": "Not trained."})
    found = send(client)
    client.service.close()
    assert found.status_code == 200
    assert found.json["counts"]["blasts"] is None


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"no image", 415, "not_an_image"),
        (b"", 400, "empty"),
        (smears.png(numpy.full((500, 500, 3), 200, "uint8")), 422, "no_content"),
        (smears.png(fields.draw(CELLS)[..., [1, 1, 1]]), 422, "not_a_smear"),
    ],
)
def test_what_is_no_field_gets_a_code(open_client, content, status, code):
    answer = send(open_client(), content=content)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.json["message"][0].isalnum()


def test_too_many_cells_are_no_field(open_client):
    answer = send(open_client(finder=Finder(CELLS * 1000)))
    assert (answer.status_code, answer.json["code"]) == (422, "too_many_cells")


def test_a_field_without_cells_is_a_result(open_client):
    found = send(open_client(finder=Finder(()))).json
    assert (found["white_cells"], found["cells"], found["counts"]["differential"]) == (0, [], [])


def test_a_key_is_needed(open_client):
    client = open_client(keys=access_control.ApiKeys({"": b"k" * 32}))
    assert send(client).status_code == 401
    assert send(client, headers={"X-API-Key": "k" * 32}).status_code == 200


def test_fields_count_for_the_rate_limit(open_client):
    client = open_client("RateLimitPerMinute=1")
    assert [send(client).status_code for _ in range(2)] == [200, 429]


def test_single_cells_are_answered_while_fields_wait(open_client):
    finder = SlowFinder(CELLS)
    client = open_client("MaxQueued=1", finder=finder)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(send(client.application.test_client()).status_code))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert finder.entered.wait(waiting.LIMIT)
    waiting.until(lambda: client.service.field_admission.in_flight == 2)
    busy = send(client)
    assert (busy.status_code, busy.json["code"]) == (503, "busy")
    assert busy.headers["Retry-After"]
    assert client.post("/v1/classify", data=services.image(192)).status_code == 200
    finder.free.set()
    for thread in threads:
        thread.join()
    assert answers == [200, 200]


def test_a_field_has_a_deadline(open_client):
    finder = SlowFinder(CELLS)
    answer = send(open_client("RequestTimeout=0.2", finder=finder))
    finder.free.set()
    assert (answer.status_code, answer.json["code"]) == (504, "deadline")


def test_the_work_stops_after_the_deadline(open_client):
    finder, typed = SlowFinder(CELLS), []
    client = open_client("RequestTimeout=0.2", finder=finder)
    original = CellTyper.classify

    def classify(self, crops, stain=None):
        found = original(self, crops, stain)
        typed.append(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CellTyper, "classify", classify)
        answer = send(client)
        finder.free.set()
        waiting.until(lambda: client.service.field_admission.in_flight == 0)
    assert answer.json["code"] == "deadline"
    # The finder was at work when the time was over, and no cell was classified after it.
    assert typed == []
    # The time limit of 0.2 s may be too short for a busy machine.
    waiting.until(lambda: client.post("/v1/classify", data=services.image(192)).status_code == 200)


def test_a_device_that_fails(open_client):
    class Failing(Finder):
        def find(self, image, scale=None):
            raise EngineError(Message("broken"), "device_failed")

    answer = send(open_client(finder=Failing(CELLS)))
    assert (answer.status_code, answer.json["code"]) == (503, "engine_failed")


def test_metrics_count_the_cells(open_client):
    client = open_client()
    send(client)
    text = client.get("/metrics").text
    assert 'all_field_cells_total{group="lymphocyte",model="Hand"} 3.0' in text
    assert 'all_requests_total{address="/v1/field",outcome="ok"} 1.0' in text


def test_the_finder_that_comes_with_the_project(tmp_path):
    configuration = graphs.configuration(tmp_path)
    types = ServedModel("WhiteCells", configuration, fields.card(), fields.HandBackend(LYMPHOCYTE))
    analyzer = field_service.FieldAnalyzer(configuration, ModelRegistry([types]))
    image = drawn_fields.draw_field(640, 480, 0.11, [(150, 120, 12), (460, 330, 12)])
    found = analyzer.analyze(smears.png(image), field_service.FieldRequest("a.png"))
    analyzer.close()
    centers = [(cell.x, cell.y) for cell in found.field.cells]
    assert numpy.allclose(centers, [(150, 120), (460, 330)], atol=10)
    assert found.field.scale == pytest.approx(0.11, rel=0.15)
