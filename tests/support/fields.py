"""Drawn fields with known cells, and stand-ins for the finder and the models."""

import dataclasses
import pathlib

import numpy
import PIL.Image

from Classes.common.paths import PROJECT
from Classes.fields import analyze, cell_typing, finder, typed_cells
from Classes.inference import backend, device_selection, model_card

BACKGROUND, RED_CELL, PLASMA, NUCLEUS = (226, 208, 214), (222, 158, 160), (190, 170, 215), (95, 60, 140)

ABOUT = {
    "names": {"LY": "lymphocyte", "BNE": "band neutrophil", "SNE": "segmented neutrophil", "ERB": "erythroblast"},
    "groups": {"lymphocyte": ["LY"], "neutrophil": ["BNE", "SNE"], "erythroblast": ["ERB"]},
    "limits": ["never seen a blast"],
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a finder says about a cell."""

    x: float
    y: float
    width: float = 60
    height: float = 60
    score: float = 0.9
    flags: tuple = ()


@dataclasses.dataclass(frozen=True)
class FoundCells:
    cells: tuple
    scale: float
    scale_source: str


@dataclasses.dataclass
class HandFinder:
    """Finds what it is told; keeps the scale that it was given."""

    cells: tuple
    scale: float | None = None
    source: str = "red_cells"

    def find(self, image, scale=None):
        self.scale = scale
        return FoundCells(self.cells, scale or 0.25, "given" if scale else self.source)


class HandBackend(backend.InferenceBackend):
    """Answers with the given rows, one per image, again and again."""

    name, precision = "Hand", "f32"

    def __init__(self, *rows):
        self.rows, self.batches = numpy.array(rows, "float32"), []

    def classify(self, batch):
        done = sum(map(len, self.batches))
        self.batches.append(batch)
        return self.rows[numpy.arange(done, done + len(batch)) % len(self.rows)]

    def close(self):
        pass


def card(classes=("LY", "BNE", "SNE", "ERB"), positive=(), **fields):
    """A model card without a file, of a model of cell types or, with `positive`, of blasts."""
    about = None if positive else ABOUT
    values = {"cell_types": about, "image_check": {"images": 0, "limit": 0.0}, **fields}
    return model_card.ModelCard(
        path=pathlib.Path("Hand.json"),
        graph="Hand.pb",
        graph_sha256="0" * 64,
        classes=tuple(classes),
        positive=tuple(positive),
        input={"node": "input", "size": 64, "mean": 128.0, "scale": 128.0},
        output="Softmax",
        threshold=0.5,
        synthetic=False,
        **values,
    )


FINDER = PROJECT / "Model/Finder/Finder.json"


def install(monkeypatch, found, rows=None):
    """Let Classifier.py Field use a finder, and models that answer with these rows, in this process.

    Args:
      found: finds the cells.
      rows: {graph: row}; by default the answer of "Hand.pb", the model of `card`, is a lymphocyte.
    """
    rows = rows or {"Hand.pb": (0.9, 0.02, 0.06, 0.02)}
    load_card = model_card.load_model_card

    def load(path, **options):
        return card() if pathlib.Path(path).name == "Hand.json" else load_card(path, **options)

    monkeypatch.setattr(model_card, "load_model_card", load)
    monkeypatch.setattr(finder, "CellFinder", lambda card, **options: found)
    monkeypatch.setattr(device_selection, "open_backend", lambda _, card: HandBackend(rows[card.graph]))


def typer(*rows, blasts=None, **fields):
    """A CellTyper that answers with these probabilities of LY, BNE, SNE and ERB."""
    return cell_typing.CellTyper(card(**fields), HandBackend(*rows), 0.7, blasts)


def typed(number, group, confidence=0.9, **values):
    """A TypedCell at a place of its own."""
    values = {"label": group, "name": group, "probabilities": {"LY": confidence}, **values}
    return typed_cells.TypedCell(
        number,
        60.0 * number,
        100.0,
        60.0,
        60.0,
        0.9,
        group=group,
        confidence=confidence,
        group_confidence=confidence,
        **values,
    )


def field(*cells, name="a.png", **values):
    """A Field of a drawn photograph."""
    return analyze.Field(
        name, 640, 480, cells, **{"scale": 0.25, "scale_source": "red_cells", "seconds": 0.1, **values}
    )


def draw(cells=(), width=640, height=480, seed=1):
    """A field, uint8 [height, width, 3], with a white cell at each of `cells` and red cells in between."""
    generator = numpy.random.default_rng(seed)
    image = numpy.ones((height, width, 3)) * BACKGROUND
    rows, columns = numpy.mgrid[:height, :width]
    for y in range(20, height, 70):
        for x in range(20, width, 70):
            image[(rows - y) ** 2 + (columns - x) ** 2 < 28**2] = RED_CELL
    for cell in cells:
        distance = ((rows - cell.y) * 2 / cell.height) ** 2 + ((columns - cell.x) * 2 / cell.width) ** 2
        image[distance < 1] = PLASMA
        image[distance < 0.5] = NUCLEUS
    return (image + generator.normal(0, 2, image.shape)).clip(0, 255).astype("uint8")


def photographs(folder, cells, gray):
    """Create a folder with two fields of these cells, a.png and b.png, and one of them in gray."""
    folder.mkdir()
    for name in ("a.png", "b.png"):
        PIL.Image.fromarray(draw(cells)).save(folder / name)
    PIL.Image.open(folder / "a.png").convert("L").save(folder / gray)
