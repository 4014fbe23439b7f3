"""The precision in which this machine's CPU computes, kept in `CacheDir`: a run need not load OpenVINO to know it."""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import re

from Classes.common import json_files

FILE_NAME = "Precision.json"

# Precisions of the CPU, and the number of machines that are kept: they may share the folder.
PRECISIONS, MAX_ENTRIES = ("f32", "bf16"), 64

# What Linux says of each core, and the lines of it that say what the core can do.
CORES, LINES = (
    pathlib.Path("/proc/cpuinfo"),
    r"^(?:vendor_id|cpu family|model|model name|stepping|flags|Features|CPU \w+)\s*:.*",
)

# Environment variables that hide instructions from oneDNN, which computes for OpenVINO.
VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def find_precision(cache: pathlib.Path) -> str:
    """Return the precision that AUTO means on the CPU, "f32" or "bf16".

    Args:
      cache: folder of what was found before.
    """
    identity = _describe_machine()
    kept = _read(cache / FILE_NAME) if identity else {}
    if identity in kept:
        return kept[identity]
    # Imported late: OpenVINO takes 0.1 to 0.3 s.
    from Classes.inference import openvino_devices

    found = openvino_devices.cpu_precision("AUTO")
    if identity:
        _write(cache / FILE_NAME, {**kept, identity: found})
    return found


def _describe_machine() -> str:
    """Return a text that changes with everything that the precision depends on; "" if that is not known."""
    try:
        with CORES.open(encoding="utf-8", errors="replace") as file:
            # The cores are alike, and a large machine has a long file.
            first = file.read(1 << 14).partition("\n\n")[0]
    except OSError:
        return ""
    found = re.findall(LINES, first, re.MULTILINE)
    variables = [os.environ.get(name) for name in VARIABLES]
    try:
        version = importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        # Not installed by pip, but from an archive for instance.
        return ""
    text = json.dumps([found, variables, version])
    return hashlib.sha256(text.encode()).hexdigest() if found else ""


def _read(path: pathlib.Path) -> dict[str, str]:
    """Return {machine: precision}; what is damaged is left out, and found again."""
    try:
        kept = json_files.read_json(path)
    except (OSError, ValueError):
        return {}
    entries = kept.items() if isinstance(kept, dict) else ()
    return {machine: found for machine, found in entries if found in PRECISIONS}


def _write(path: pathlib.Path, kept: dict[str, str]) -> None:
    # Without the file, the next run takes longer, and nothing else.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        json_files.write_json(path, dict(list(kept.items())[-MAX_ENTRIES:]))
    except OSError:
        pass
