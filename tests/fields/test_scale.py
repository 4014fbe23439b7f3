"""The scale of a photograph: stated by its file, given, or measured on cells of known size."""

import io
import math

import numpy
import PIL.Image
import PIL.TiffImagePlugin
import pytest

from Classes.common.errors import ConfigurationError
from Classes.fields import scale


def image_file(kind, **options):
    file = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(file, kind, **options)
    return file.getvalue()


def tiff(description, **tags):
    info = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    info[270] = description
    for tag, value in tags.items():
        info[int(tag.removeprefix("tag"))] = value
    return image_file("TIFF", tiffinfo=info)


def test_resolution_of_a_microscope_counts():
    # 254,000 dots per inch: 0.1 µm.
    assert scale.scale_from_file(image_file("TIFF", dpi=(254000, 254000))).microns == pytest.approx(0.1)
    assert scale.scale_from_file(image_file("PNG", dpi=(254000, 254000))).microns == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("dpi", [72, 96, 300, 1200])
def test_resolution_of_a_printer_says_nothing(dpi):
    for kind in ("JPEG", "PNG", "TIFF"):
        assert scale.scale_from_file(image_file(kind, dpi=(dpi, dpi))) is None


def test_microscopes_state_it_in_the_description():
    assert scale.scale_from_file(tiff("Aperio Image Library|AppMag = 20|MPP = 0.4990")).microns == 0.499
    assert scale.scale_from_file(tiff('<OME><Pixels PhysicalSizeX="0.25" PhysicalSizeY="0.25"/></OME>')).microns == 0.25
    nanometers = '<OME><Pixels PhysicalSizeX="65" PhysicalSizeXUnit="nm"/></OME>'
    assert scale.scale_from_file(tiff(nanometers)).microns == pytest.approx(0.065)
    # ImageJ: 10 pixels per micron.
    imagej = tiff("ImageJ=1.53t\nunit=micron\n", tag282=10.0)
    assert scale.scale_from_file(imagej).microns == pytest.approx(0.1)


@pytest.mark.parametrize(
    "content", [b"", b"no image", image_file("PNG"), tiff("MPP = 0"), tiff("MPP = .."), tiff("MPP = 99")]
)
def test_other_files_state_none(content):
    assert scale.scale_from_file(content) is None


def test_a_missing_file_states_none(tmp_path):
    assert scale.scale_from_file(tmp_path / "none.png") is None


@pytest.mark.parametrize("microns", [0, -1, 0.001, 5, math.nan, math.inf])
def test_a_scale_that_no_microscope_has_is_refused(microns):
    with pytest.raises(ConfigurationError) as caught:
        scale.given_scale(microns)
    assert caught.value.code == "invalid_scale"


def cells(diameter, count, score=0.5):
    return numpy.full(count, float(diameter)), numpy.full(count, score)


NONE = (numpy.zeros(0), numpy.zeros(0))


def test_red_cells_of_75_pixels_mean_a_tenth_of_a_micron():
    found = scale.choose_scale([scale.Trial(0.1, cells(75, 20), cells(150, 3))])
    assert found == scale.Scale(pytest.approx(0.1), scale.RED_CELLS, 20)


def test_white_cells_decide_if_there_are_hardly_any_red_ones():
    found = scale.choose_scale([scale.Trial(0.1, cells(75, 2), cells(130, 5))])
    assert found == scale.Scale(pytest.approx(0.1), scale.WHITE_CELLS, 5)


def test_the_scale_on_which_two_trials_agree_wins_over_a_single_louder_one():
    trials = [
        scale.Trial(0.06, cells(94, 15), NONE),
        scale.Trial(0.11, cells(90, 15), NONE),
        scale.Trial(0.20, cells(34, 20), NONE),
    ]
    assert 0.075 < scale.choose_scale(trials).microns < 0.09


def test_nothing_to_measure_gives_an_assumed_scale():
    found = scale.choose_scale([scale.Trial(0.1, NONE, NONE)])
    assert (found.source, found.cells) == (scale.ASSUMED, 0)
    assert scale.choose_scale([]).source == scale.ASSUMED


def test_weighted_median():
    assert scale.weighted_median(numpy.array([5.0, 1, 3]), numpy.array([1.0, 1, 1])) == 3
    assert scale.weighted_median(numpy.array([5.0, 1, 3]), numpy.array([9.0, 1, 1])) == 5
