"""Colors: measured right, and only strange ones are remarked on."""

import json
import types

import numpy
import PIL.Image
import pytest

from Classes import Data
from Classes.common.errors import GraphError
from Classes.dataset import color_reference, tfrecords
from Classes.imaging import color_stats, network_input
from Classes.inference import model_card
from tests.support import smears
from tests.support.folders import configuration, toys


def card(images):
    return types.SimpleNamespace(
        colours=color_stats.fit_reference([color_stats.color_features(image) for image in images])
    )


def moved(image, offset=0, factor=1):
    return (image * numpy.array(factor) + offset).round().clip(0, 255).astype("uint8")


@pytest.fixture
def smear():
    return [smears.cell(number % 2, number) for number in range(40)]


def test_what_is_measured():
    image = numpy.full((100, 100, 3), (240, 220, 200), "uint8")
    image[:20] = (100, 40, 140)

    background = [0.299 * 240 + 0.587 * 220 + 0.114 * 200, 40, 0]
    nuclei = [0.299 * 100 + 0.587 * 40 + 0.114 * 140, -40, 40 - 120]
    contrast = (background[0] - nuclei[0]) * 0.4  # a fifth of two values: the square root of 0.2 x 0.8
    numpy.testing.assert_allclose(
        color_stats.color_features(image), [*background, *nuclei, contrast], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (149, 151)])
def test_any_shape_and_one_color(shape):
    image = numpy.full((*shape, 3), (10, 200, 30), "uint8")

    measured = color_stats.color_features(image)

    assert measured[1:3].tolist() == [-20, 180]
    assert measured[6] == pytest.approx(0, abs=1e-4)


def test_training_images_and_their_like_pass_without_remark(smear):
    model = card(smear)

    assert [color_stats.domain_shift_warning(image, model.colours) for image in smear] == [None] * 40
    others = [
        color_stats.domain_shift_warning(smears.cell(number % 2, number), model.colours) for number in range(100, 200)
    ]
    assert sum(other is not None for other in others) <= 2


@pytest.mark.parametrize(
    ("offset", "factor", "words"),
    [
        ([0, 0, 40], 1, "bluer background"),
        ([40, 0, -40], 1, "redder background"),
        (0, 0.7, "darker background"),
        (0, [1, 0.8, 1], "more magenta background"),
        (110, 0.5, "paler nuclei"),
    ],
)
def test_a_shift_is_told_in_words(smear, offset, factor, words):
    model = card(smear)

    remarks = [color_stats.domain_shift_warning(moved(image, offset, factor), model.colours) for image in smear]

    assert all(remarks)
    assert sum(words in remark for remark in remarks) > 35


def test_what_lies_between_two_white_balances_is_strange(smear):
    blue = [moved(image, [-60, 0, 0]) for image in smear]
    model = card(smear + blue)

    assert not any(color_stats.domain_shift_warning(image, model.colours) for image in blue + smear)
    assert all(color_stats.domain_shift_warning(moved(image, [-30, 0, 0]), model.colours) for image in smear)


def test_a_small_training_set_is_no_reason_to_remark_on_all():
    model = card([smears.cell(number % 2, number) for number in range(6)])

    remarks = [
        color_stats.domain_shift_warning(smears.cell(number % 2, number), model.colours) for number in range(50, 80)
    ]

    assert sum(remark is not None for remark in remarks) <= 3
    assert len(model.colours["anchors"]) == 6


def test_no_images_and_cards_without_colors(smear):
    assert color_stats.fit_reference([]) is None
    assert color_stats.domain_shift_warning(smear[0], None) is None
    one = card(smear[:1])
    assert one.colours["limit"] == color_stats.MIN_RADIUS
    assert color_stats.domain_shift_warning(smear[0], one.colours) is None


