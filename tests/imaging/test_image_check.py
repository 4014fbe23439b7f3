import dataclasses

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import PIL.ImageFont
import pytest
import scipy.ndimage

from Classes.common import outcome
from Classes.imaging import cell_features, image_check, network_input, pixel_math
from Classes.inference import image_review, model_card
from tests.support import graphs, smears


def seen(image):
    return network_input.center_crop_resize(numpy.asarray(image), 299)


def page_of_text():
    image = PIL.Image.new("RGB", (300, 300), "white")
    draw = PIL.ImageDraw.Draw(image)
    for row in range(0, 300, 20):
        draw.text((5, row), "a table of results, and more text", fill="black", font=PIL.ImageFont.load_default(16))
    return image


def test_a_page_of_text_is_no_photograph():
    assert image_check.check_image(seen(page_of_text())) == ("not_a_photograph",)


def test_without_a_limit_nothing_is_checked():
    assert image_check.check_image(seen(page_of_text()), 0.0) == ()


def test_probabilities_sum_to_one_and_kinds_are_known_reasons():
    features = cell_features.measure(seen(page_of_text()))
    found = image_check.scores(numpy.stack([features, 0 * features, features + 1e6]))

    assert found.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    kinds = image_check.load_weights().kinds
    assert kinds[0] == "cell" and set(kinds[1:]) == set(outcome.IMAGE_REASONS)
    assert found.shape[1] == len(kinds)


@pytest.mark.parametrize("side", [1, 2, 50, 100, 299, 400])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_any_image_can_be_measured(side, value):
    blank = numpy.full((side, side, 3), value, "uint8")
    noise = numpy.random.default_rng(side).integers(0, 256, (side, side, 3), "uint8")

    for image in (blank, noise):
        features = cell_features.measure(image)
        assert features.shape == image_check.load_weights().middle.shape
        assert numpy.isfinite(features).all()


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_scipy(seed):
    mask = numpy.random.default_rng(seed).random((64, 64)) < 0.1 + 0.1 * seed
    expected, count = scipy.ndimage.label(mask, numpy.ones((3, 3)))

    found = pixel_math.connected_components(mask)

    assert ((found > 0) == mask).all()
    pairs = set(zip(found[mask].tolist(), expected[mask].tolist(), strict=True))
    assert len(pairs) == count == len({label for label, _ in pairs})


def test_otsus_threshold_is_between_two_groups():
    values = numpy.concatenate([numpy.full(60, 0.1), numpy.full(40, 0.9)])

    level, separation = pixel_math.otsu_threshold(values)

    assert 0.1 < level < 0.9
    assert separation == pytest.approx(1)


def test_a_model_of_drawings_gets_a_limit_that_accepts_them():
    drawings = [cell_features.measure(seen(smears.cell(number % 2, number))) for number in range(40)]

    reference = image_check.fit_reference(drawings)

    assert reference["images"] == 40
    flagged = [
        bool(image_check.reasons_of(row, reference["limit"])) for row in image_check.scores(numpy.stack(drawings))
    ]
    assert sum(flagged) <= 1
    assert image_check.fit_reference([]) is None


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"image_check": None}, ("not_a_photograph",)),
        ({"image_check": {"limit": 0.5}}, ("not_a_photograph",)),
        ({"image_check": {"limit": 0.0}}, ()),
        ({"image_check": None, "synthetic": True}, ()),
    ],
)
def test_the_model_card_decides_what_is_flagged(tmp_path, fields, reasons):
    card = dataclasses.replace(model_card.load_model_card(graphs.write(tmp_path, content=b"")), **fields)

    assert image_review.review_image(seen(page_of_text()), card).reasons == reasons


def test_real_images(shared):
    """Values of docs/results.md, on few images: at most one in a hundred cells, at least 99 of 100 others."""
    cells = [PIL.Image.open(path).convert("RGB") for path in sorted((shared / "data" / "pbc" / "Test").iterdir())]
    fields = [PIL.Image.open(path).convert("RGB") for path in sorted((shared / "data" / "chula").glob("*.jpg"))[:20]]
    blurred = [image.filter(PIL.ImageFilter.GaussianBlur(0.02 * image.width)) for image in cells]

    assert [image_check.check_image(seen(image)) for image in cells] == [()] * len(cells)
    assert all(image_check.check_image(seen(image)) for image in fields)
    assert [image_check.check_image(seen(image)) for image in blurred] == [("out_of_focus",)] * len(cells)
