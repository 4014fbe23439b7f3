"""The models of a server: what /v1/models says, checked, and the list of `Client.py Models`."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from Classes.client import response
from Classes.common import terminal
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition
from Classes.common.errors import ALLError
from Classes.common.number_format import format_number
from Classes.common.translation import Message
from Classes.common.translation import gettext as _

# Far above what this API sends.
MAX_MODELS, MAX_LIMITS = 100, 100

_METRICS = ("macro_f1", "accuracy")


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A model of a server.

    Attributes:
      name: for `--model`.
      default: whether it answers if no model is named.
      reason: why it is not available; "": it is. The other fields are empty then.
      condition: what it detects; None: nothing, it names types of cells.
      scheme: what its classes mean.
      titles: {class: what people read in its place}.
      limits: what it has never seen, as sentences.
      metric: its macro-F1, or its accuracy, with the interval, as text; "": unknown.
    """

    name: str
    default: bool = False
    reason: str = ""
    condition: Condition | None = None
    scheme: ClassScheme = dataclasses.field(default_factory=lambda: ClassScheme(()))
    titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limits: Sequence[str] = ()
    metric: str = ""

    def title(self, name: str) -> str:
        """Return the title of a class or group in the language of the reader."""
        return _(self.titles.get(name, name))


def parse_models(body: bytes) -> list[ServedModel]:
    """Parse the body of /v1/models; never raise. Empty for a server that has no such list."""
    try:
        entries = json.loads(body)["models"]
        return [_parse_model(entry) for entry in entries[:MAX_MODELS]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def choose_model(models: Sequence[ServedModel], name: str, server: str) -> ServedModel | None:
    """Return the model that answers requests for `name`, "" for the default; None if the server has no list of models.

    Raises:
      ALLError: `no_model_list` if a model is named and the server has none to choose from; `unknown_model`.
    """
    if not models:
        if name:
            message = Message("{server} has no list of models. Update the server, or leave out --model.", server=server)
            raise ALLError(message, code="no_model_list")
        return None
    usable = [model for model in models if not model.reason]
    found = next((model for model in usable if (model.name == name if name else model.default)), None)
    if found is None:
        names = ", ".join(model.name for model in usable)
        if name:
            message = Message(
                "--model {name}: the models of {server} are: {names}", name=name, server=server, names=names
            )
            raise ALLError(message, code="unknown_model")
        reason = next((model.reason for model in models if model.default), "")
        message = Message(
            "{server} has no default model. {reason} Or choose one with --model: {names}.",
            server=server,
            reason=reason,
            names=names,
        )
        raise ALLError(message, code="no_model")
    return found


def print_models(models: Sequence[ServedModel], server: str) -> int:
    """Print the models of a server as a table, and what each has never seen; return exit code 0.

    Raises:
      ALLError: `no_model_list`.
    """
    if not models:
        raise ALLError(
            Message("{server} has no list of models. Update the server.", server=server), code="no_model_list"
        )
    head = (_("Model"), _("Detects"), _("Classes"), _("Metric"))
    rows = [head, *map(_cells, models)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        terminal.print_lines(["  ".join(cells).rstrip()])
    for model in models:
        for sentence in [model.reason] if model.reason else model.limits:
            terminal.print_lines([f"{model.name}: {_(sentence)}"])
    return 0


def _cells(model: ServedModel) -> tuple[str, ...]:
    name = _("{name} (default)").format(name=model.name) if model.default else model.name
    if model.reason:
        return (name, _("not available"), "", "")
    detects = model.condition.label if model.condition else _("types of cells")
    names = len(model.scheme.names)
    groups = len(model.scheme.group_names)
    classes = str(names) if groups == names else _("{classes} in {groups} groups").format(classes=names, groups=groups)
    return (name, detects, classes, model.metric)


def _parse_model(entry: dict[str, Any]) -> ServedModel:
    text = response.parse_text
    name, default = text(entry["name"]), entry["default"] is True
    if entry["available"] is not True:
        return ServedModel(name, default, text(entry["reason"]))
    names = [text(each) for each in entry["classes"][: response.MAX_CLASSES]]
    groups = {text(group): tuple(map(text, classes)) for group, classes in entry["groups"].items()}
    scheme = ClassScheme(tuple(names), tuple(map(text, entry["positive"])), groups, tuple(map(text, entry["counted"])))
    return ServedModel(
        name=name,
        default=default,
        condition=response.parse_condition(entry["condition"]),
        scheme=scheme,
        titles={text(each): text(title) for each, title in entry["class_titles"].items()},
        limits=[text(limit) for limit in entry["limits"][:MAX_LIMITS]],
        metric=_metric(entry["metrics"]),
    )


def _metric(metrics: dict[str, Any] | None) -> str:
    """Return the most telling metric as text; "" if there is none."""
    for name in _METRICS:
        found = (metrics or {}).get(name)
        if found and found["value"] is not None:
            title = "macro-F1" if name == "macro_f1" else _("Accuracy")
            value = format_number(float(found["value"]), ".3f")
            if not found["interval"]:
                return f"{title} {value}"
            low, high = (format_number(float(each), ".3f") for each in found["interval"])
            return _("{metric} {value} ({low} to {high})").format(metric=title, value=value, low=low, high=high)
    return ""
