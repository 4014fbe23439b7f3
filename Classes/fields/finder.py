"""Find the white cells of a photographed field."""

import dataclasses
import itertools
import pathlib
import threading
from typing import Any, NamedTuple

import numpy

from Classes.common import cancellation
from Classes.common.errors import EngineError
from Classes.common.translation import Message
from Classes.fields import peaks, scale, working_scale
from Classes.fields.finder_card import FinderCard, load_finder_card
from Classes.fields.scale import Scale
from Classes.fields.working_scale import WorkingScale
from Classes.inference import openvino_backend, openvino_devices

# Flags of a cell.
CUT, TOUCHING = "cut", "touching"

# Side of a tile in pixels at working scale, without its halo. The tile bounds the memory; it changes no result.
TILE = 1024

# The sides of smaller tiles are multiples of this: OpenVINO keeps 2 MB for every size of its input, and 10 ms.
TILE_STEP = 352

# Scales in µm per pixel at which a photograph of unknown scale is tried, and the side of the part that is tried, in
# pixels at working scale. The network finds cells at half to twice its working scale.
PROBED_SCALES = (0.06, 0.11, 0.2, 0.36)
PROBED_SIDE = 352

# A part that is smaller than this at working scale, in pixels, shows no whole cell.
SMALLEST_SIDE = 12

# Platelets and deposits that look like small nuclei are smaller than any white cell, in µm.
SMALLEST_CELL_MICRONS = 5.0

# A cell is cut if its box reaches over the border by this share of its diameter, or ends in the last pixel.
CUT_MARGIN = 0.02

# The logit of a score of practically 0.
NOTHING = -30.0

# Two cells touch if their centers are nearer than this share of their mean diameter.
TOUCHING_DISTANCE = 1.15


