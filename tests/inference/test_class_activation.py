import concurrent.futures
import io
import itertools
import threading
import types

import numpy
import pytest
from PIL import Image

from Classes.common.errors import GraphError
from Classes.inference import (
    backend,
    class_activation,
    device_selection,
    failover,
    int8_files,
    map_output,
    model_card,
    openvino_backend,
    openvino_devices,
)
from Classes.serving import predictor
from tests.support import graphs, services, smears, waiting
from tests.support.errors import raises


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

    maps = class_activation.Explainer(loaded).explain(planted()[None], ["1"])[1]

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


def test_a_dense_layer_has_a_map_for_each_class(tmp_path):
    fields = {"size": graphs.SIZE, "mean": 0, "scale": 255, "channels": "RGB"}
    path = graphs.write(
        tmp_path, content=graphs.dense(), size=graphs.SIZE, positive="", input={"node": "input", **fields}
    )
    loaded = model_card.load_model_card(path, cell_types=True)

    against, for_it = class_activation.Explainer(loaded).explain(numpy.stack([planted()] * 2), ["0", "1"])[1]

    # As above; with two classes, what counts for one counts against the other.
    assert for_it[1, 6] == pytest.approx(64 * (graphs.DENSE[1, 6] - 0.5) - 0.5, abs=1e-5)
    assert against == pytest.approx(-for_it, abs=1e-5)


@pytest.mark.parametrize("content", [lambda: graphs.frozen(size=graphs.SIZE), lambda: graphs.pooled(middle=1)])
def test_a_graph_of_another_form_has_no_maps(tmp_path, content):
    with raises(GraphError, "no_heat_map"):
        class_activation.Explainer(card(tmp_path, content())).maps(planted()[None])


def picture(content):
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return numpy.asarray(image).astype(int)


def test_the_overlay_is_red_for_and_blue_against(tmp_path):
    grey = numpy.full((90, 90, 3), 100, "uint8")
    values = numpy.zeros((9, 9), "float32")
    values[1, 1], values[7, 7] = 3.0, -3.0

    rendered = picture(class_activation.render_overlay(grey, values))

    assert rendered.shape == (90, 90, 3)
    # In the middle of a place 0.6 of the full colour, somewhat less since its neighbours are smoothed in.
    assert rendered[15, 15] == pytest.approx(0.4 * 100 + 0.6 * numpy.array(class_activation.POSITIVE_RGB), abs=6)
    assert rendered[75, 75] == pytest.approx(0.4 * 100 + 0.6 * numpy.array(class_activation.NEGATIVE_RGB), abs=6)
    assert (rendered[45, 45] == 100).all()


def test_a_map_of_nothing_is_the_picture_in_grey():
    image = numpy.zeros((50, 50, 3), "uint8")
    image[10:20] = (100, 0, 0)

    rendered = picture(class_activation.render_overlay(image, numpy.zeros((8, 8), "float32")))

    # Rec. 601: red counts 0.299.
    assert (rendered[10:20] == 30).all()
    assert (rendered[:10] == 0).all()
    assert (rendered[20:] == 0).all()


def test_the_service_draws_it_on_request(tmp_path):
    import base64

    loaded = card(tmp_path / "Model")
    client = services.client(tmp_path, card=loaded)
    content = smears.png(planted())

    answer = client.post("/v1/classify?heatmap=1", data=content).get_json()

    head, _, data = answer["heat_map"].partition(",")
    assert head == "data:image/png;base64"
    assert picture(base64.b64decode(data)).shape == (graphs.SIZE, graphs.SIZE, 3)
    assert "heat_map" not in client.post("/v1/classify?heatmap=0", data=content).get_json()
    rejected = client.post("/v1/classify?heatmap=on", data=content)
    assert (rejected.status_code, rejected.get_json()["code"]) == (400, "bad_request")
    client.service.close()


def test_a_model_without_heat_maps_says_so_and_still_classifies(tmp_path):
    loaded = card(tmp_path / "Model", graphs.frozen(size=graphs.SIZE))
    client = services.client(tmp_path, card=loaded)

    response = client.post("/v1/classify?heatmap=1", data=services.image(64, 40))

    assert (response.status_code, response.get_json()["code"]) == (501, "no_heat_map")
    assert client.post("/v1/classify", data=services.image(64, 40)).status_code == 200
    assert client.get("/health/ready").status_code == 200
    client.service.close()


RANDOM = numpy.random.default_rng(3).integers(0, 256, (3, graphs.SIZE, graphs.SIZE, 3), dtype="uint8")


def replace(loaded):
    """What Trainer.py leaves when it publishes another model."""
    graphs.write(loaded.path.parent, content=graphs.pooled(3), size=graphs.SIZE, classes=("0", "1", "2"))


