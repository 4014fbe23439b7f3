"""Open the models that the key `Models` names."""

import contextlib
import dataclasses
import logging
import pathlib

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, GraphError
from Classes.common.translation import Message
from Classes.inference import device_selection, int8_files, model_card, shipped_models
from Classes.serving.models import ModelRegistry, ServedModel

# Stands for the model that the key ALLGraph names.
OWN = "ALLGraph"

# {model that a copy of the project may lack, so the server also starts without it: what to do}
_MAY_BE_MISSING = {
    OWN: "There is no trained model yet. Run python3 Trainer.py, then start the server again.",
    "WhiteCells": "Its files are not in Model/WhiteCells.",
}

log = logging.getLogger("ClassifierServer")


@dataclasses.dataclass(frozen=True)
class _Entry:
    """An item of `Models`, the name of its model in requests, and the model's card."""

    item: str
    name: str
    card: pathlib.Path


def open_models(configuration: Configuration, stack: contextlib.ExitStack) -> ModelRegistry:
    """Open all models of `Models`; `stack` closes their backends.

    The first of them is the default. If it is `ALLGraph` and there is no trained model yet, the server offers the
    others, and no model is the default.

    Raises:
      ConfigurationError: `unknown_model`, or `duplicate_model` if two have the same name.
      GraphError, EngineError: a model is damaged, or a device does not work; `no_model` if there is none at all.
    """
    entries = _entries(configuration)
    cards: dict[str, model_card.ModelCard] = {}
    missing: list[GraphError] = []
    unavailable: dict[str, str] = {}
    for entry in entries:
        try:
            cards[entry.name] = model_card.load_model_card(entry.card, cell_types=True)
        except GraphError as error:
            if error.code != "no_model" or entry.item not in _MAY_BE_MISSING:
                raise
            missing.append(error)
            unavailable[entry.name] = _MAY_BE_MISSING[entry.item]
    if not cards:
        raise missing[0]
    default = entries[0].name
    for name, reason in unavailable.items():
        log.log(logging.WARNING if name == default else logging.INFO, "The model %s is not available: %s", name, reason)
    models = []
    for entry in entries:
        if entry.name in cards:
            card = cards[entry.name]
            backend = device_selection.open_backend(_device_settings(configuration, entry, card), card)
            models.append(ServedModel(entry.name, configuration, card, stack.enter_context(backend)))
    return ModelRegistry(models, unavailable, default)


def _entries(configuration: Configuration) -> list[_Entry]:
    entries: list[_Entry] = []
    for item in configuration["Models"]:
        if item == OWN:
            card = configuration.card
        elif item in _MAY_BE_MISSING:
            card = configuration.root / shipped_models.SHIPPED_FOLDER / item / f"{item}.json"
        else:
            card = shipped_models.model_path(configuration, item).with_suffix(".json")
        if card.stem in [entry.name for entry in entries]:
            raise ConfigurationError(
                Message("Models has two models with the name {name}. Rename one of the files.", name=card.stem),
                code="duplicate_model",
            )
        entries.append(_Entry(item, card.stem, card))
    return entries


def _device_settings(configuration: Configuration, entry: _Entry, card: model_card.ModelCard) -> Configuration:
    """Return the settings for a model's device; those of the configuration are made for the own model.

    A Movidius stick runs only the model that its graph was compiled from, and int8 needs an int8 form of the model.
    """
    if entry.item == OWN:
        return configuration
    if configuration["Device"].upper() == "NCS1":
        return configuration.replace(Device="CPU", Precision="AUTO")
    if configuration["Precision"] == int8_files.INT8 and card.int8 is None:
        return configuration.replace(Precision="AUTO")
    return configuration
