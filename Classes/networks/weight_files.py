"""Find the file of pretrained weights that the configuration selects. pretrained_weights.py reads it."""

import logging
import pathlib

from Classes.common import config_schema, json_files
from Classes.common.config import Configuration
from Classes.common.errors import CheckpointError, error_reason
from Classes.common.paths import PROJECT
from Classes.common.translation import Message
from Classes.networks import registry

log = logging.getLogger("Trainer")


def resolve_weights(configuration: Configuration) -> pathlib.Path | None:
    """Return the path that `Pretrained` selects, or None for random weights.

    Raises:
      CheckpointError: there are no weights at the path.
    """
    if configuration["Pretrained"] == "none":
        return None
    if configuration["Pretrained"]:
        return require_named_weights(configuration)
    shipped = shipped_weights(configuration, configuration.root)
    if shipped:
        return shipped
    folder = registry.get_network(configuration).PRETRAINED
    found = _candidates(configuration.root / folder) if folder else []
    if len(found) > 1:
        log.info("Found %d pretrained files and use %s.", len(found), found[0])
    # `NetworkPath` may name a folder that holds only data.
    return found[0] if found else shipped_weights(configuration, PROJECT)


def require_named_weights(configuration: Configuration) -> pathlib.Path | None:
    """Return the path that `Pretrained` names; None if it names none. No network is imported.

    Raises:
      CheckpointError: `weights_missing`.
    """
    if configuration["Pretrained"] in ("", "none"):
        return None
    path = configuration.path("Pretrained")
    if path.is_dir():
        found = _candidates(path)
        if not found:
            raise CheckpointError(
                Message("{path}: contains no checkpoint, .tar.gz, .h5 or .pb", path=path), "weights_missing"
            )
        return found[0]
    if path.is_file() or path.with_name(path.name + ".index").is_file():
        return path
    raise CheckpointError(
        Message("{path}: there is no such file. Set Pretrained to a file or to none, or leave it empty.", path=path),
        "weights_missing",
    )


def shipped_weights(configuration: Configuration, root: pathlib.Path) -> pathlib.Path | None:
    """Return the weights that come with the project, if the configuration's network has the same width.

    Args:
      configuration: Configuration.
      root: the folder that holds them.
    """
    name = getattr(registry.get_network(configuration), "SHIPPED", None)
    path = root / name if name else None
    if path is None or not path.is_file():
        return None
    shape = _published_shape(path)
    width = configuration["DepthMultiplier"]
    return path if width in (shape.get("DepthMultiplier"), _default("DepthMultiplier")) else None


def fit_to_weights(configuration: Configuration) -> Configuration:
    """Return the configuration with the input size and width of the weights that training starts from.

    Weights with a model card, such as those that come with the project, know both. A value that differs from the
    default was chosen by the user and stays.

    Raises:
      CheckpointError: as `resolve_weights`.
    """
    path = resolve_weights(configuration)
    shape = _published_shape(path) if path else {}
    changes = {
        key: value
        for key, value in shape.items()
        if configuration[key] == _default(key) and configuration[key] != value
    }
    if not changes:
        return configuration
    listed = ", ".join(f"{key}={value}" for key, value in changes.items())
    log.info("Training starts from %s with %s.", path, listed)
    return configuration.replace(**changes)


def _published_shape(path: pathlib.Path) -> dict[str, float]:
    """Return {"ImageSize", "DepthMultiplier"} of the model card beside a frozen graph; {} without one."""
    card = path.with_suffix(".json")
    if path.suffix != ".pb" or not card.is_file():
        return {}
    try:
        values = json_files.read_json(card)
        return {
            "ImageSize": int(values["input"]["size"]),
            "DepthMultiplier": float(values["training"]["depth_multiplier"]),
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            Message("{card}: the model card cannot be read ({reason}).", card=card, reason=error_reason(error))
        ) from error


def _default(key: str) -> float:
    return config_schema.keys()[key].rule["default"]


def _candidates(folder: pathlib.Path) -> list[pathlib.Path]:
    indexes = [path.with_suffix("") for path in folder.glob("*.index")]
    patterns = ("*.ckpt", "*.tar.gz", "*.tgz", "*.h5", "*.hdf5", "*.pb")
    return sorted(indexes) + [path for pattern in patterns for path in sorted(folder.glob(pattern))]