@pytest.mark.parametrize("predicts", [True, False])
def test_a_model_published_later_changes_no_map(tmp_path, predicts):
    loaded = card(tmp_path)
    expected = class_activation.Explainer(loaded).maps(RANDOM)
    with device_selection.open_backend(graphs.configuration(tmp_path), loaded) as engine:
        explainer = class_activation.Explainer(loaded, engine if predicts else None)
        replace(loaded)
        answers, maps = explainer.explain(RANDOM)

        assert explainer.predicts == predicts
        assert maps == pytest.approx(expected, abs=1e-6)
        assert answers == pytest.approx(engine.classify(RANDOM), abs=1e-6)


def test_a_graph_that_is_not_the_cards_draws_nothing(tmp_path):
    loaded = card(tmp_path)
    replace(loaded)
    explainer = class_activation.Explainer(loaded)

    for _ in range(2):
        with pytest.raises(GraphError):
            explainer.maps(RANDOM)


@pytest.mark.parametrize("content", [graphs.pooled, graphs.dense])
def test_the_probabilities_beside_a_map_are_those_of_the_backend(tmp_path, content):
    # AUTO: bf16 where the processor has it.
    loaded = card(tmp_path, content())
    with device_selection.open_backend(graphs.configuration(tmp_path, "Precision=AUTO"), loaded) as engine:
        explainer = class_activation.Explainer(loaded, engine)

        answers, maps = explainer.explain(RANDOM)

        assert (explainer.name, explainer.precision, explainer.predicts) == (engine.name, engine.precision, True)
        assert numpy.array_equal(answers, engine.classify(RANDOM))
        assert maps.shape == (3, graphs.PLACES, graphs.PLACES)


class Stick(backend.InferenceBackend):
    """A device of another kind, which is sure of everything."""

    name, precision = "Movidius NCS1", "f16"

    def classify(self, batch):
        return numpy.tile(numpy.array([[0, 1]], "float32"), (len(batch), 1))

    def close(self):
        pass


def test_another_device_predicts_and_the_processor_behind_it_draws(tmp_path):
    loaded = card(tmp_path)
    content = smears.png(planted())
    expected = class_activation.Explainer(loaded).draw(loaded.input_spec.decode_and_resize(content))
    engine = failover.FailoverBackend(Stick(), openvino_backend.OpenVINOBackend(loaded, "CPU", "f32"))
    examiner = predictor.Predictor(
        graphs.configuration(tmp_path), loaded, engine, class_activation.Explainer(loaded, engine)
    )

    finding = examiner.predict(content, heat_map=True)

    assert (finding.backend, finding.prediction.probabilities["1"]) == ("Movidius NCS1", 1)
    assert finding.heat_map == (expected, "1", "OpenVINO CPU", "f32")


