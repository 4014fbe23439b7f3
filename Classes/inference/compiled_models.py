"""The folders in which OpenVINO keeps compiled models, so that the next start is fast."""

import logging
import os
import pathlib
import re
import shutil

from Classes.common.errors import system_reason
from Classes.inference.model_card import ModelCard

# Number of models whose compiled form is kept, and the extensions of its files.
MAX_CACHED_MODELS = 8


COMPILED_EXTENSIONS = {".blob", ".cl_cache"}

log = logging.getLogger("OpenVINO")


def compiled_model_folder(cache: pathlib.Path | None, card: ModelCard) -> pathlib.Path | None:
    """Return the folder for a model's compiled form, and delete all but the last used; None if it is not writable."""
    if cache is None:
        return None
    folder = cache / card.graph_sha256[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        ours = [each for each in cache.iterdir() if re.fullmatch("[0-9a-f]{16}", each.name) and _is_ours(each)]
        # Another process may remove the same folder at the same time.
        for other in sorted(ours, key=_used, reverse=True)[MAX_CACHED_MODELS:]:
            shutil.rmtree(other, ignore_errors=True)
    except OSError as error:
        log.warning("%s: %s; the model is compiled again at every start", folder, system_reason(error))
        return None
    return folder


def _is_ours(folder: pathlib.Path) -> bool:
    """Return whether a folder contains only what OpenVINO compiled."""
    return (
        folder.is_dir()
        and not folder.is_symlink()
        and all(each.suffix in COMPILED_EXTENSIONS for each in folder.iterdir())
    )


def _used(folder: pathlib.Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0
