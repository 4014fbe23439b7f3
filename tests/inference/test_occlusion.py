import numpy
import pytest

from Classes.inference import class_activation, model_card, occlusion
from tests.support import graphs


def test_a_place_that_carries_the_class_is_red_and_one_that_speaks_against_it_is_blue():
    image = numpy.zeros((32, 32, 3), "uint8")
    # Places of 4 x 4 pixels: row 2, column 5 speaks for the class, row 6, column 1 against it.
    image[8:12, 20:24], image[24:28, 4:8] = 255, 128

    def classify(each):
        score = int(each[10, 22, 0] == 255) - int(each[26, 6, 0] == 128)
        positive = 1 / (1 + numpy.exp(-float(score)))
        return numpy.array([1 - positive, positive], "float32")

    found = occlusion.occlusion_map(classify, image, 1)

    # The log odds are 0, and fall to -1 or rise to 1 whenever a square of 2 x 2 places covers the place.
    assert found.shape == (8, 8)
    assert (found[2, 5], found[6, 1]) == pytest.approx((1, -1), abs=1e-6)
    # Two of the four squares that cover its neighbor cover the place too, and one of those of the neighbor beyond it.
    assert found[2, 4] == found[3, 5] == pytest.approx(0.5, abs=1e-6)
    assert found[3, 6] == pytest.approx(0.25, abs=1e-6)
    assert found[0, 0] == found[4, 5] == 0


def test_for_another_class_the_map_is_the_opposite():
    image = numpy.zeros((32, 32, 3), "uint8")
    image[8:12, 20:24] = 255

    def classify(each):
        positive = 1 / (1 + numpy.exp(-float(each[10, 22, 0] == 255)))
        return numpy.array([1 - positive, positive], "float32")

    one, other = (occlusion.occlusion_map(classify, image, index) for index in (0, 1))

    assert one == pytest.approx(-other, abs=1e-6)


def test_certain_probabilities_give_a_finite_map():
    image = numpy.zeros((32, 32, 3), "uint8")
    image[8:12, 20:24] = 255

    found = occlusion.occlusion_map(lambda each: numpy.array([0.0, float(each.any())], "float32"), image, 1)

    assert numpy.isfinite(found).all()
    assert found.argmax() == 2 * 8 + 5


def test_a_network_with_few_places_has_an_occlusion_map(tmp_path):
    # The last layer sees the mean color of 2 x 2 places. Red speaks for class 1, and gray counts for nothing.
    content = graphs.coarse()
    card = model_card.load_model_card(graphs.write(tmp_path, content=content, size=graphs.SIZE))
    image = numpy.full((graphs.SIZE, graphs.SIZE, 3), 128, "uint8")
    image[4:8, 24:28, 0] = 255

    [found] = class_activation.Explainer(card).maps(image[None])

    assert found.shape == (8, 8)
    assert found.argmax() == 1 * 8 + 6
    assert found[5:, :4] == pytest.approx(0, abs=1e-6)