def test_the_anchors_reach_every_image():
    generator = numpy.random.default_rng(0)
    measured = generator.uniform(0, 200, (300, 7))

    summary = color_stats.fit_reference(measured)

    anchors = numpy.array([text.split() for text in summary["anchors"]], float)
    distances = numpy.linalg.norm(measured[:, None] - anchors[None], axis=2).min(1)
    assert len(anchors) == color_stats.ANCHORS
    assert distances.max() <= summary["limit"]
    assert summary["images"] == 300
    assert list(summary["middle"].values()) == numpy.median(measured, axis=0).round(1).tolist()
    assert json.loads(json.dumps(summary)) == summary


def test_the_card_keeps_and_checks_them(tmp_path, smear):
    fields = {
        "graph": "g.pb", "graph_sha256": "0" * 64, "classes": ["0", "1"], "positive": "1", "output": "x",
        "input": {"node": "input", "size": 299, "mean": 128}, "threshold": 0.5, "synthetic": False,
    }  # fmt: skip
    colours = card(smear).colours
    model_card.write_model_card(tmp_path / "card.json", {**fields, "colours": colours})

    loaded = model_card.load_model_card(tmp_path / "card.json")

    assert loaded.colours == colours
    model_card.write_model_card(tmp_path / "again.json", loaded)
    assert model_card.load_model_card(tmp_path / "again.json").colours == colours
    for damaged in ({"anchors": ["1 2 3"], "limit": 1}, {"anchors": [], "limit": 1}, {"limit": 3}, 7):
        model_card.write_model_card(tmp_path / "card.json", {**fields, "colours": damaged})
        with pytest.raises(GraphError, match="colours"):  # the name of the field
            model_card.load_model_card(tmp_path / "card.json")


def test_of_the_training_split_without_views(tmp_path):
    setting = configuration(toys(tmp_path), "ImageSize=75")
    for label in "01":
        for number in range(20):
            name = f"Model/Data/{label}/Toy{number:03d}_{label}"
            gray = PIL.Image.open(tmp_path / f"{name}.png").convert("L").convert("RGB")
            gray.save(tmp_path / f"{name}__gray.jpg")
    Data.prepare_dataset(setting)
    manifest = json.loads((tmp_path / "Model/Data/ALL_manifest.json").read_text())
    trained = [row["file"] for row in manifest["splits"]["train"] if not row["file"].endswith("gray.jpg")]

    spec = network_input.InputSpec(75)
    colours = color_reference.training_references(setting, tfrecords.load_manifest(setting), spec)["colours"]

    measured = [
        color_stats.color_features(network_input.InputSpec(75).decode_and_resize(tmp_path / "Model/Data" / name))
        for name in trained
    ]
    assert colours == color_stats.fit_reference(measured)
    assert colours["images"] == len(trained) < len(manifest["splits"]["train"])


@pytest.mark.slow
def test_real_cells(shared):
    """What is said of the colors of real cells: few remarks on what is alike, remarks on what is not."""
    cells = sorted(shared.glob("data/pbc/[01]/*.jpg"))
    train = [network_input.InputSpec(299).decode_and_resize(path) for path in cells[::3]]
    others = [network_input.InputSpec(299).decode_and_resize(path) for path in cells[1::6]]
    tests = [
        network_input.InputSpec(299).decode_and_resize(path) for path in sorted(shared.glob("data/pbc/Test/*.jpg"))
    ]
    model = card(train)

    assert not any(color_stats.domain_shift_warning(image, model.colours) for image in train)
    assert sum(bool(color_stats.domain_shift_warning(image, model.colours)) for image in tests) <= 1
    assert sum(bool(color_stats.domain_shift_warning(image, model.colours)) for image in others) <= 0.06 * len(others)
    for offset, factor in (([-20, 0, 40], 1), ([0, 0, 20], 1), (0, 0.8), (0, 1.3)):
        assert (
            sum(bool(color_stats.domain_shift_warning(moved(image, offset, factor), model.colours)) for image in tests)
            >= 19
        )
