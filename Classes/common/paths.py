"""Where the project lies on disk."""

import pathlib

PROJECT = pathlib.Path(__file__).resolve().parents[2]
