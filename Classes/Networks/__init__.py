"""The networks that can be trained: one module each, found by its name; docs/networks.md says what it holds."""

import importlib
import pkgutil

from Classes.Errors import ConfigurationError


def names():
    """What the key `Network` may be: the names of this package's modules."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def of(configuration):
    """The module of the configured network.

    Args:
      configuration: Configuration; `Network` is used.
    Raises:
      ConfigurationError: there is no such network.
    """
    name = configuration["Network"]
    # Asked by name first: what the import itself may be lacking is another error.
    if name not in names():
        raise ConfigurationError(f"Network is {name}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


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
