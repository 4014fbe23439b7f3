import io

import numpy
import pytest
from PIL import Image

from Classes.common.errors import GraphError
from Classes.inference import class_activation, device_selection, model_card
from tests.support import graphs, services


def card(folder, content=None, **fields):
    return model_card.load_model_card(
        graphs.write(folder, content=content or graphs.pooled(), size=graphs.SIZE, **fields)
    )


def planted(row=1, column=6):
    """Black but for one place, which is white."""
    image = numpy.zeros((graphs.SIZE, graphs.SIZE, 3), "uint8")
    image[row * graphs.PLACE : (row + 1) * graphs.PLACE, column * graphs.PLACE : (column + 1) * graphs.PLACE] = 255
    return image


def test_a_map_shows_the_place_that_counts(tmp_path):
    maps = class_activation.Explainer(card(tmp_path)).maps(planted()[None])

    # White is 127 / 128 in each colour; red speaks for class 1 with 5 - 1, green with 0 - 2, blue with 0.
    # The biases, 0 - 0.5, lie under every place.
    expected = numpy.full((1, graphs.PLACES, graphs.PLACES), -0.5, "float32")
    expected[0, 1, 6] += (4 - 2) * 127 / 128
    assert maps.dtype == numpy.float32
    assert maps == pytest.approx(expected, abs=1e-6)


def test_the_mean_of_a_map_is_the_difference_of_the_logits(tmp_path):
    images = numpy.random.default_rng(5).integers(0, 256, (4, graphs.SIZE, graphs.SIZE, 3), dtype="uint8")
    loaded = card(tmp_path)
    maps = class_activation.Explainer(loaded).maps(images)
    with device_selection.open_backend(graphs.configuration(tmp_path), loaded) as engine:
        answers = engine.classify(images)

    assert numpy.log(answers[:, 1] / answers[:, 0]) == pytest.approx(maps.mean(axis=(1, 2)), abs=1e-5)
    assert len(set(maps.mean(axis=(1, 2)).tolist())) == 4


def test_the_positive_class_against_the_mean_of_several_others(tmp_path):
    loaded = card(tmp_path, graphs.pooled(3), classes=("a", "1", "b"))

    maps = class_activation.Explainer(loaded).maps(planted()[None])

    # Red 5 - (1 + 0) / 2, green 0 - (2 + 1) / 2, blue 0; biases 0 - (0.5 + 0) / 2.
    assert maps[0, 1, 6] == pytest.approx((4.5 - 1.5) * 127 / 128 - 0.25)


def test_the_positive_class_may_be_the_first(tmp_path):
    maps = class_activation.Explainer(card(tmp_path, positive="0")).maps(planted()[None])

    assert maps[0, 1, 6] == pytest.approx(-2 * 127 / 128 + 0.5)


def test_a_dense_layer_weighs_each_place_by_itself(tmp_path):
    fields = {"size": graphs.SIZE, "mean": 0, "scale": 255, "channels": "RGB"}
    loaded = card(tmp_path, graphs.dense(), input={"node": "input", **fields})

    maps = class_activation.Explainer(loaded).maps(planted()[None])

    # Only the white place has red and green; the mean over the 64 places is the difference of the logits.
    expected = numpy.full((1, graphs.PLACES, graphs.PLACES), -0.5, "float32")
    expected[0, 1, 6] += 64 * (graphs.DENSE[1, 6] - 0.5)
    assert maps == pytest.approx(expected, abs=1e-5)
    with device_selection.open_backend(graphs.configuration(tmp_path), loaded) as engine:
        answer = engine.classify(planted()[None])[0]
    assert numpy.log(answer[1] / answer[0]) == pytest.approx(maps.mean(), abs=1e-5)


@pytest.mark.parametrize("content", [lambda: graphs.frozen(size=graphs.SIZE), lambda: graphs.pooled(middle=1)])
def test_a_graph_of_another_form_has_no_maps(tmp_path, content):
    with pytest.raises(GraphError, match="graph"):
        class_activation.Explainer(card(tmp_path, content())).maps(planted()[None])


def picture(content):
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return numpy.asarray(image).astype(int)


def test_the_overlay_is_red_for_and_blue_against(tmp_path):
    grey = numpy.full((90, 90, 3), 100, "uint8")
    values = numpy.zeros((9, 9), "float32")
    values[1, 1], values[7, 7] = 3.0, -3.0

    drawn = picture(class_activation.render_overlay(grey, values))

    assert drawn.shape == (90, 90, 3)
    # In the middle of a place 0.6 of the full colour, somewhat less since its neighbours are smoothed in.
    assert drawn[15, 15] == pytest.approx(0.4 * 100 + 0.6 * numpy.array(class_activation.POSITIVE_RGB), abs=6)
    assert drawn[75, 75] == pytest.approx(0.4 * 100 + 0.6 * numpy.array(class_activation.NEGATIVE_RGB), abs=6)
    assert (drawn[45, 45] == 100).all()


def test_a_map_of_nothing_is_the_picture_in_grey():
    image = numpy.zeros((50, 50, 3), "uint8")
    image[10:20] = (100, 0, 0)

    drawn = picture(class_activation.render_overlay(image, numpy.zeros((8, 8), "float32")))

    # Rec. 601: red counts 0.299.
    assert (drawn[10:20] == 30).all()
    assert (drawn[:10] == 0).all()
    assert (drawn[20:] == 0).all()


def test_the_service_draws_it_on_request(tmp_path):
    import base64

    loaded = card(tmp_path / "Model")
    client = services.client(tmp_path, card=loaded)
    content = services.smears.png(planted())

    answer = client.post("/v1/classify?heatmap=1", data=content).get_json()

    head, _, data = answer["heat_map"].partition(",")
    assert head == "data:image/png;base64"
    assert picture(base64.b64decode(data)).shape == (graphs.SIZE, graphs.SIZE, 3)
    assert "heat_map" not in client.post("/v1/classify?heatmap=0", data=content).get_json()
    refused = client.post("/v1/classify?heatmap=on", data=content)
    assert (refused.status_code, refused.get_json()["code"]) == (400, "bad_request")
    client.service.close()


def test_a_model_without_heat_maps_says_so_and_still_classifies(tmp_path):
    loaded = card(tmp_path / "Model", graphs.frozen(size=graphs.SIZE))
    client = services.client(tmp_path, card=loaded)

    response = client.post("/v1/classify?heatmap=1", data=services.image(64, 40))

    assert (response.status_code, response.get_json()["code"]) == (501, "no_heat_map")
    assert client.post("/v1/classify", data=services.image(64, 40)).status_code == 200
    assert client.get("/health/ready").status_code == 200
    client.service.close()
