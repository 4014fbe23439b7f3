"""Slides made of fields with known truth: tiled TIFF with single layers, empty glass, thick places, pen and blur."""

import numpy
import PIL.Image
import PIL.ImageFilter
import tifffile

from Classes.imaging import color_stats, decode

# µm per pixel that the slides state: that of the fields of bccd by their red cells.
MICRONS = 0.085
KINDS = ("single layer", "empty", "thick", "pen", "blurred")
FIELD = (480, 640)

# Color of the empty glass of the slides.
GLASS = numpy.array([232, 226, 222], "float32")


class Mosaic:
    """A slide whose fields are chosen by a function of their place, so that it is never in memory as a whole.

    Args:
      images: uint8 [480, 640, 3] each, single layers.
      rows, columns: number of fields.
      kinds: uint8 [rows, columns] of KINDS.
    """

    def __init__(self, images, kinds, seed=1):
        self.images, self.kinds = images, kinds
        self.chosen = numpy.random.default_rng(seed).integers(0, len(images), (*kinds.shape, 6))
        self.shape = (kinds.shape[0] * FIELD[0], kinds.shape[1] * FIELD[1], 3)

    def field(self, row, column):
        kind, chosen = KINDS[self.kinds[row, column]], self.chosen[row, column]
        image = self.images[chosen[0]]
        if kind == "empty":
            noise = numpy.random.default_rng(int(chosen[1])).normal(0, 2, image.shape)
            return (GLASS + noise).clip(0, 255).astype("uint8")
        if kind == "thick":
            # Layers of cells on each other multiply what they let pass.
            layers = [numpy.minimum(self.images[each] / GLASS, 1) for each in chosen]
            layers[1], layers[2] = layers[1][::-1], layers[2][:, ::-1]
            return (numpy.prod(layers, axis=0) * GLASS).clip(0, 255).astype("uint8")
        if kind == "pen":
            return (image * numpy.array([0.12, 0.2, 0.6])).astype("uint8")
        if kind == "blurred":
            radius = 1.5 / MICRONS
            return numpy.asarray(PIL.Image.fromarray(image).filter(PIL.ImageFilter.GaussianBlur(radius)))
        return image

    def band(self, row):
        return numpy.concatenate([self.field(row, column) for column in range(self.kinds.shape[1])], axis=1)

    def rows(self, shrink=1):
        for row in range(self.kinds.shape[0]):
            band = self.band(row)
            yield band if shrink == 1 else numpy.asarray(PIL.Image.fromarray(band).reduce(shrink))

    def write(self, path, tile=240, levels=(1, 4, 16, 48), compression="jpeg"):
        """Write the slide; tile divides the height of a field at every level that has tiles of its own."""
        with tifffile.TiffWriter(path, bigtiff=True) as tiff:
            for level in levels:
                height, width = self.shape[0] // level, self.shape[1] // level
                options = {"subfiletype": 1} if level > 1 else {}
                options |= {"compression": compression, "compressionargs": {"level": 92}} if compression else {}
                tiff.write(
                    self._tiles(level, tile, width, height),
                    shape=(height, width, 3),
                    dtype="uint8",
                    tile=(tile, tile),
                    photometric="rgb",
                    resolution=(1e4 / MICRONS / level, 1e4 / MICRONS / level),
                    resolutionunit="CENTIMETER",
                    **options,
                )

    def _tiles(self, level, tile, width, height):
        """Yield the tiles of a level from left to right and top to bottom; borders are filled with white."""
        kept = numpy.empty((0, width, 3), "uint8")
        for band in self.rows(level):
            kept = numpy.concatenate([kept, band[:, :width]])
            while len(kept) >= tile:
                yield from _cut(kept[:tile], tile)
                kept = kept[tile:]
        if len(kept):
            yield from _cut(kept, tile)


def _cut(strip, tile):
    for left in range(0, strip.shape[1], tile):
        part = numpy.full((tile, tile, 3), 255, "uint8")
        piece = strip[:, left : left + tile]
        part[: piece.shape[0], : piece.shape[1]] = piece
        yield part


def load_fields(data, count=64):
    """Fields of bccd's validation list, which the finder has not seen, with the same color of the glass."""
    names = (data / "bccd/val.txt").read_text().split()[:count]
    images = [decode.decode_image(data / "bccd/images" / f"{name.split('.')[0]}.jpg") for name in names]
    gains = [GLASS / numpy.maximum(color_stats.background_color(image), 1) for image in images]
    return [(image * gain).clip(0, 255).astype("uint8") for image, gain in zip(images, gains, strict=True)]


def layout(rows, columns, special=0.4, seed=2):
    """Patches of each kind, in blocks of 4 x 3 fields, so that squares of one kind exist."""
    generator = numpy.random.default_rng(seed)
    blocks = generator.choice(len(KINDS), (-(-rows // 4), -(-columns // 3)), p=[1 - special, *[special / 4] * 4])
    return numpy.kron(blocks, numpy.ones((4, 3), "uint8"))[:rows, :columns].astype("uint8")
