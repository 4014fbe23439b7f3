"""Find the module of a network by the name in the configuration; docs/networks.md describes what such a module holds."""

import importlib
import pkgutil

from Classes.common.errors import ConfigurationError
from Classes.networks import architectures


def network_names():
    """Return the names that the key `Network` can have: the `NAME` of each module in `architectures`."""
    return sorted(_import(module.name).NAME for module in pkgutil.iter_modules(architectures.__path__))


def get_network(configuration):
    """The module of the configured network.

    Args:
      configuration: Configuration; `Network` is used.
    Raises:
      ConfigurationError: there is no such network.
    """
    name = configuration["Network"]
    files = {module.name for module in pkgutil.iter_modules(architectures.__path__)}
    # Looked up before the import: a package that the import itself lacks is another error.
    if name.lower() not in files or name != _import(name.lower()).NAME:
        raise ConfigurationError(f"Network is {name}; there are: {', '.join(network_names())}")
    return _import(name.lower())


def _import(file):
    return importlib.import_module(f"{architectures.__name__}.{file}")


def trained_blocks(network, scopes):
    """The blocks that `TrainableScopes` trains.

    Args:
      network: module of a network.
      scopes: "all", or the name of a block, which means it and all that follow.
    Returns:
      tuple of names from the network's BLOCKS, or None where the name is unknown.
    """
    first = network.BLOCKS[0] if scopes == "all" else scopes
    return network.BLOCKS[network.BLOCKS.index(first) :] if first in network.BLOCKS else None
