"""Pieces of a program in an interpreter of their own, for what cannot be tried inside the test's."""

import subprocess
import sys

from Classes.Helpers import PROJECT


def python(script, arguments=(), **options):
    """Run `script` with the project importable; returns subprocess.CompletedProcess with texts."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, **options)
