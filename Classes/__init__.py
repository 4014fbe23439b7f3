"""The helper package behind the six entry scripts; each module is one room, see the README's picture."""
