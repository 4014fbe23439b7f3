"""Slides from drawn blood films with known cells: every cell is found once, however the slide is read and shared."""

import csv
import itertools
import json

import numpy
import pytest
import tifffile

import Classifier
from Classes.common.paths import PROJECT
from Classes.fields import analyze, field_models, finder, slide_grid, slide_overview, slide_search
from Classes.imaging import slide_reader
from tests.support.drawn_fields import GLASS, draw_field

# µm per pixel; 32 pixels of the slide are 16 at working scale.
MICRONS = 0.2
WIDTH, HEIGHT = 2600, 1500

# Centers and diameters in µm; one lies where four squares of 512 pixels meet.
WHITE = [(102.4, 102.4, 13), (20, 30, 12), (204.8, 60, 14), (300, 250, 13), (380, 102, 12), (150, 200, 15)]


@pytest.fixture(scope="module")
def film():
    white = [(x / MICRONS, y / MICRONS, diameter) for x, y, diameter in WHITE]
    image = draw_field(WIDTH, HEIGHT, MICRONS, white)
    # Empty glass on the right.
    image[:, 2060:] = GLASS
    return image


@pytest.fixture(scope="module")
def slide_path(film, tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "film.tif"
    resolution = {"resolution": (1e4 / MICRONS, 1e4 / MICRONS), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, film, photometric="rgb", tile=(128, 128), compression="deflate", **resolution)
    return path


@pytest.fixture(scope="module")
def shipped():
    return finder.CellFinder(PROJECT / field_models.FINDER, threads=1)


def test_the_cells_do_not_depend_on_the_tiles(slide_path, shipped):
    grid = slide_grid.make_grid(WIDTH, HEIGHT, MICRONS, shipped.card.microns)
    everything = numpy.ones((grid.rows, grid.columns), bool)
    found = []
    with slide_reader.open_slide(slide_path) as slide:
        for tile, origin in ((1024, (0, 0)), (256, (0, 0)), (512, (77, -31)), (1000, (5, 400))):
            # Also in bands of other sizes, whose borders cut other cells.
            for side in (8, 2):
                parts = slide_grid.bands(everything, side, side)
                cells = [
                    cell
                    for band in parts
                    for cell in slide_search.search_band(slide, grid, band, shipped, tile, origin).cells
                ]
                found.append(sorted(cells))
    assert all(each == found[0] for each in found)
    centers = sorted((cell.x * MICRONS, cell.y * MICRONS) for cell in found[0])
    assert len(centers) == len(WHITE)
    assert numpy.abs(numpy.array(centers) - sorted((x, y) for x, y, _ in WHITE)).max() < 2


def test_a_slide_has_the_same_cells_as_the_same_photograph(film, slide_path, shipped):
    grid = slide_grid.make_grid(WIDTH, HEIGHT, MICRONS * 1.03, shipped.card.microns)
    with slide_reader.open_slide(slide_path) as slide:
        found = [
            cell
            for band in slide_grid.bands(numpy.ones((grid.rows, grid.columns), bool), 2, 2)
            for cell in slide_search.search_band(slide, grid, band, shipped).cells
        ]
    assert sorted(found) == sorted(shipped.find(film, grid.microns).cells)
    assert len(found) == len(WHITE)


# Pixels are averaged at 0.1 µm, and interpolated at 0.33 and 0.6 µm.
@pytest.mark.parametrize("microns", [0.1, 0.33, 0.6])
def test_what_is_read_at_working_scale_is_the_same_for_all_tiles(slide_path, microns):
    grid = slide_grid.make_grid(WIDTH, HEIGHT, microns, 0.4)
    needed = numpy.ones((grid.working_size[1] // 16, grid.working_size[0] // 16), bool)
    window = (0, 0, *grid.working_size)
    with slide_reader.open_slide(slide_path) as slide:
        first = slide_search.read_working(slide, grid, window, needed, 4096)
        for tile, origin in ((256, (0, 0)), (333, (-7, 50))):
            assert numpy.array_equal(slide_search.read_working(slide, grid, window, needed, tile, origin), first)


@pytest.mark.parametrize("tile, origin", [(100, 0), (256, 37), (1000, -900)])
def test_tiles_cover_every_block_once(tile, origin):
    ranges = slide_search._tile_ranges(3, 90, 20, tile, origin)
    assert [block for first, end in ranges for block in range(first, end)] == list(range(3, 90))


def test_bands_cover_every_searched_square_once():
    searched = numpy.random.default_rng(1).random((19, 37)) < 0.5
    covered = numpy.zeros(searched.shape, int)
    for band in slide_grid.bands(searched):
        rows, columns = band.searched.shape
        covered[band.row : band.row + rows, band.column : band.column + columns] += band.searched
    assert numpy.array_equal(covered, searched)


@pytest.mark.parametrize("rows, columns", [(16, 16), (12, 31), (40, 8)])
def test_every_beginning_of_the_order_is_spread(rows, columns):
    places = list(itertools.product(range(rows), range(columns)))
    order = slide_grid.spread_order(places)
    assert sorted(order) == list(range(rows * columns))
    # The first sixteenth of the places lies in all parts of the slide, and its middle near the middle.
    first = numpy.array([places[index] for index in order[: rows * columns // 16]]) / (rows, columns)
    assert {(int(2 * row), int(2 * column)) for row, column in first} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert numpy.abs(first.mean(axis=0) - 0.5).max() < 0.15


class Drawn(slide_reader.Slide):
    """A slide in memory."""

    def __init__(self, image):
        level = slide_reader.Level(image.shape[1], image.shape[0], 1.0)
        super().__init__(PROJECT, "drawn", (level,), MICRONS)
        self.image = image

    def _read(self, x, y, width, height, level):
        return self.image[y : y + height, x : x + width]


def test_glass_pen_and_thick_places_are_told_apart(film):
    layer = film[:512, 512:1024]
    light = layer / numpy.array(GLASS)
    # Layers that are shifted against each other multiply the light that they let pass.
    thick = numpy.prod([numpy.roll(light, (9 * n, 17 * n), (0, 1)) for n in range(6)], axis=0) * GLASS
    pen = layer * numpy.array([0.1, 0.2, 0.6])
    glass = numpy.empty_like(layer)
    glass[:] = GLASS
    slide = Drawn(numpy.concatenate([layer, glass, pen.astype("uint8"), thick.astype("uint8")], axis=1))
    overview = slide_overview.survey(slide, slide_grid.make_grid(slide.width, slide.height, MICRONS, 0.4))
    thick_places = slide_overview.thick_squares(overview, 0.35)
    assert overview.codes[0].tolist()[:3] == [slide_overview.SEARCHED, slide_overview.EMPTY, slide_overview.PEN]
    assert thick_places[0].tolist() == [False, False, False, True]


def test_blurred_squares_are_not_searched(film, shipped):
    import scipy.ndimage

    blurred = film.copy()
    blurred[:, :1024] = scipy.ndimage.gaussian_filter(film[:, :1024].astype("float32"), (10, 10, 0))
    grid = slide_grid.make_grid(WIDTH, HEIGHT, MICRONS, shipped.card.microns)
    band = slide_grid.Band(0, 0, numpy.ones((2, 4), bool))
    codes = slide_search.search_band(Drawn(blurred), grid, band, shipped).codes
    assert (codes[:, :2] == slide_overview.BLURRED).all()
    assert (codes[:, 2:] == slide_overview.SEARCHED).all()


@pytest.mark.slow
def test_the_command_writes_the_same_however_it_is_shared(slide_path, tmp_path, monkeypatch, capsys):
    # Drawn cells look out of focus to the model of cell types.
    monkeypatch.setattr(analyze, "check_types", lambda *_arguments: None)
    written = []
    for number, runs in enumerate(([[]], [["--shard", "2/2"], ["--shard", "1/2"]])):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        for more in runs:
            names = ["--csv", "c.csv", "--json", "c.json", "--geojson", "g", "--html", "r.html", "--overlay", "o"]
            values = (f"JobDir={folder}/jobs", f"Logs={folder}", f"CacheDir={folder}/cache", "Processes=0")
            settings = [part for value in values for part in ("--set", value)]
            assert Classifier.main([*names, *settings, *more, "Slide", str(slide_path)]) == 0
        names = ("c.csv", "c.json", "g/film.geojson", "r.html", "o/film.jpg")
        written.append({name: (folder / name).read_bytes() for name in names})
    assert written[0] == written[1]
    with open("c.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = sorted((float(row["x_um"]), float(row["y_um"])) for row in rows)
    assert numpy.abs(numpy.array(found) - sorted((x, y) for x, y, _ in WHITE)).max() < 2
    slide = json.loads(written[0]["c.json"])["slides"][0]
    # 3 x 6 squares, of which 4.02 columns are film and the rest is glass.
    total = WIDTH * HEIGHT * (MICRONS / 1000) ** 2
    assert slide["searched_mm2"] + sum(slide["skipped_mm2"].values()) == pytest.approx(total, abs=0.005)
    assert slide["skipped_mm2"]["empty"] > 0
    features = json.loads(written[0]["g/film.geojson"])["features"]
    assert len(features) == len(WHITE)
