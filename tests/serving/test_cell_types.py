"""Tests of a model of cell types, which detects nothing, and of a disease model of several classes, on the server."""

import base64
import io

import numpy
import pytest
from PIL import Image

from Classes.common import paths
from Classes.inference import class_activation, device_selection, model_card
from Classes.serving import history, page_routes
from tests.support import graphs, services, smears

CLASSES = ("LY", "BNE", "SNE", "MO")
ABOUT = {
    "names": {"LY": "lymphocyte", "BNE": "band neutrophil", "SNE": "segmented neutrophil", "MO": "monocyte"},
    "groups": {"lymphocyte": ["LY"], "neutrophil": ["BNE", "SNE"], "monocyte": ["MO"]},
    "limits": ["It has never seen a leukemic cell."],
    "metrics": {
        "split": "held out",
        "groups": {
            "images": 7,
            "ece": 0.01,
            "accuracy": {"value": 1.0, "interval": [0.6, 1.0]},
            "macro_f1": {"value": 1.0, "interval": None},
        },
    },
}
# The lymphocyte is the most likely class, but the neutrophils together are more likely.
SPLIT = (0.375, 0.3125, 0.25, 0.0625)
SURE = (0.9375, 0.03125, 0.03125, 0.0)


class FixedBackend(services.FakeBackend):
    """Has the same probabilities for each image."""

    def __init__(self, probabilities):
        super().__init__()
        self.probabilities = numpy.array([probabilities], "float32")

    def classify(self, batch):
        return self.probabilities.repeat(len(batch), axis=0)


def write_card(folder, **fields):
    return graphs.write(folder, content=b"types", classes=CLASSES, positive="", cell_types=ABOUT, **fields)


@pytest.fixture
def open_client(tmp_path):
    """A function that returns a client of a server with a model of cell types as its second model."""
    opened = []

    def run(probabilities, *settings, **parts):
        card = write_card(tmp_path / "Types", **parts.pop("card_fields", {}))
        backend = FixedBackend(probabilities)
        opened.append(services.client(tmp_path, *settings, others=[("Types", card, backend)], **parts))
        return opened[-1]

    yield run
    for client in opened:
        client.service.close()


def classify(client, address="/v1/classify?model=Types"):
    return client.post(address, data=services.image(192, 40)).json


def test_the_answer_has_class_group_and_all_probabilities(open_client):
    answer = classify(open_client(SPLIT))

    assert (answer["class"], answer["class_title"], answer["class_confidence"]) == ("BNE", "band neutrophil", 0.3125)
    assert (answer["group"], answer["group_confidence"]) == ("neutrophil", 0.5625)
    assert answer["probabilities"] == dict(zip(CLASSES, SPLIT, strict=True))
    assert answer["group_probabilities"] == {"lymphocyte": 0.375, "neutrophil": 0.5625, "monocyte": 0.0625}


@pytest.mark.parametrize("address", ["/v1/classify", "/Inference"])
def test_a_model_that_detects_nothing_says_nothing_about_disease(open_client, address):
    answer = classify(open_client(SURE), f"{address}?model=Types")

    assert (answer["detected"], answer["positive_probability"], answer["outcome"]) == (None, None, None)
    assert answer["reasons"] == []
    texts = " ".join(str(answer.get(key)) for key in ("verdict", "message", "Classification", "Message"))
    assert "detected" not in texts


def test_a_group_with_a_low_probability_needs_review(open_client):
    answer = classify(open_client(SPLIT))

    assert (answer["outcome"], answer["reasons"]) == ("review", ["low_confidence"])


def test_each_image_of_a_batch_has_the_same_fields(open_client):
    client = open_client(SURE)
    files = [(io.BytesIO(services.image(192, 40)), "a.png")]

    answer = client.post("/v1/batch?model=Types", data={"file": files}).json

    [result] = answer["results"]
    assert (result["class"], result["group"], result["detected"]) == ("LY", "lymphocyte", None)


def test_the_list_of_models_says_what_the_model_has_never_seen(open_client):
    own, types = open_client(SURE).get("/v1/models").json["models"]

    assert (own["detects"], types["detects"]) == ("ALL", None)
    assert types["limits"] == ["It has never seen a leukemic cell."]
    assert types["groups"]["neutrophil"] == ["BNE", "SNE"]
    assert types["class_titles"]["MO"] == "monocyte"
    assert types["metrics"]["macro_f1"] == {"value": 1.0, "interval": None}
    assert (types["metrics"]["of"], types["metrics"]["images"]) == ("groups", 7)


def test_classes_that_are_not_counted_are_in_the_list_of_models(open_client):
    client = open_client(SURE, card_fields={"counted": ["LY", "MO"]})

    assert client.get("/v1/models").json["models"][1]["counted"] == ["LY", "MO"]


def test_metrics_count_classes_and_have_no_score_without_a_disease(open_client):
    client = open_client(SPLIT)
    classify(client)

    text = client.get("/metrics").text
    assert 'all_classes_total{class="BNE",group="neutrophil",model="Types"} 1.0' in text
    assert 'all_outcomes_total{model="Types",outcome="review"} 1.0' in text
    assert 'all_score_count{model="Types"}' not in text


