import io

import numpy
import pytest
from PIL import Image

from Classes.imaging import fast_png


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (299, 299)])
def test_pillow_reads_the_same_pixels(shape):
    image = numpy.random.default_rng(1).integers(0, 256, (*shape, 3), dtype="uint8")

    with Image.open(io.BytesIO(fast_png.encode_fast(image))) as found:
        assert (found.format, found.mode) == ("PNG", "RGB")
        assert numpy.array_equal(numpy.asarray(found), image)
