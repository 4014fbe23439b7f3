"""From images to heat maps with the real network: what was planted is what the maps point at."""

import numpy
import pytest

from Classes.dataset import shard_index
from Classes.export import freeze_graph
from Classes.inference import class_activation, model_card
from Classes.training import feature_extraction, linear_probe
from tests.support import graphs, small_networks, smears

pytestmark = pytest.mark.slow

SIZE = 299
RADIUS = 40
RED, BLUE = (200, 40, 60), (90, 90, 200)


def draw(label, seed):
    """An image with two discs at random places, both blue, or for class 1 one red; (image, the second's middle)."""
    generator = numpy.random.default_rng([label, seed])
    image = generator.normal(200, 20, (SIZE, SIZE, 3))
    rows, columns = numpy.mgrid[:SIZE, :SIZE]
    middles = generator.integers(RADIUS, SIZE - RADIUS, (2, 2))
    for (row, column), colour in zip(middles, (BLUE, RED if label else BLUE), strict=True):
        image[(rows - row) ** 2 + (columns - column) ** 2 < RADIUS**2] = colour
    return image.clip(0, 255).astype("uint8"), middles[1]


@pytest.fixture(scope="module")
def explainer(tmp_path_factory):
    """Heat maps of Inception V3, narrow and with a random backbone, whose last layer learned to tell such images."""
    folder = tmp_path_factory.mktemp("planted")
    settings = ("DepthMultiplier=0.1", "Epochs=40", "LearningRate=0.01")
    configuration = graphs.configuration(folder, *settings)
    backbone = small_networks.arrays()
    labels = numpy.array([0, 1] * 60, "int64")
    paths = [folder / f"{number}.png" for number in range(len(labels))]
    for path, label, number in zip(paths, labels.tolist(), range(len(labels)), strict=True):
        path.write_bytes(smears.png(draw(label, number)[0]))
    images = shard_index.index_files(paths, labels)
    features = feature_extraction.extract_features(configuration, backbone, "0" * 16, images)
    trainer = linear_probe.LinearProbe(
        configuration, dict.fromkeys(("train", "validation"), (features, labels)), backbone
    )
    for epoch in range(configuration["Epochs"]):
        trainer.train_epoch(epoch)
    definition = freeze_graph.build_frozen_graph(configuration, trainer.network())
    return class_activation.Explainer(
        model_card.load_model_card(graphs.write(folder, content=definition.SerializeToString(), size=SIZE))
    )


def test_the_maps_lie_on_the_planted_signal(explainer):
    images, middles = zip(*(draw(1, 1000 + number) for number in range(20)), strict=True)

    maps = explainer.maps(numpy.stack(images))

    place = SIZE / maps.shape[1]
    on, beside, near = [], [], 0
    centres = (numpy.arange(maps.shape[1]) + 0.5) * place
    for values, (row, column) in zip(maps, middles, strict=True):
        away = numpy.hypot(*numpy.meshgrid(centres - row, centres - column, indexing="ij"))
        on.append(values[away < RADIUS].mean())
        beside.append(values[away > 2 * RADIUS].mean())
        near += away.flat[values.argmax()] < RADIUS + place
    assert sum(signal > rest for signal, rest in zip(on, beside, strict=True)) >= 17
    assert near >= 12, "by chance four of twenty would touch the disc, and twelve once in ten thousand times"
