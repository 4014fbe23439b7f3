"""What tasks that run a model need in their settings, so that another process or machine computes the same."""

import dataclasses
import hashlib
import json
from typing import Any

from Classes.common.config import Configuration
from Classes.common.errors import EngineError, GraphError
from Classes.common.translation import Message
from Classes.inference import device_selection, model_card, precision_cache
from Classes.inference.model_card import ModelCard

# The configuration keys that results depend on.
KEYS = ("Device", "Precision", "InceptionGraph", "CacheDir", "InceptionThreshold", "MaxPixels", "MaxSide", "SampleBits")

# What tasks that run a model import when they open it.
LATE_MODULES = ("Classes.inference.openvino_backend",)


def to_settings(configuration: Configuration) -> dict[str, Any]:
    """Return the part of a configuration that results depend on, as JSON for `read_configuration`."""
    values = {key: configuration[key] for key in KEYS}
    found = _fixed_precision(configuration) or precision_cache.find_precision(configuration.path("CacheDir"))
    return {**values, "NetworkPath": str(configuration.root), "cpu_precision": found}


def read_configuration(settings: dict[str, Any]) -> Configuration:
    """Return the configuration of `to_settings`.

    Raises:
      EngineError: `other_precision`: this machine would compute in another precision than the one that started the run.
    """
    configuration = Configuration({"Task": settings})
    found = _fixed_precision(configuration) or _own_precision()
    if found != settings["cpu_precision"]:
        raise EngineError(
            Message(
                "This machine computes in {found}, and the run was started with {wanted}. Set Precision=f32.",
                found=found,
                wanted=settings["cpu_precision"],
            ),
            "other_precision",
        )
    return configuration


def describe_card(card: ModelCard) -> dict[str, Any]:
    """Return what identifies a model, as JSON for `load_card`."""
    values = {each.name: getattr(card, each.name) for each in dataclasses.fields(card) if each.name != "path"}
    text = json.dumps(values, sort_keys=True, default=str)
    return {"path": str(card.path.absolute()), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def load_card(settings: dict[str, Any]) -> ModelCard:
    """Load the model card of `describe_card`.

    Raises:
      GraphError: `model_changed`: it is another model now.
    """
    card = model_card.load_model_card(settings["path"], cell_types=True)
    if describe_card(card)["sha256"] != settings["sha256"]:
        raise GraphError(
            Message("{path}: the model was replaced during the run. Start the run again.", path=card.path),
            "model_changed",
        )
    return card


def with_own_process(configuration: Configuration) -> Configuration:
    """Return a configuration in which this process does the work if a Movidius stick may do it.

    One process at a time can use a stick, and a stick that fails does not end its process.
    """
    device = configuration["Device"].upper()
    if device == "NCS1" or (device == "AUTO" and device_selection.has_ncs1_stick()):
        return configuration.replace(Processes=0)
    return configuration


def _fixed_precision(configuration: Configuration) -> str | None:
    """Return the precision that does not depend on the processor; None: AUTO chooses it for the CPU."""
    if configuration["Precision"] != "AUTO" or configuration["Device"].upper() not in ("AUTO", "CPU"):
        return str(configuration["Precision"])
    return None


def _own_precision() -> str:
    """Ask this process's OpenVINO, which computes with what it says."""
    # Imported late, because a process that only starts the work does not need it.
    from Classes.inference import openvino_devices

    return openvino_devices.cpu_precision("AUTO")
