"""Images that show nothing are found, and cells are not mistaken for them."""

import io

import numpy
import PIL.Image
import PIL.TiffImagePlugin
import pytest

from Classes.common.errors import ImageError
from Classes.imaging import content_check, network_input
from tests.support import smears
from tests.support.encoded_images import encoded


def blanks():
    """Names and images without content, uint8 [H, W, 3]."""
    generator = numpy.random.default_rng(3)
    rows, columns = numpy.mgrid[-1:1:200j, -1:1:180j]
    distance = numpy.hypot(rows, columns)
    gradients = {
        "ramp": 127 * (1 + rows), "diagonal": 63 * (2 + rows + columns), "vignette": 230 - 40 * distance**2,
        "cone": 255 - 180 * distance,
    }  # fmt: skip
    found = {f"flat {value}": numpy.full((200, 180, 3), value, "uint8") for value in (0, 128, 255)}
    found |= {
        name: numpy.repeat(each[..., None], 3, 2).clip(0, 255).astype("uint8") for name, each in gradients.items()
    }
    for sigma in (3, 12, 25):
        found[f"noise {sigma}"] = (200 + generator.normal(0, sigma, (200, 180, 3))).clip(0, 255).astype("uint8")
    found["tiny"] = numpy.full((1, 1, 3), 90, "uint8")
    file = io.BytesIO(encoded(found["noise 12"], "JPEG", quality=20))
    found["noise in JPEG"] = numpy.asarray(PIL.Image.open(file))
    return found


@pytest.mark.parametrize("name", blanks())
def test_images_that_show_nothing(name):
    seen = network_input.InputSpec(75).decode_and_resize(encoded(blanks()[name], "PNG"))

    assert not content_check.has_content(seen)
    with pytest.raises(ImageError, match="slide 7") as caught:
        content_check.require_content(seen, "slide 7")
    assert caught.value.code == "no_content"


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("size", [75, 299])
def test_cells_have_content_also_pale_blurred_and_cut_out_on_black(positive, size):
    import PIL.ImageFilter

    cell = smears.cell(positive, 5, size=200)
    rows, columns = numpy.mgrid[:200, :200]
    cut = numpy.where(numpy.hypot(rows - 100, columns - 100)[..., None] < 90, cell, 0).astype("uint8")
    pale = (255 - (255 - cell) * 0.3).astype("uint8")
    blurred = numpy.asarray(PIL.Image.fromarray(cell).filter(PIL.ImageFilter.GaussianBlur(4)))
    for image in (cell, cut, pale, blurred):
        assert content_check.has_content(network_input.InputSpec(size).decode_and_resize(encoded(image, "PNG")))


@pytest.mark.slow
def test_real_cells_and_fields_have_content(shared):
    files = [path for name in ("pbc", "bccd", "chula") for path in sorted(shared.glob(f"data/{name}/**/*.jpg"))[::3]]
    assert len(files) > 300

    assert [
        path.name
        for path in files
        if not content_check.has_content(network_input.InputSpec(299).decode_and_resize(path))
    ] == []
