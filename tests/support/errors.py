"""Expected errors, checked by their stable code."""

import pytest


def raises(kind, code):
    """`pytest.raises` for an ALLError with a code."""
    return pytest.raises(kind, check=lambda error: error.code == code)
