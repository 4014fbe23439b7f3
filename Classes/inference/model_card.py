"""The model card: a JSON file beside the frozen graph that describes it to everything that uses it."""

import dataclasses
import functools
import os
import pathlib
from typing import Any

from Classes.common import class_scheme, conditions, json_files, provenance
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition
from Classes.common.errors import GraphError
from Classes.common.translation import Message, text_of
from Classes.imaging.network_input import InputSpec
from Classes.inference import card_file

CARD_VERSION = 1

_SCHEMA = {
    "type": "object",
    "required": ["graph", "graph_sha256", "classes", "positive", "input", "output", "threshold", "synthetic"],
    "properties": {
        # A bare name: a card must not point to a file elsewhere.
        "graph": {"type": "string", "pattern": r"^[^/\\\0]*[^/\\\0.][^/\\\0]*$"},
        "network": {"type": "string", "minLength": 1},
        "graph_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "classes": {"type": "array", "minItems": 2, "uniqueItems": True, "items": {"type": "string", "minLength": 1}},
        "positive": {"type": ["string", "array"], "uniqueItems": True, "items": {"type": "string", "minLength": 1}},
        "groups": {
            "type": "object",
            "additionalProperties": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        },
        "counted": {"type": "array", "items": {"type": "string"}},
        "condition": {
            "type": ["object", "null"],
            "required": ["short", "long"],
            "properties": {
                "short": {"type": "string", "minLength": 1},
                "long": {"type": "string", "minLength": 1},
                **{key: {"type": "string"} for key in ("source", "affected_cells", "normal_cells")},
                "translations": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
        },
        "input": {
            "type": "object",
            "required": ["node", "size", "mean"],
            "properties": {
                "node": {"type": "string", "minLength": 1},
                "size": {"type": "integer", "minimum": 1},
                "mean": {"type": "number", "minimum": 0},
                "scale": {"type": "number", "exclusiveMinimum": 0},
                "channels": {"enum": ["RGB", "BGR"]},
                "crop": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            },
            "anyOf": [{"required": ["scale"]}, {"properties": {"mean": {"exclusiveMinimum": 0}}}],
        },
        "output": {"type": "string", "minLength": 1},
        "threshold": {"type": "number", "minimum": 0, "maximum": 1},
        "temperature": {"type": "number", "exclusiveMinimum": 0},
        "uncertain": {
            "type": ["array", "null"],
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": 2,
            "maxItems": 2,
        },
        "calibration": {"type": ["object", "null"]},
        "synthetic": {"type": "boolean"},
        "int8": {
            "type": ["object", "null"],
            "required": ["xml_sha256", "bin_sha256"],
            "properties": {
                "xml_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "bin_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            },
        },
        "data": {"type": "object"},
        "metrics": {"type": ["object", "null"]},
        "cell_types": {
            "type": ["object", "null"],
            "required": ["names", "groups", "limits"],
            "properties": {
                "names": {"type": "object", "additionalProperties": {"type": "string"}},
                "groups": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
                "limits": {"type": "array", "items": {"type": "string"}},
            },
        },
        "compiled": {"type": ["object", "null"]},
        "colours": {
            "type": ["object", "null"],
            "required": ["anchors", "limit"],
            "properties": {
                "anchors": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "pattern": r"^(-?\d+(\.\d+)?( |$)){7}$"},
                },
                "limit": {"type": "number", "minimum": 0},
            },
        },
        "image_check": {
            "type": ["object", "null"],
            "required": ["limit"],
            "properties": {"limit": {"type": "number", "minimum": 0, "maximum": 1}},
        },
    },
}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """A checked model card.

    Attributes:
      path: the card's file.
      network: name of the network, see networks.registry.
      graph: name of the frozen graph's file, in the same folder.
      graph_sha256: SHA-256 of that file, 64 hexadecimal digits.
      classes: class names in the order of the network's outputs.
      positive: the classes that mean disease; none in a model of cell types.
      groups, counted: see class_scheme.ClassScheme; empty if every class is its own group, and all are counted.
      condition: what the model detects; ALL in older cards.
      input: {"node"} and the fields of network_input.InputSpec; see `input_spec`.
      output: name of the output node.
      threshold: probability of the positive class from which the condition is detected.
      temperature: divisor of the logits, already folded into the graph.
      uncertain: [low, high], probabilities of the positive class between which a prediction is uncertain; or None.
      calibration: how threshold, temperature and band were chosen, see calibration.py; None in older cards.
      synthetic: trained on synthetic images, so its results have no medical meaning.
      int8: SHA-256 of the files of the int8 form and the metrics of its acceptance, see int8_files; or None.
      data, training, versions, commit, created, notice: where the model comes from.
      metrics: what Validation.py measured, or None.
      compiled: the file that Trainer.py Compile made for the stick, and its source graph; or None.
      cell_types: names and groups of the types, source of the data, limits and metrics of a model of cell types, see
        training.white_cells; or None.
      colours: colors of the training images, see color_stats.fit_reference; None in older cards.
      image_check: how cell-like the training images are, see image_check.fit_reference; None in older cards.
    """

    path: pathlib.Path
    graph: str
    graph_sha256: str
    classes: tuple[str, ...]
    positive: tuple[str, ...]
    input: dict
    output: str
    threshold: float
    synthetic: bool
    condition: Condition = conditions.ALL
    temperature: float = 1.0
    uncertain: list | None = None
    calibration: dict | None = None
    int8: dict | None = None
    data: dict = dataclasses.field(default_factory=dict)
    training: dict = dataclasses.field(default_factory=dict)
    metrics: dict | None = None
    compiled: dict | None = None
    groups: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    counted: tuple[str, ...] = ()
    cell_types: dict | None = None
    colours: dict | None = None
    image_check: dict | None = None
    versions: dict = dataclasses.field(default_factory=dict)
    commit: str | None = None
    created: str | None = None
    notice: str = ""
    version: int = CARD_VERSION
    network: str = "InceptionV3"

    @property
    def display_name(self) -> str:
        """The network's name in log lines: "Inception" for InceptionV3, as in the historic line."""
        return self.network.removesuffix("V3")

    @functools.cached_property
    def scheme(self) -> ClassScheme:
        """What the classes mean; the groups of a model of cell types are part of its description."""
        groups = self.groups or (self.cell_types or {}).get("groups", {})
        return ClassScheme(self.classes, self.positive, groups, self.counted)

    @property
    def graph_path(self) -> pathlib.Path:
        """The frozen graph's file."""
        return self.path.with_name(self.graph)

    @property
    def imported(self) -> bool:
        """Whether the weights were published by others, so their training images are unknown."""
        return "imported" in self.data

    @property
    def size(self) -> int:
        """Side of the network's square input in pixels."""
        return self.input["size"]

    @property
    def input_spec(self) -> InputSpec:
        """How the network sees an image; older cards have no `scale`, which then equals the mean."""
        values = {"scale": self.input["mean"], **self.input}
        known = (field.name for field in dataclasses.fields(InputSpec))
        return InputSpec(**{name: values[name] for name in known if name in values})

    def to_json(self) -> dict[str, Any]:
        """Return the card's fields as JSON, without its path on this machine."""
        return _json_fields({key: value for key, value in dataclasses.asdict(self).items() if key != "path"})

    def verify_graph(self) -> None:
        """Compare the graph's file with the card.

        Raises:
          GraphError: the file is missing or is not the one that the card describes.
        """
        if not self.graph_path.is_file():
            raise GraphError(
                Message(
                    "{graph_path}: missing, although its card exists; run python3 Trainer.py",
                    graph_path=self.graph_path,
                ),
                "graph_missing",
            )
        found = provenance.sha256_file(self.graph_path)
        if found != self.graph_sha256:
            raise GraphError(
                Message(
                    "{graph_path}: not the graph of its card (SHA-256 {found}…, the card says {graph_sha256}…); "
                    "copy both files together or run python3 Trainer.py",
                    graph_path=self.graph_path,
                    found=found[:12],
                    graph_sha256=self.graph_sha256[:12],
                ),
                "graph_changed",
            )


