"""Images for benchmarks/image_check.py: real cells, and images that are not one centered, stained white cell.

Everything has two halves that share no source image: `tune` to fit the check and `held` to measure it.
"""

import csv
import io
import pathlib
import random
import xml.etree.ElementTree
from collections.abc import Callable, Iterator

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import PIL.ImageFont

TUNE, HELD = "tune", "held"

Image = PIL.Image.Image
Box = tuple[float, float, float, float]


def load(path: pathlib.Path) -> Image:
    return PIL.Image.open(path).convert("RGB")


class Material:
    """The folders pbc, pbc7, bccd, chula and slides below `data`, and folders with photographs and with icons."""

    def __init__(self, data: pathlib.Path, photos: list[pathlib.Path], icons: list[pathlib.Path], seed: int = 1):
        self.data, self.photos, self.icons = data, photos, icons
        self.random = random.Random(seed)
        with open(data / "pbc7" / "boxes.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        self.boxes = {row["file"]: tuple(float(row[key]) for key in ("x", "y", "width", "height")) for row in rows}

    # Real cells

    def cells(self, half: str) -> list[pathlib.Path]:
        """Single cells of the training laboratory: `train` and `val` of pbc7 as published."""
        folder = "train" if half == TUNE else "val"
        return [self.data / "pbc7" / name for name in sorted(self.boxes) if name.startswith(folder)]

    def other_cells(self) -> list[pathlib.Path]:
        """The images in pbc, of which none is in pbc7; only for the measurement."""
        return sorted(path for path in (self.data / "pbc").rglob("*") if path.is_file())

    def centered(self, half: str, copies: int) -> Iterator[Image]:
        """Crops of the fields of another laboratory, each around one white cell."""
        for image, boxes in self.fields(half):
            for box in boxes:
                for _ in range(copies):
                    side = max(box[2], box[3]) * self.random.uniform(1.35, 2.6)
                    shift = [self.random.uniform(-0.08, 0.08) * side for _ in range(2)]
                    found = _crop(image, box[0] + shift[0], box[1] + shift[1], side)
                    if found and not self._others(boxes, box, side):
                        yield found

    def _others(self, boxes: list[Box], box: Box, side: float) -> bool:
        return any(
            other is not box and max(abs(other[0] - box[0]), abs(other[1] - box[1])) < side / 2 + max(other[2:]) / 2
            for other in boxes
        )

    # Fields

    def fields(self, half: str) -> Iterator[tuple[Image, list[Box]]]:
        """The fields of bccd, with the boxes (center, size in pixels) of their white cells."""
        names = (self.data / "bccd" / ("train.txt" if half == TUNE else "val.txt")).read_text().split()
        for name in sorted(names):
            stem = pathlib.Path(name).stem
            image = next((self.data / "bccd" / "images").glob(f"{stem}.*"))
            tree = xml.etree.ElementTree.parse(self.data / "bccd" / "annotations" / f"{stem}.xml")
            boxes = []
            for item in tree.iter("object"):
                if item.findtext("name") == "WBC":
                    left, top, right, bottom = (
                        float(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")
                    )
                    boxes.append(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top))
            yield load(image), [box for box in boxes if min(box[2:]) > 20]

    def whole_fields(self, half: str) -> Iterator[Image]:
        """Fields as photographed, except those that show just one white cell near the middle of what a network sees."""
        for image, boxes in self.fields(half):
            width, height = image.size
            seen = min(width, height) * 0.875
            away = [max(abs(box[0] - width / 2), abs(box[1] - height / 2)) / seen for box in boxes]
            if len([each for each in away if each < 0.55]) != 1 or min(away) > 0.25:
                yield image

    def crowded(self, half: str, count: int) -> Iterator[Image]:
        """Several white cells: pasted into fields, or several photographs side by side."""
        fields = [image for image, _ in self.fields(half)] + [load(path) for path in self.red_fields(half)]
        cells = self.cells(half)
        for number in range(count):
            if number % 2:
                yield self._pasted(self.random.choice(fields), cells)
            else:
                rows, columns = self.random.choice([(1, 2), (2, 1), (2, 2), (2, 3), (3, 3), (4, 4)])
                side = 240
                canvas = PIL.Image.new("RGB", (columns * side, rows * side))
                for place in range(rows * columns):
                    cell = load(self.random.choice(cells)).resize((side, side))
                    canvas.paste(cell, (place % columns * side, place // columns * side))
                yield canvas

    def _pasted(self, field: Image, cells: list[pathlib.Path]) -> Image:
        field = field.copy()
        size = self.random.randint(70, 150)
        for _ in range(self.random.randint(4, 14)):
            path = self.random.choice(cells)
            x, y, width, height = self.boxes[path.relative_to(self.data / "pbc7").as_posix()]
            cell = load(path)
            side = 1.1 * max(width, height) * cell.width
            cut = _crop(cell, x * cell.width, y * cell.height, side) or cell
            cut = cut.resize((size, size))
            mask = PIL.Image.new("L", cut.size)
            PIL.ImageDraw.Draw(mask).ellipse((3, 3, size - 3, size - 3), fill=255)
            place = self.random.randint(0, field.width - size), self.random.randint(0, field.height - size)
            field.paste(cut, place, mask.filter(PIL.ImageFilter.GaussianBlur(3)))
        return field

    def red_fields(self, half: str) -> list[pathlib.Path]:
        """Fields of red cells; one in eight holds a white cell."""
        return _half(sorted((self.data / "chula").glob("*.jpg")), half)

    def red_cells(self, half: str, count: int) -> Iterator[Image]:
        """Crops without a white cell."""
        fields = list(self.fields(half)) + [(load(path), []) for path in self.red_fields(half)]
        made = 0
        while made < count:
            image, boxes = self.random.choice(fields)
            side = self.random.uniform(90, 420)
            x, y = self.random.uniform(0, image.width), self.random.uniform(0, image.height)
            clear = all(max(abs(box[0] - x), abs(box[1] - y)) > side / 2 + max(box[2:]) / 2 for box in boxes)
            found = _crop(image, x, y, side) if clear else None
            if found:
                made += 1
                yield found

    def off_center(self, half: str, count: int) -> Iterator[Image]:
        """Crops with the only white cell near the border of what a network sees."""
        fields = [(image, boxes) for image, boxes in self.fields(half) if boxes]
        cells = self.cells(half)
        made = 0
        while made < count:
            if made % 2:
                image, boxes = self.random.choice(fields)
                box = self.random.choice(boxes)
                side = max(box[2:]) * self.random.uniform(1.6, 3)
            else:
                path = self.random.choice(cells)
                image = load(path)
                x, y, width, height = self.boxes[path.relative_to(self.data / "pbc7").as_posix()]
                box = (x * image.width, y * image.height, width * image.width, height * image.height)
                boxes = [box]
                side = self.random.uniform(0.5, 0.75) * image.width
            angle = self.random.uniform(0, 2 * numpy.pi)
            # 0.5 is the border of what the network sees.
            away = self.random.uniform(0.33, 0.5) * side * 0.875
            offset = numpy.array([numpy.cos(angle), numpy.sin(angle)]) / max(
                abs(numpy.cos(angle)), abs(numpy.sin(angle))
            )
            found = _crop(image, box[0] + away * offset[0], box[1] + away * offset[1], side)
            if found and not self._others(boxes, box, side):
                made += 1
                yield found

    def blurred(self, half: str, count: int) -> Iterator[Image]:
        """Real cells out of focus: Gaussian blur of 1 to 4 % of the width, or a disc of that radius."""
        cells = self.cells(half)
        for number in range(count):
            image = load(self.random.choice(cells))
            radius = self.random.uniform(0.01, 0.04) * image.width
            if number % 3:
                yield image.filter(PIL.ImageFilter.GaussianBlur(radius))
            else:
                yield image.filter(PIL.ImageFilter.BoxBlur(radius * 1.7)).filter(PIL.ImageFilter.BoxBlur(radius * 0.6))

    # Tissue and fluorescence

    def tissue(self, half: str, count: int) -> Iterator[Image]:
        """Tiles of a section of skin; the halves are the left and the right part of the slide."""
        import tifffile

        slide = PIL.Image.fromarray(tifffile.imread(self.data / "slides" / "CMU-1-Small-Region.svs", key=0))
        middle = slide.width // 2
        area = (0, middle) if half == TUNE else (middle, slide.width)
        for number in range(count):
            side = self.random.uniform(100, 1090) if number % 8 else 1090
            x = self.random.uniform(area[0] + side / 2, area[1] - side / 2)
            y = self.random.uniform(side / 2, slide.height - side / 2)
            yield _crop(slide, x, y, side) or slide
        if half == HELD:
            yield slide

    def fluorescence(self, half: str, count: int) -> Iterator[Image]:
        """Tiles of a fluorescence slide; only for the measurement."""
        import tifffile

        if half == TUNE:
            return
        with tifffile.TiffFile(self.data / "slides" / "tritc.ndpi") as file:
            page = min((page for page in file.pages if min(page.shape[:2]) > 500), key=lambda page: page.shape[0])
            slide = PIL.Image.fromarray(page.asarray()[..., :3]).convert("RGB")
        for _ in range(count):
            side = self.random.uniform(120, min(slide.size) * 0.9)
            x = self.random.uniform(side / 2, slide.width - side / 2)
            y = self.random.uniform(side / 2, slide.height - side / 2)
            yield _crop(slide, x, y, side) or slide

    # Anything else

    def photographs(self, half: str, count: int) -> Iterator[Image]:
        """Photographs of the world, and parts of them."""
        images = [load(path) for path in _half(self.photos, half)]
        yield from images
        for _ in range(count - len(images)):
            image = self.random.choice(images)
            side = self.random.uniform(0.25, 0.95) * min(image.size)
            x = self.random.uniform(side / 2, image.width - side / 2)
            y = self.random.uniform(side / 2, image.height - side / 2)
            yield _crop(image, x, y, side) or image

    def icons_and_screens(self, half: str, count: int) -> Iterator[Image]:
        """Icons on white, and screenshots; the halves have different files."""
        paths = _half(self.icons, half)
        for path in self.random.sample(paths, min(count, len(paths))):
            image = PIL.Image.open(path).convert("RGBA")
            canvas = PIL.Image.new("RGBA", image.size, self.random.choice(["white", "#eeeeee", "#ffe9e0"]))
            yield PIL.Image.alpha_composite(canvas, image).convert("RGB")

    def drawings(self, half: str, count: int) -> Iterator[Image]:
        """Text, plots, shapes, cartoons and drawn smears; the held half also has bar charts and tables."""
        kinds: list[Callable[[], Image]] = [self._text, self._shapes, self._cartoon, self._plot, self._smear]
        if half == HELD:
            kinds += [self._bars, self._table]
        for number in range(count):
            yield kinds[number % len(kinds)]()

    def _canvas(self) -> tuple[Image, PIL.ImageDraw.ImageDraw]:
        size = self.random.randint(200, 500), self.random.randint(200, 500)
        paper = self.random.choice(["white", "#f4f0ec", "#fdf3f0", "#202020", "#e8d8e0", self._color()])
        image = PIL.Image.new("RGB", size, paper)
        return image, PIL.ImageDraw.Draw(image)

    def _color(self) -> tuple[int, int, int]:
        return tuple(self.random.randint(0, 255) for _ in range(3))  # type: ignore[return-value]

    def _text(self) -> Image:
        image, draw = self._canvas()
        ink, size = self.random.choice(["black", "white", self._color()]), self.random.randint(10, 36)
        font = PIL.ImageFont.load_default(size)
        letters = "abcdefghij klmnop qrstuv wxyz 0123456789 ABCDEF"
        for row in range(5, image.height, int(size * self.random.uniform(1.1, 1.8))):
            draw.text((5, row), "".join(self.random.choices(letters, k=80)), fill=ink, font=font)
        return image

    def _shapes(self) -> Image:
        image, draw = self._canvas()
        for _ in range(self.random.randint(1, 12)):
            x, y = self.random.randint(-50, image.width), self.random.randint(-50, image.height)
            box = (x, y, x + self.random.randint(10, 250), y + self.random.randint(10, 250))
            self.random.choice([draw.ellipse, draw.rectangle])(box, fill=self._color(), outline=self._color())
        return image

    def _cartoon(self) -> Image:
        """A cell as a child draws it: a cytoplasm and a nucleus of one color each, perhaps with red cells."""
        image, draw = self._canvas()
        if self.random.random() < 0.6:
            image.paste((240, 228, 225), (0, 0, *image.size))
        for _ in range(self.random.randint(0, 8)):
            x, y, r = self.random.randint(0, image.width), self.random.randint(0, image.height), 35
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(226, 150, 150))
        x, y = image.width / 2, image.height / 2
        r = min(image.size) * self.random.uniform(0.2, 0.42)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(200, 180, 225), outline="black" if r > 60 else None)
        s = r * self.random.uniform(0.5, 0.9)
        draw.ellipse((x - s, y - s, x + s, y + s), fill=(95, self.random.randint(20, 70), 140))
        if self.random.random() < 0.5:
            return image.filter(PIL.ImageFilter.GaussianBlur(self.random.uniform(0.5, 2)))
        return image

    def _plot(self) -> Image:
        image, draw = self._canvas()
        draw.rectangle((0, 0, *image.size), fill="white")
        draw.rectangle((30, 10, image.width - 10, image.height - 30), outline="black")
        for _ in range(self.random.randint(1, 4)):
            points = [(x, self.random.uniform(20, image.height - 40)) for x in range(30, image.width - 10, 15)]
            draw.line(points, fill=self._color(), width=self.random.randint(1, 4))
        return image

    def _bars(self) -> Image:
        image, draw = self._canvas()
        for x in range(20, image.width - 20, 40):
            draw.rectangle(
                (x, self.random.uniform(20, image.height - 40), x + 28, image.height - 20), fill=self._color()
            )
        return image

    def _table(self) -> Image:
        image, draw = self._canvas()
        font = PIL.ImageFont.load_default(13)
        for y in range(0, image.height, 24):
            draw.line((0, y, image.width, y), fill="gray")
            for x in range(0, image.width, 80):
                draw.text((x + 4, y + 4), f"{self.random.uniform(0, 100):.3f}", fill="black", font=font)
        return image

    def _smear(self) -> Image:
        from Classes.dataset import synthetic_smears

        return PIL.Image.fromarray(
            synthetic_smears.draw_smear(self.random.random() < 0.5, self.random.randint(0, 10**6))
        )

    def blank(self, half: str, count: int) -> Iterator[Image]:
        """Empty images: one color, uneven light, noise, black, and empty glass with specks and a scale bar."""
        rng = numpy.random.default_rng(self.random.randint(0, 10**6))
        for number in range(count):
            size = (self.random.randint(150, 400), self.random.randint(150, 400), 3)
            level = numpy.array(
                [self.random.randint(170, 250), self.random.randint(160, 245), self.random.randint(160, 245)]
            )
            pixels = numpy.ones(size) * level
            if number % 4 == 0:
                pixels = numpy.ones(size) * self.random.choice([0, 128, 255])
            elif number % 4 == 1:
                pixels = rng.integers(0, 256, size).astype(float)
            else:
                pixels -= numpy.linspace(0, self.random.uniform(0, 60), size[1])[None, :, None]
                pixels += rng.normal(0, self.random.uniform(0.5, 6), size)
            image = PIL.Image.fromarray(pixels.clip(0, 255).astype("uint8"))
            if number % 4 == 3:
                draw = PIL.ImageDraw.Draw(image)
                for _ in range(self.random.randint(1, 25)):
                    x, y, r = (
                        self.random.randint(0, size[1]),
                        self.random.randint(0, size[0]),
                        self.random.uniform(1, 6),
                    )
                    draw.ellipse((x - r, y - r, x + r, y + r), fill=self._color())
                draw.rectangle((10, size[0] - 20, 80, size[0] - 14), fill="black")
                image = image.filter(PIL.ImageFilter.GaussianBlur(0.8))
            yield image


def compress(image: Image, quality: int) -> Image:
    """Return an image as JPEG keeps it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return PIL.Image.open(buffer).convert("RGB")


def _crop(image: Image, x: float, y: float, side: float) -> Image | None:
    """Return the square around (x, y); None if it is not wholly in the image."""
    box = (round(x - side / 2), round(y - side / 2), round(x + side / 2), round(y + side / 2))
    inside = box[0] >= 0 and box[1] >= 0 and box[2] <= image.width and box[3] <= image.height
    return image.crop(box) if inside else None


def _half(paths: list[pathlib.Path], half: str) -> list[pathlib.Path]:
    return sorted(paths)[0 if half == TUNE else 1 :: 2]
