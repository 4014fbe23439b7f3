"""Find the module of a network by its name in the configuration; docs/networks.md describes such a module."""

import importlib
import pkgutil
import types

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.networks import architectures


def network_names() -> list[str]:
    """Return the names that the key `Network` can have: the `NAME` of each module in `architectures`."""
    return sorted(_import(module.name).NAME for module in pkgutil.iter_modules(architectures.__path__))


def get_network(configuration: Configuration) -> types.ModuleType:
    """Return the module of the network that the key `Network` names.

    Raises:
      ConfigurationError: there is no such network.
    """
    name = configuration["Network"]
    files = {module.name for module in pkgutil.iter_modules(architectures.__path__)}
    # Checked before the import, so that a package missing inside the module is reported as what it is.
    if name.lower() not in files or name != _import(name.lower()).NAME:
        raise ConfigurationError(
            Message("Network is {name}. Available networks: {names}", name=name, names=", ".join(network_names())),
            code="unknown_network",
        )
    return _import(name.lower())


def _import(file: str) -> types.ModuleType:
    return importlib.import_module(f"{architectures.__name__}.{file}")


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
