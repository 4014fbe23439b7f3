"""Read the JSON card of a model: of the expected version, unchanged, and with valid fields."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jsonschema

from Classes.common import json_files
from Classes.common.errors import GraphError, error_reason
from Classes.common.translation import Message


def read_card(
    path: pathlib.Path, version: int, schema: Mapping[str, Any], missing: Message, command: str
) -> dict[str, Any]:
    """Return the fields of a card.

    Args:
      path: the card's file.
      version: of cards that can be read.
      schema: JSON schema of the fields.
      missing: what to report if there is no card.
      command: writes the card again, such as "python3 Trainer.py".
    Raises:
      GraphError: `no_model`, `card_unreadable`, `card_version`, `card_damaged` or `card_field`.
    """
    try:
        values = json_files.read_json(path)
    except FileNotFoundError as error:
        raise GraphError(missing, "no_model") from error
    except (OSError, ValueError) as error:
        message = Message(
            "{path}: the model card cannot be read ({reason}); run {command}",
            path=path,
            reason=error_reason(error),
            command=command,
        )
        raise GraphError(message, "card_unreadable") from error
    found = values.get("version") if isinstance(values, dict) else None
    if found != version:
        places = {"path": path, "expected": version, "version": repr(found)}
        message = Message("{path}: a model card of version {expected} is expected, this one is {version}", **places)
        raise GraphError(message, "card_version")
    # One wrong bit in a threshold changes predictions.
    if not json_files.checksum_ok(values):
        message = Message(
            "{path}: damaged, or changed after it was written; run {command}, or remove content_sha256 if the change "
            "is intended",
            path=path,
            command=command,
        )
        raise GraphError(message, "card_damaged")
    violation = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(values))
    if violation is not None:
        message = Message(
            "{path}: {where}: {message}; run {command} to write it again",
            path=path,
            where=".".join(map(str, violation.absolute_path)) or Message("the card"),
            message=violation.message,
            command=command,
        )
        raise GraphError(message, "card_field")
    return dict(values)