def test_the_history_has_class_and_group(open_client, tmp_path):
    client = open_client(SURE, history=history.ResultHistory(tmp_path / "History.sqlite3", 30))
    classify(client)
    classify(client, "/v1/classify")

    own, typed = client.get("/v1/history").json["results"]
    assert (typed["class"], typed["group"], typed["class_confidence"]) == ("LY", "lymphocyte", 0.9375)
    assert (typed["outcome"], typed["model_name"]) == (None, "Types")
    assert own["outcome"] == "positive"
    [only] = client.get("/v1/history?model=Types").json["results"]
    assert only["id"] == typed["id"]


def test_the_information_of_a_server_without_an_own_model(tmp_path):
    card = write_card(tmp_path / "Types")
    client = services.client(
        tmp_path, others=[("Types", card, FixedBackend(SURE))], unavailable={"ALLGraph": "It is not trained."}
    )

    info = client.get("/v1/info").json
    assert (info["default_model"], info["positive_class"], info["condition"]) == (None, "", None)
    for path in ("/", "/docs"):
        assert client.get(path).status_code == 200
    client.service.close()


def test_the_shipped_model_says_that_drawings_are_unlike_its_training_images(tmp_path):
    configuration = graphs.configuration(tmp_path)
    shipped = paths.PROJECT / "Model" / "WhiteCells" / "WhiteCells.json"
    with device_selection.open_backend(configuration, model_card.load_model_card(shipped, cell_types=True)) as backend:
        client = services.client(tmp_path, others=[("WhiteCells", shipped, backend)])
        drawings = [path.read_bytes() for path in page_routes.example_images()[:4]]
        answers = [client.post("/v1/classify?model=WhiteCells", data=each).json for each in drawings]
        client.service.close()

    assert [answer["outcome"] for answer in answers] == ["review"] * 4
    assert all("unlike_training" in answer["reasons"] for answer in answers)


# A disease model of several classes


def test_the_probabilities_of_the_classes_of_a_disease_add_up(tmp_path):
    card = graphs.write(
        tmp_path / "Model", content=b"", classes=("benign", "early", "late"), positive=["early", "late"]
    )
    client = services.client(tmp_path, card=card, backend=FixedBackend((0.375, 0.25, 0.375)))

    answer = classify(client, "/v1/classify")

    assert (answer["detected"], answer["class"]) == (True, "late")
    assert (answer["positive_probability"], answer["confidence"]) == (0.625, 0.625)
    assert answer["class_confidence"] == 0.375
    assert client.get("/v1/info").json["positive_class"] == ["early", "late"]
    client.service.close()


# Heat maps


def planted():
    image = numpy.zeros((graphs.SIZE, graphs.SIZE, 3), "uint8")
    image[4:8, 24:28] = 255
    return image


def three_classes(folder, **fields):
    path = graphs.write(
        folder, content=graphs.pooled(3), classes=("a", "b", "c"), size=graphs.SIZE, **{"positive": "", **fields}
    )
    return model_card.load_model_card(path, cell_types=True)


def test_a_heat_map_is_for_the_predicted_class(tmp_path):
    explainer = class_activation.Explainer(three_classes(tmp_path))

    maps = explainer.explain(planted()[None].repeat(3, axis=0), ["a", "b", "c"])[1]

    # Kernel of a place: a 1 red + 2 green, b 5 red, c 1 green; biases 0.5, 0, 0. White is 127 / 128 in each color.
    white = 127 / 128
    assert maps[0, 1, 6] == pytest.approx((3 - (5 + 1) / 2) * white + 0.5, abs=1e-5)
    assert maps[1, 1, 6] == pytest.approx((5 - (3 + 1) / 2) * white - 0.25, abs=1e-5)
    assert maps[2, 1, 6] == pytest.approx((1 - (3 + 5) / 2) * white - 0.25, abs=1e-5)


def test_the_class_of_a_heat_map_is_that_of_the_result(tmp_path):
    loaded = three_classes(tmp_path / "Model")
    client = services.client(tmp_path, card=loaded, backend=FixedBackend((0.25, 0.125, 0.625)))
    content = smears.png(planted())

    answer = client.post("/v1/classify?heatmap=1", data=content).json

    assert (answer["class"], answer["heat_map_class"]) == ("c", "c")
    with Image.open(io.BytesIO(base64.b64decode(answer["heat_map"].partition(",")[2]))) as picture:
        assert picture.size == (graphs.SIZE, graphs.SIZE)
    # Alone, it is for the class that the network of the map predicts: the bias decides for a.
    assert client.post("/v1/heatmap", data=content).json["heat_map_class"] == "a"
    client.service.close()


def test_a_heat_map_of_two_classes_is_for_the_disease_whatever_the_result_is(tmp_path):
    card = model_card.load_model_card(graphs.write(tmp_path / "Model", content=graphs.pooled(), size=graphs.SIZE))
    client = services.client(tmp_path, card=card)

    answer = client.post("/v1/classify?heatmap=1", data=services.image(64, graphs.SIZE)).json

    assert (answer["class"], answer["heat_map_class"]) == ("0", "1")
    client.service.close()