def load_model_card(path: str | os.PathLike, cell_types: bool = False) -> ModelCard:
    """Read and check a model card.

    Args:
      path: the card's file.
      cell_types: accept a model of cell types too, which detects nothing.
    Raises:
      GraphError: no card, or one that is damaged or of another version; `cell_type_model` if it is one of cell types.
    """
    path = pathlib.Path(path)
    missing = Message("{path}: there is no trained model yet; run python3 Trainer.py", path=path)
    values = card_file.read_card(path, CARD_VERSION, _SCHEMA, missing, "python3 Trainer.py")
    if not values["positive"] and not cell_types:
        raise GraphError(
            Message(
                "{path}: this model names cell types and detects no disease. Use it with python3 Classifier.py "
                "--model, or train a model of your own with python3 Trainer.py.",
                path=path,
            ),
            "cell_type_model",
        )
    positive = class_scheme.as_names(values["positive"])
    groups, counted = values.get("groups", {}), values.get("counted", ())
    wrong = class_scheme.find_error(values["classes"], positive, groups, counted)
    if wrong is not None:
        raise GraphError(Message("{path}: {message}", path=path, message=text_of(wrong)), "card_field")
    known = {field.name for field in dataclasses.fields(ModelCard)} - {"path"}
    fields = {key: value for key, value in values.items() if key in known}
    fields["condition"] = conditions.from_card(values.get("condition"))
    fields |= {"classes": tuple(values["classes"]), "positive": positive, "counted": tuple(counted)}
    fields["groups"] = {group: tuple(types) for group, types in groups.items()}
    return ModelCard(**{**fields, "path": path})


def write_model_card(path: str | os.PathLike, card: ModelCard | dict[str, Any]) -> None:
    """Write a card, given as a ModelCard or as a dict of its fields, atomically."""
    fields = card.to_json() if isinstance(card, ModelCard) else _json_fields(card)
    json_files.write_json(path, json_files.with_checksum({"version": CARD_VERSION, **fields}))


def _json_fields(fields: dict[str, Any]) -> dict[str, Any]:
    fields = {**fields, "positive": class_scheme.as_json(class_scheme.as_names(fields["positive"]))}
    # Cards of models without groups have no such fields, as before there were any.
    return {key: value for key, value in fields.items() if value or key not in ("groups", "counted")}