def quantised(folder, loaded):
    """The card with an int8 form of graphs.pooled: weights in halves, pooled means in steps of 2 / 255 from -1."""
    operations = map_output.OPERATIONS
    inputs = operations.parameter([1, graphs.SIZE, graphs.SIZE, 3], numpy.float32, name="input")
    inputs.output(0).get_tensor().set_names({"input:0"})
    channels = operations.transpose(inputs, operations.constant(numpy.array([0, 3, 1, 2])))
    places = operations.relu(operations.avg_pool(channels, [4, 4], [0, 0], [0, 0], [4, 4], False))
    mean = operations.avg_pool(places, [8, 8], [0, 0], [0, 0], [1, 1], False)
    limits = [operations.constant(numpy.float32(value)) for value in (-1, 1, -1, 1)]
    rounded = operations.fake_quantize(mean, *limits, 256)
    whole = operations.constant((2 * graphs.KERNEL[:, :2].T[:, :, None, None]).astype("int8"))
    kernel = operations.multiply(operations.convert(whole, "f32"), operations.constant(numpy.float32(0.5)))
    logits = operations.convolution(rounded, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    logits = operations.add(logits, operations.constant(graphs.BIAS[:2].reshape(1, 2, 1, 1)))
    answer = operations.softmax(operations.squeeze(logits, operations.constant(numpy.array([2, 3]))), 1)
    answer.output(0).get_tensor().set_names({f"{graphs.OUTPUT}:0"})
    int8_files.commit_int8(
        int8_files.stage_int8(loaded, openvino_devices.openvino_api.Model([answer], [inputs], "int8"))
    )
    return model_card.load_model_card(loaded.path)


def test_an_int8_network_draws_its_own_maps(tmp_path):
    loaded = quantised(tmp_path, card(tmp_path))
    expected = class_activation.Explainer(loaded).maps(RANDOM)
    with openvino_backend.OpenVINOBackend(loaded, "CPU", "int8") as engine:
        explainer = class_activation.Explainer(loaded, engine)

        answers, maps = explainer.explain(RANDOM)

        assert (explainer.predicts, explainer.precision) == (True, "int8")
        assert answers == pytest.approx(engine.classify(RANDOM), abs=1e-6)
    # Nothing before the pooling is rounded here.
    assert maps == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def held(tmp_path, monkeypatch):
    """(a service of one worker, what sends a request in a thread of its own) while every heat map waits."""
    free, entered = threading.Event(), threading.Semaphore(0)
    draw = class_activation.render_overlay

    def overlay(*arguments):
        entered.release()
        assert free.wait(waiting.LIMIT)
        return draw(*arguments)

    monkeypatch.setattr(class_activation, "render_overlay", overlay)
    loaded = card(tmp_path / "Model")
    with device_selection.open_backend(graphs.configuration(tmp_path), loaded) as engine:
        client = services.client(tmp_path, "ServerWorkers=1", "MaxQueued=8", backend=engine, card=loaded)
        content = smears.png(planted())
        with concurrent.futures.ThreadPoolExecutor(16) as pool:

            def send(address):
                return pool.submit(lambda: client.application.test_client().post(address, data=content))

            yield send, entered, free
            free.set()
        client.service.close()


@pytest.mark.parametrize("address", ["/v1/classify?heatmap=1", "/v1/heatmap"])
def test_nobody_waits_for_the_heat_maps_of_others(held, address):
    send, entered, free = held
    rendered = [send(address) for _ in range(8)]
    assert entered.acquire(timeout=waiting.LIMIT)

    plain = [send("/v1/classify").result(waiting.LIMIT).status_code for _ in range(3)]

    assert plain == [200, 200, 200]
    assert not any(each.done() for each in rendered)
    free.set()
    assert [each.result(waiting.LIMIT).status_code for each in rendered] == [200] * 8


def test_there_are_so_many_places_for_heat_maps_and_no_more(held):
    send, _, free = held
    sent = [send("/v1/heatmap") for _ in range(12)]
    rejected = list(itertools.islice(concurrent.futures.as_completed(sent, waiting.LIMIT), 3))

    assert {each.result().get_json()["code"] for each in rejected} == {"busy"}
    assert send("/v1/classify").result(waiting.LIMIT).status_code == 200
    free.set()
    # One is rendered and eight wait.
    assert sorted(each.result(waiting.LIMIT).status_code for each in sent) == [200] * 9 + [503] * 3


def test_a_heat_map_alone_is_not_a_prediction(tmp_path):
    loaded = card(tmp_path / "Model")
    published, content = [], smears.png(planted())
    events = types.SimpleNamespace(publish=published.append, close=lambda: None)
    with device_selection.open_backend(graphs.configuration(tmp_path), loaded) as engine:
        client = services.client(tmp_path, backend=engine, card=loaded, publisher=events)

        alone = client.post("/v1/heatmap", data=content).get_json()
        both = client.post("/v1/classify?heatmap=1", data=content).get_json()
        rejected = client.post("/v1/heatmap", data=b"no image")

    assert alone["heat_map"] == both["heat_map"]
    assert (alone["heat_map_engine"], alone["heat_map_precision"]) == ("OpenVINO CPU", "f32")
    assert "verdict" not in alone
    assert [event["sha256"] for event in published] == [both["sha256"]]
    assert rejected.get_json()["code"] == "not_an_image"
    client.service.close()


def test_an_overlay_has_the_pixels_of_a_composite_of_pillow():
    generator = numpy.random.default_rng(7)
    image = generator.integers(0, 256, (64, 64, 3), dtype="uint8")
    values = generator.normal(size=(8, 8)).astype("float32")

    with Image.open(io.BytesIO(class_activation.render_overlay(image, values))) as found:
        pixels = numpy.asarray(found)

    smooth = Image.fromarray(values / numpy.abs(values).max()).resize((64, 64), Image.Resampling.BICUBIC)
    share = numpy.asarray(smooth).clip(-1, 1)
    colors = numpy.where((share > 0)[..., None], (214, 40, 40), (33, 102, 172)).astype("uint8")
    opacity = numpy.rint(numpy.float32(255 * 0.6) * numpy.abs(share)).astype("uint8")
    grey = Image.fromarray(image).convert("L").convert("RGB")
    expected = Image.composite(Image.fromarray(colors), grey, Image.fromarray(opacity))
    assert numpy.array_equal(pixels, numpy.asarray(expected))