class Cell(NamedTuple):
    """A white cell that was found.

    Attributes:
      x, y: center in pixels of the photograph; the middle of its first pixel is 0.5.
      width, height: of the box around it, in pixels of the photograph; the box may reach over the border.
      score: 0 to 1.
      flags: CUT by the border, TOUCHING another white cell.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class FoundCells:
    """The white cells of a photograph.

    Attributes:
      cells: from top to bottom.
      scale: µm per pixel of the photograph.
      scale_source: where it comes from: scale.GIVEN, FILE, RED_CELLS, WHITE_CELLS or ASSUMED.
      scale_cells: number of cells on which it was measured; 0 if it was not measured.
      red_cells: number of red cells that the network saw; many of those that overlap are not among them.
      size: width and height of the photograph, all of which was searched.
    """

    cells: tuple[Cell, ...]
    scale: float
    scale_source: str
    scale_cells: int
    red_cells: int
    size: tuple[int, int]


class CellFinder:
    """Runs the cell finder; safe from several threads.

    Args:
      card: a FinderCard, or the path of one.
      threshold: least score of a cell; None: from the card.
      threads: for one photograph; 0: OpenVINO chooses.
      tile: see TILE.
    Raises:
      GraphError: the card or its graph is missing or damaged.
      EngineError: OpenVINO cannot run the graph.
    """

    def __init__(
        self, card: FinderCard | str | pathlib.Path, threshold: float | None = None, threads: int = 0, tile: int = TILE
    ) -> None:
        self.card = card if isinstance(card, FinderCard) else load_finder_card(card)
        self.card.verify_graph()
        self.threshold = self.card.threshold if threshold is None else threshold
        self._tile = max(self.card.multiple, tile // self.card.multiple * self.card.multiple)
        core = openvino_devices.new_core()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = core.compile_model(openvino_backend.read_model(core, self.card.graph_path), "CPU", options)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise self._engine_error(error) from error
        self._lock = threading.Lock()

    def find(self, image: numpy.ndarray, scale: Scale | float | None = None) -> FoundCells:
        """Find the white cells of a photograph.

        Args:
          image: uint8 [H, W, 3], RGB.
          scale: µm per pixel, or what scale.scale_from_file returned; None measures it on the cells.
        Raises:
          ConfigurationError: `invalid_scale`.
          EngineError: OpenVINO failed.
        """
        used = self._resolve_scale(image, scale)
        output, working = self._run(image, used.microns)
        red, white = self._red_and_white(output)
        cells = _to_cells(white, working, used.microns)
        return FoundCells(
            cells, used.microns, used.source, used.cells, len(red.scores), (working.width, working.height)
        )

    def find_in_window(
        self,
        pixels: numpy.ndarray,
        wanted: numpy.ndarray,
        origin: tuple[int, int],
        working: WorkingScale,
        microns: float,
    ) -> tuple[Cell, ...]:
        """Find the white cells in a part of a slide that is at working scale already.

        Args:
          pixels: uint8 [H, W, 3], H and W multiples of the card's `multiple`.
          wanted: bool [H / stride, W / stride]: where centers count; tiles without any are not computed.
          origin: x and y of the part at working scale.
          working: of the slide.
          microns: µm per pixel of the slide.
        Returns:
          cells in pixels of the slide.
        Raises:
          EngineError: OpenVINO failed.
        """
        rows, columns = self._inner_shape(working)
        wanted = wanted.copy()
        wanted[max(0, rows - origin[1] // self.card.stride) :] = False
        wanted[:, max(0, columns - origin[0] // self.card.stride) :] = False
        if not wanted.any():
            return ()
        output = self._run_tiles(pixels, wanted)
        output[..., peaks.WHITE][~wanted] = NOTHING
        found = peaks.find_peaks(output, peaks.WHITE, self.threshold, self.card.stride, self.card.size_unit)
        return _to_cells(found._replace(centers=found.centers + origin), working, microns)

    def measure_scale(self, image: numpy.ndarray) -> Scale:
        """Measure the µm per pixel of a photograph on its red cells or, if it shows too few, on its white cells."""
        height, width = image.shape[:2]
        trials = []
        for microns in PROBED_SCALES:
            factor = microns / self.card.microns
            side = PROBED_SIDE / factor
            left, top = max(0, int((width - side) / 2)), max(0, int((height - side) / 2))
            part = image[top : int(min(height, top + side)), left : int(min(width, left + side))]
            if min(part.shape[:2]) * factor >= SMALLEST_SIDE:
                output, working = self._run(part, microns)
                both = self._red_and_white(output)
                sizes = [(found.sizes.mean(axis=1) * working.ratio, found.scores) for found in both]
                trials.append(scale.Trial(microns, *sizes))
        return scale.choose_scale(trials)

    def _resolve_scale(self, image: numpy.ndarray, given: Scale | float | None) -> Scale:
        if given is None:
            return self.measure_scale(image)
        return given if isinstance(given, Scale) else scale.given_scale(given)

    def _run(self, image: numpy.ndarray, microns: float) -> tuple[numpy.ndarray, WorkingScale]:
        """Return the network's output for a photograph of this scale, float32 [h, w, 6]."""
        height, width = image.shape[:2]
        working = WorkingScale(width, height, working_scale.square_side(microns, self.card.microns))

        def read(x: int, y: int, columns: int, rows: int) -> numpy.ndarray:
            return image[y : y + rows, x : x + columns]

        output = self._run_tiles(working_scale.read_part(read, working, (0, 0, *working.working_size)))
        # What lies beyond is not part of the photograph.
        rows, columns = self._inner_shape(working)
        return output[:rows, :columns], working

    def _inner_shape(self, working: WorkingScale) -> tuple[int, int]:
        """Return the rows and columns of the network's output in which centers can lie."""
        width, height = working.inner_size
        return -(-height // self.card.stride), -(-width // self.card.stride)

    def _run_tiles(self, pixels: numpy.ndarray, wanted: numpy.ndarray | None = None) -> numpy.ndarray:
        """Return the output for uint8 [H, W, 3], H and W multiples of `multiple`, tile by tile with their halos.

        Args:
          wanted: bool [H / stride, W / stride]; tiles without any are not computed, and are NOTHING.
        """
        height, width, stride = *pixels.shape[:2], self.card.stride
        if wanted is None:
            wanted = numpy.ones((height // stride, width // stride), bool)
        rows, columns = self._cut(wanted.max(axis=1), height), self._cut(wanted.max(axis=0), width)
        output = None
        for (top, bottom), (left, right) in itertools.product(rows, columns):
            place = (slice(top // stride, bottom // stride), slice(left // stride, right // stride))
            if wanted[place].any():
                (y, below), (x, behind) = self._with_halo(top, bottom, height), self._with_halo(left, right, width)
                part = self._infer(pixels[y:below, x:behind])
                if output is None:
                    output = numpy.full((*wanted.shape, part.shape[-1]), NOTHING, "float32")
                inside = part[(top - y) // stride : (bottom - y) // stride]
                output[place] = inside[:, (left - x) // stride : (right - x) // stride]
        assert output is not None
        return output

    def _cut(self, wanted: numpy.ndarray, length: int) -> list[tuple[int, int]]:
        """Return the (first, end) of equal tiles in pixels, which cover all wanted places.

        Args:
          wanted: bool [length / stride].
          length: in pixels.
        """
        places = numpy.flatnonzero(wanted) * self.card.stride
        first, end = int(places[0]) // self.card.multiple * self.card.multiple, int(places[-1]) + self.card.stride
        least = -(-(end - first) // -(-(end - first) // self._tile))
        side = min(self._tile, -(-least // TILE_STEP) * TILE_STEP, length)
        starts = (max(0, min(start, length - side)) for start in range(first, end, side))
        return [(start, start + side) for start in starts]

    def _with_halo(self, first: int, end: int, length: int) -> tuple[int, int]:
        """Return the (first, end) of a tile with what its output depends on, of the same size also at a border."""
        halo = -(-self.card.halo // self.card.multiple) * self.card.multiple
        size = min(length, end - first + 2 * halo)
        start = max(0, min(first - halo, length - size))
        return start, start + size

    def _infer(self, pixels: numpy.ndarray) -> numpy.ndarray:
        cancellation.check()
        batch = numpy.ascontiguousarray(pixels[None])
        with self._lock:
            try:
                self._request.infer([openvino_devices.openvino_api.Tensor(batch, shared_memory=True)])
                return self._request.get_output_tensor().data[0].copy()
            except RuntimeError as error:
                raise self._engine_error(error) from error

    def _engine_error(self, error: RuntimeError) -> EngineError:
        reason = openvino_devices.last_line(error)
        return EngineError(
            Message("{path}: OpenVINO cannot run it ({reason}).", path=self.card.graph_path, reason=reason),
            "device_failed",
        )

    def _red_and_white(self, output: numpy.ndarray) -> tuple[peaks.Peaks, peaks.Peaks]:
        red = peaks.find_peaks(output, peaks.RED, self.card.red_threshold, self.card.stride, self.card.size_unit)
        return red, peaks.find_peaks(output, peaks.WHITE, self.threshold, self.card.stride, self.card.size_unit)


def _to_cells(found: peaks.Peaks, working: WorkingScale, microns: float) -> tuple[Cell, ...]:
    """Return the cells in pixels of the photograph, with their flags.

    Args:
      found: in pixels at working scale.
      working: of the photograph.
      microns: µm per pixel of the photograph.
    """
    size = (working.width, working.height)
    centers, sizes = (found.centers * working.ratio).clip(0, size), found.sizes * working.ratio
    diameters = sizes.mean(axis=1)
    margin = CUT_MARGIN * diameters[:, None]
    cut = ((centers - sizes / 2 < -margin) | (centers + sizes / 2 > numpy.array(size) + margin)).any(axis=1)
    cut |= ((centers - sizes / 2 < 1) | (centers + sizes / 2 > numpy.array(size) - 1)).any(axis=1)
    kept = cut | (sizes.max(axis=1) * microns >= SMALLEST_CELL_MICRONS)
    centers, sizes, diameters, cut = centers[kept], sizes[kept], diameters[kept], cut[kept]
    touching = numpy.zeros(len(centers), bool)
    if len(centers) > 1:
        for first, second in peaks.near_pairs(centers, TOUCHING_DISTANCE * float(diameters.max())):
            distance = numpy.hypot(*(centers[first] - centers[second]))
            if distance < TOUCHING_DISTANCE * (diameters[first] + diameters[second]) / 2:
                touching[[first, second]] = True
    values = numpy.concatenate([centers, sizes, found.scores[kept, None]], axis=1).astype(float).tolist()
    cells = [
        Cell(x, y, width, height, score, (CUT,) * bool(is_cut) + (TOUCHING,) * bool(touches))
        for (x, y, width, height, score), is_cut, touches in zip(values, cut, touching, strict=True)
    ]
    return tuple(sorted(cells, key=lambda cell: (cell.y, cell.x)))
