"""The card of the cell finder: a JSON file beside its frozen graph."""

import dataclasses
import os
import pathlib
from typing import Any

from Classes.common import json_files, provenance
from Classes.common.errors import GraphError
from Classes.common.translation import Message
from Classes.inference import card_file

CARD_VERSION = 1

_NUMBER = {"type": "number", "exclusiveMinimum": 0}
_COUNT = {"type": "integer", "minimum": 1}
_SCHEMA = {
    "type": "object",
    "required": ["version", "graph", "graph_sha256", "input", "output", "stride", "multiple", "halo", "size_unit"],
    "properties": {
        "version": {"const": CARD_VERSION},
        # A bare name: a card must not point to a file elsewhere.
        "graph": {"type": "string", "pattern": r"^[^/\\\0]*[^/\\\0.][^/\\\0]*$"},
        "graph_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "input": {"type": "string", "minLength": 1},
        "output": {"type": "string", "minLength": 1},
        "stride": _COUNT,
        "multiple": _COUNT,
        "halo": {"type": "integer", "minimum": 0},
        "size_unit": _NUMBER,
        "microns": _NUMBER,
        "threshold": {"type": "number", "minimum": 0, "maximum": 1},
        "red_threshold": {"type": "number", "minimum": 0, "maximum": 1},
    },
}


@dataclasses.dataclass(frozen=True)
class FinderCard:
    """A checked card of a cell finder.

    Attributes:
      path: the card's file.
      graph: name of the frozen graph's file, in the same folder.
      graph_sha256: SHA-256 of that file.
      input: name of the placeholder, uint8 [1, H, W, 3], RGB.
      output: name of the output, float32 [1, H/stride, W/stride, 6]: logits of white and red cells' centers, logarithm
        of width and height in units of `size_unit` pixels, offset of the center from the middle of the pixel.
      stride: pixels of the image per pixel of the output.
      multiple: H and W are multiples of this.
      halo: pixels around a point that can change the output there.
      size_unit: see output.
      microns: µm per pixel at which the network works.
      threshold: score from which a center is a white cell.
      red_threshold: the same for red cells.
      data, training, metrics, limits, versions, created, notice: where the model comes from and what it can do.
    """

    path: pathlib.Path
    graph: str
    graph_sha256: str
    input: str
    output: str
    stride: int
    multiple: int
    halo: int
    size_unit: float
    microns: float = 0.4
    threshold: float = 0.3
    red_threshold: float = 0.3
    data: list[Any] = dataclasses.field(default_factory=list)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    limits: list[str] = dataclasses.field(default_factory=list)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    created: str | None = None
    notice: str = ""
    version: int = CARD_VERSION

    @property
    def graph_path(self) -> pathlib.Path:
        """The frozen graph's file."""
        return self.path.with_name(self.graph)

    def verify_graph(self) -> None:
        """Raise GraphError `no_model` or `graph_changed` unless the graph is the one that the card describes."""
        try:
            found = provenance.sha256_file(self.graph_path)
        except OSError as error:
            raise GraphError(
                Message("{path}: cannot be read; run python3 Trainer.py Finder", path=self.graph_path), "no_model"
            ) from error
        if found != self.graph_sha256:
            raise GraphError(
                Message(
                    "{path}: is not the graph that its card describes; run python3 Trainer.py Finder",
                    path=self.graph_path,
                ),
                "graph_changed",
            )


def load_finder_card(path: str | os.PathLike[str]) -> FinderCard:
    """Read and check the card of a cell finder.

    Raises:
      GraphError: see card_file.read_card.
    """
    path = pathlib.Path(path)
    missing = Message("{path}: there is no cell finder; run python3 Trainer.py Finder", path=path)
    values = card_file.read_card(path, CARD_VERSION, _SCHEMA, missing, "python3 Trainer.py Finder")
    known = {field.name for field in dataclasses.fields(FinderCard)} - {"path"}
    return FinderCard(path, **{key: value for key, value in values.items() if key in known})


def write_finder_card(card: FinderCard) -> None:
    """Write a card to its path, with a checksum of its content."""
    values = dataclasses.asdict(card)
    del values["path"]
    json_files.write_json(card.path, json_files.with_checksum(values))
