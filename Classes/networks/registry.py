"""Find the module of a network by its name in the configuration; docs/networks.md describes such a module."""

import importlib
import importlib.util
import pathlib
import pkgutil
import re
import types

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.networks import architectures


def network_names() -> list[str]:
    """Return the names that the key `Network` can have: the `NAME` of each module in `architectures`.

    They are read from the source, because the modules import TensorFlow, which takes seconds.
    """
    return sorted(_modules())


def _modules() -> dict[str, str]:
    """Return {NAME: module}."""
    found = {_name_in(module.name): module.name for module in pkgutil.iter_modules(architectures.__path__)}
    return {name: module for name, module in found.items() if name}


def _name_in(file: str) -> str | None:
    spec = importlib.util.find_spec(f"{architectures.__name__}.{file}")
    if spec is None or spec.origin is None:
        return None
    # Not with `ast`: in Python 3.11 it fails now and then (SystemError) if two threads use it at the same time.
    source = pathlib.Path(spec.origin).read_text(encoding="utf-8")
    found = re.search(r"^NAME *(?:: *\w+ *)?= *([\"'])(.+?)\1", source, re.MULTILINE)
    return found[2] if found else None


def require_network(configuration: Configuration) -> None:
    """Check the key `Network` without importing the module.

    Raises:
      ConfigurationError: `unknown_network`.
    """
    name = configuration["Network"]
    if name not in network_names():
        raise ConfigurationError(
            Message("Network is {name}. Available networks: {names}", name=name, names=", ".join(network_names())),
            code="unknown_network",
        )


def get_network(configuration: Configuration) -> types.ModuleType:
    """Return the module of the network that the key `Network` names.

    Raises:
      ConfigurationError: there is no such network.
    """
    # Checked before the import, so that a package missing inside the module is reported as what it is.
    require_network(configuration)
    return importlib.import_module(f"{architectures.__name__}.{_modules()[configuration['Network']]}")


def trained_blocks(network: types.ModuleType, scopes: str) -> tuple[str, ...] | None:
    """Return the blocks that `TrainableScopes` trains.

    Args:
      network: see `get_network`.
      scopes: "all", or the name of a block: this block and all after it are trained.
    Returns:
      Names from the network's BLOCKS; None if `scopes` names no block.
    """
    first = network.BLOCKS[0] if scopes == "all" else scopes
    return network.BLOCKS[network.BLOCKS.index(first) :] if first in network.BLOCKS else None
