"""Small images and data folders for tests."""

import io

import numpy
import PIL.Image

from Classes.serving import upload_store


def png(image):
    """PNG bytes of a uint8 array [H, W, 3]."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def cell(positive, seed, size=80):
    """A toy smear, uint8 [size, size, 3]: a dark disc on pink, large where positive."""
    generator = numpy.random.default_rng([seed, int(positive)])
    image = numpy.array([230, 200, 205]) + generator.normal(0, 4, (size, size, 3))
    radius = generator.uniform(0.32, 0.4) if positive else generator.uniform(0.12, 0.2)
    centre = generator.uniform(0.42, 0.58, 2) * size
    rows, columns = numpy.mgrid[:size, :size]
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (radius * size) ** 2
    image[disc] = numpy.array([110, 60, 150]) + generator.normal(0, 8, (disc.sum(), 3))
    return image.clip(0, 255).astype("uint8")


def fill(folder, per_class=20, test=0):
    """Write toy smears to `folder`/Model/Data/0, /1 and /Test in the historic layout."""
    for positive in (0, 1):
        for number in range(per_class + test):
            inside = f"Model/Data/{positive}" if number < per_class else "Model/Test"
            path = folder / inside / f"Toy{number:03d}_{positive}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(cell(positive, number)))


def capture(folder):
    """What a server with Capture leaves in a folder: an image without a label, and the log beside it."""
    upload_store.UploadStore(folder, 1 << 20).close()
    (folder / f"{1:064x}.png").write_bytes(png(cell(True, 1)))
