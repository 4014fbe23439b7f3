"""What surrounds two blobs: kept on a polar grid, and compared in the turn in which the blobs are alike."""

import numpy
import pytest
from scipy import ndimage

from Classes.dataset import crop_descriptors, crop_surroundings, perceptual_hash, synthetic_smears


def sampled(picture, middle, radius, known=None):
    known = numpy.ones(picture.shape, bool) if known is None else known
    return crop_surroundings.sample(picture, known, numpy.array([[*middle, radius]]))


def texture(seed):
    """float32 [61, 61] without the same brightness along any ring."""
    return ndimage.gaussian_filter(numpy.random.default_rng(seed).normal(size=(61, 61)), 3).astype("float32")


def agreement(one, other, turn=0.0, mirrored=False):
    return float(crop_surroundings.agreement(one, other, numpy.array([turn]), numpy.array([mirrored]))[0])


def test_the_grid_follows_the_picture_and_is_empty_outside():
    # Brightness is the row, 0 to 60, so the grid has 1 at the top and 255 at the bottom.
    picture = numpy.repeat(numpy.arange(61, dtype="float32")[:, None], 61, axis=1)
    grid = sampled(picture, (30.5, 30.5), 4)[0]
    assert grid.shape == (16, 64)
    # The outermost ring has the radius 24: to the right row 30, below row 54, above row 6.
    assert grid[-1, 0] == round(1 + 30 * 254 / 60)
    assert grid[-1, 16] == round(1 + 54 * 254 / 60) and grid[-1, 48] == round(1 + 6 * 254 / 60)
    # A radius of 36 ends outside, except in the corners' directions (43 pixels).
    outer = sampled(picture, (30.5, 30.5), 6)[0, -1]
    assert not outer[[0, 16, 32, 48]].any() and outer[[8, 24, 40, 56]].all()
    known = numpy.ones((61, 61), bool)
    known[:, 31:] = False
    half = sampled(picture, (30.5, 30.5), 4, known)[0]
    assert not half[4:, [0, 8, 56]].any() and half[:, 32].all()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 3])
def test_a_turned_or_mirrored_picture_agrees_in_its_turn_only(quarters, mirrored):
    picture = texture(1)
    # Angles go from the columns' axis towards the rows'; numpy.rot90 turns the other way.
    other = numpy.rot90(picture[:, ::-1] if mirrored else picture, -quarters)
    one, two = (sampled(each, (30.5, 30.5), 5) for each in (picture, other))
    # Mirrored at the vertical axis, an angle becomes half a turn less the angle.
    turn = (quarters + 2) * numpy.pi / 2 if mirrored else -quarters * numpy.pi / 2
    assert agreement(one, two, turn, mirrored) > 0.99
    assert agreement(one, two, turn + numpy.pi, mirrored) < 0.8
    assert agreement(one, two, turn, not mirrored) < 0.8


def test_a_small_error_of_place_and_scale_does_not_matter_but_another_picture_does():
    picture = texture(2)
    one = sampled(picture, (30.5, 30.5), 5)
    assert agreement(one, sampled(picture, (31.3, 29.9), 5.2)) > 0.95
    assert all(agreement(one, sampled(texture(seed), (30.5, 30.5), 5)) < 0.8 for seed in range(3, 13))


def test_brightness_does_not_matter_and_what_shows_too_little_is_not_judged():
    picture = texture(3)
    one = sampled(picture, (30.5, 30.5), 5)
    assert agreement(one, sampled(picture * 40 + 100, (30.5, 30.5), 5)) > 0.99
    nothing = numpy.zeros((61, 61), bool)
    assert agreement(one, sampled(picture, (30.5, 30.5), 5, nothing)) == 1
    assert agreement(one, sampled(numpy.full((61, 61), 7.0, "float32"), (30.5, 30.5), 5)) == 1


def test_of_smears_the_same_blobs_agree_and_others_do_not():
    drawn = [synthetic_smears.draw_smear(bool(number % 2), [8, number]) for number in range(12)]
    ones = [crop_descriptors.describe_with_surroundings(image[20:270, 10:260]) for image in drawn]
    others = [crop_descriptors.describe_with_surroundings(numpy.rot90(image[30:280, 40:290])) for image in drawn]
    same, different = [], []
    for (first, around), (second, around_too) in ((one, two) for one in ones for two in others):
        for place in numpy.ndindex(len(first), len(second)):
            pair = first[place[0]][None], second[place[1]][None]
            value = crop_surroundings.agreement(
                around[place[0]][None], around_too[place[1]][None], *perceptual_hash.turns(*pair)
            )[0]
            alike = perceptual_hash.similarity(*pair)[0] >= crop_descriptors.CANDIDATE
            (same if alike else different).append(value)
    assert len(same) >= 8 and min(same) >= crop_surroundings.FITS
    assert numpy.median(different) < 0.7
