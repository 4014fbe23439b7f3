"""One file per network; registry.py finds them by NAME. docs/networks.md describes what such a file contains."""
