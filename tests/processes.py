"""Pieces of a program in an interpreter of their own, for what cannot be tried inside the test's."""

import subprocess
import sys

from Classes.Helpers import PROJECT


def python(script, **options):
    """Run `script` with the project importable; returns subprocess.CompletedProcess with texts."""
    return subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, **options)
