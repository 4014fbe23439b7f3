"""Decode images as units of work: what a record needs of each image, as JSON."""

import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import PIL.Image
import PIL.ImageStat

from Classes.common import parallel, provenance
from Classes.common.errors import ImageError, system_reason
from Classes.dataset import crop_descriptors, descriptor_store, perceptual_hash
from Classes.imaging import color_stats, content_check, decode, network_input
from Classes.jobs.items import Item

# Shorter side in pixels of the reduced copy that color statistics and descriptors are computed from.
THUMBNAIL_SIDE = 128


class DecodeTask:
    """Decodes each image once, in full.

    Args:
      settings: {"limits": [of decode.DecodeLimits], "audit": whether to measure what only the audit needs, "workers":
        configuration key `Workers`}.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._limits = decode.DecodeLimits(*settings["limits"])
        self._audit = settings["audit"]
        self._workers = settings["workers"] or len(os.sched_getaffinity(0))

    def open(self) -> None:
        """Nothing has to be loaded."""

    def run(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Return {"sha256", "size", "format", …} of each image, or {"reason"} why it cannot be used.

        Raises:
          OSError: a file of the test folder cannot be read, so it is unknown what has to be held out.
        """
        return list(parallel.map_threads(self._read, ((item.data,) for item in items), self._workers))

    def close(self) -> None:
        """Nothing was loaded."""

    def _read(self, about: Mapping[str, Any]) -> dict[str, Any]:
        path, name = pathlib.Path(about["path"]), about["file"]
        if about.get("test"):
            # Any file may be there, also one that is too large for the memory.
            found = {"sha256": provenance.sha256_file(path), "size": path.stat().st_size}
            return self._described(found, path, None)
        try:
            data = path.read_bytes()
        except OSError as error:
            return {"reason": f"{name}: {system_reason(error)}"}
        return self._described({"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}, data, name)

    def _described(self, found: dict[str, Any], source: bytes | pathlib.Path, name: str | None) -> dict[str, Any]:
        try:
            info, image = decode.decode_thumbnail(source, THUMBNAIL_SIDE, self._limits, name=name)
            found |= {"format": info.format, "width": info.width, "height": info.height}
            # All blank images would match each other.
            content_check.require_content(network_input.center_crop_resize(image, THUMBNAIL_SIDE), name or "image")
        except ImageError as error:
            return {**found, "reason": str(error)}
        background = color_stats.background_color(image)
        found["background"] = background and [int(each) for each in background]
        found["fingerprint"] = descriptor_store.encode(perceptual_hash.descriptor(image))
        found["crops"] = descriptor_store.encode(crop_descriptors.describe(image))
        if self._audit:
            found |= _audited(source if isinstance(source, bytes) else source.read_bytes(), image, background)
        return found


def _audited(content: bytes, image: numpy.ndarray, background: Any) -> dict[str, Any]:
    mode, metadata = decode.metadata(content)
    return {
        "mode": mode,
        "metadata": [float(each) for each in (*metadata, len(mode))],
        "means": [float(each) for each in PIL.ImageStat.Stat(PIL.Image.fromarray(image)).mean],
        "colors": [float(each) for each in color_stats.color_features(image, background)],
    }
