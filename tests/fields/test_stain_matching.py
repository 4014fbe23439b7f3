"""Test that a field gets the colors of the training images, with colors that are known."""

import numpy
import pytest

from Classes.fields import stain_matching
from Classes.imaging import color_stats, network_input
from tests.support import fields

CELLS = (fields.Cell(150, 200), fields.Cell(400, 300))
BOXES = [(120, 170, 180, 230), (370, 270, 430, 330)]


FOREIGN = numpy.full((80, 80, 3), 90, "uint8")


def crops(image):
    return [image[150:250, 100:200], image[250:350, 350:450]]


def reference(*images):
    """The colors of a training set of such images."""
    shown = [network_input.center_crop_resize(image, 64) for image in images]
    return color_stats.fit_reference([color_stats.color_features(each) for each in shown])


def match(image, colors):
    return stain_matching.match_stain(image, BOXES, crops(image), colors)


def test_nuclei_red_cells_and_background_get_the_colors_of_the_training_images():
    found = match(fields.draw(CELLS), reference(FOREIGN))
    patch = numpy.array([[fields.BACKGROUND, fields.RED_CELL, fields.NUCLEUS]], "uint8")
    background, red_cell, nucleus = found.apply(patch)[0].astype(float)
    dark = stain_matching.DARK

    def expected(density):
        return (stain_matching.BACKGROUND + dark) * numpy.exp(-density) - dark

    assert background == pytest.approx(stain_matching.BACKGROUND, abs=4)
    assert red_cell == pytest.approx(expected(stain_matching.RED_CELLS), abs=6)
    assert nucleus == pytest.approx(expected(stain_matching.NUCLEI), abs=6)


def test_a_field_with_the_colors_of_the_training_images_stays_as_it_is():
    image = fields.draw(CELLS)
    assert match(image, reference(*crops(image))) is None


def test_without_a_reference_or_cells_nothing_is_matched():
    image = fields.draw(CELLS)
    assert match(image, None) is None
    assert stain_matching.match_stain(image, [], [], reference(image)) is None


def test_a_field_without_red_cells_has_no_known_stain():
    image = numpy.ones((480, 640, 3), "uint8") * numpy.array(fields.BACKGROUND, "uint8")
    for left, top, right, bottom in BOXES:
        image[top:bottom, left:right] = fields.NUCLEUS
    assert match(image, reference(FOREIGN)) is None
