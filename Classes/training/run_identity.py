"""Decide whether a run continues the one in `LogDir`; if not, move that one to a folder of its own."""

import contextlib
import hashlib
import json
import logging
import pathlib
from typing import Any

from Classes.common import atomic_files, json_files
from Classes.common.config import Configuration
from Classes.dataset import tfrecords
from Classes.evaluation import tensorboard_events
from Classes.networks import checkpoint_files
from Classes.training import loop, sampling

# A key of these sections belongs to the identity of a run, unless it is listed below: a run with another value is
# another run.
IDENTITY_SECTIONS = ("Training", "Augmentation")
LENGTH_KEYS = ("Epochs", "Patience")
OUTPUT_KEYS = (
    "ALLGraph",
    "CompactGraph",
    "EpochsDevCloud",
    "FeatureCache",
    "FinderGraph",
    "LogDir",
    "LogEvery",
    "RunsDir",
    "RunsWithModel",
    "SaveSeconds",
)

# No key of these sections belongs to the identity. The last step of a run, calibration and freezing, is repeated every
# time, and `Precision` counts through feature_extraction.cache_key.
OTHER_SECTIONS = ("Evaluation", "Devices", "Serving", "Events")

# Of the sections Settings and Data: keys of the identity, keys that count through the hash of the manifest or of the
# weights, and keys that change no weights.
IDENTITY_KEYS = ("NumClasses", "RandomSeed", "SampleBits")
HASHED_KEYS = (
    "AllowDatasetBias",
    "Classes",
    "DatasetDir",
    "DatasetPreset",
    "ExistingSplit",
    "GroupPattern",
    "ImageDir",
    "MaxPixels",
    "MaxSide",
    "NetworkPath",
    "Shards",
    "TestImagePath",
    "TFRecordFile",
    "ValidationSize",
    "ValidIType",
)
NEUTRAL_KEYS = (
    "AuditImages",
    "Condition",
    "ClassGroups",
    "Cluster",
    "CountedClasses",
    "FinderCellsDir",
    "FinderFieldsDir",
    "FinderRedCellsDir",
    "JobDir",
    "Labels",
    "Language",
    "Logs",
    "PositiveClass",
    "Processes",
    "ReportDir",
    "WhiteCellsDir",
    "Workers",
)

log = logging.getLogger("Trainer")


def identity_settings(configuration: Configuration) -> dict[str, Any]:
    """Return the values of the keys that belong to the identity of a run."""
    excluded = (*LENGTH_KEYS, *OUTPUT_KEYS)
    keys = [key for section in IDENTITY_SECTIONS for key in configuration.values[section] if key not in excluded]
    # Runs from before this key existed continue.
    if not sampling.is_balanced(configuration):
        keys.remove("Sampling")
    return {key: configuration[key] for key in (*IDENTITY_KEYS, *keys)}


def archive_other_run(
    configuration: Configuration, manifest: tfrecords.Manifest, folder: pathlib.Path, weights_hash: str
) -> str:
    """Move the checkpoints of another run out of `LogDir` and return the identity of this one.

    A checkpoint that was trained on other images could have seen the validation images, and a last layer does not fit
    the features of another backbone.

    Args:
      configuration: Configuration.
      manifest: of the shards.
      folder: LogDir.
      weights_hash: of the initial weights, or of everything that the features depend on.
    Returns:
      SHA-256 of the data, the initial weights and the settings.
    """
    settings = {"manifest": manifest.sha256, "foundation": weights_hash, **identity_settings(configuration)}
    identity = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    try:
        saved = json_files.read_json(folder / "run.json").get("identity")
    except (OSError, ValueError, AttributeError):
        saved = None
    staging = folder.with_name(f".{folder.name}-moving")
    # The staging folder is left over if an earlier run was killed while it moved files; then the rest has to follow.
    if staging.exists() or (saved != identity and checkpoint_files.saved_steps(folder)):
        archive = _archive(folder, staging)
        log.info("%s contains a run on other data or with other settings; it was moved to %s.", folder, archive)
    return identity


def _archive(folder: pathlib.Path, staging: pathlib.Path) -> pathlib.Path:
    """Move the files of a run to the next free `LogDir`-N and return that folder; other files stay in `LogDir`."""
    staging.mkdir(exist_ok=True)
    for path in _run_files(folder):
        target = staging / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        atomic_files.move_into_place(path, target)
    with contextlib.suppress(OSError):
        (folder / loop.BEST).rmdir()
    number = 1
    while (archive := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return staging.rename(archive)


def _run_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the files that Trainer.py writes into `LogDir`."""
    best = checkpoint_files.checkpoint_files(folder / loop.BEST)
    events = tensorboard_events.event_files(folder)
    files = [folder / "run.json", *checkpoint_files.checkpoint_files(folder), *best, *events]
    return [path for path in files if path.is_file()]
