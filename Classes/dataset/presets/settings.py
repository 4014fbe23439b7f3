"""Settings that follow from the data set: its classes, what they mean, and where its images are."""

from typing import Any

from Classes.common import config_schema, json_files
from Classes.common.config import Configuration
from Classes.dataset import manifest_rows, tfrecords


def adopt(configuration: Configuration, settings: dict[str, Any]) -> Configuration:
    """Return a configuration with the settings of a data set. A key that the user has changed keeps its value."""
    known = config_schema.keys()
    changed = {
        key: value
        for key, value in settings.items()
        if key in known and configuration[key] == known[key].rule["default"]
    }
    return configuration.replace(**changed) if changed else configuration


def adopt_from_manifest(configuration: Configuration) -> Configuration:
    """Return a configuration with the settings of the data set of which DatasetDir holds the shards.

    Data.py keeps them in the manifest, so that nobody has to repeat them for Trainer.py and Validation.py. A missing or
    damaged manifest changes nothing here; whoever reads the shards reports it.
    """
    try:
        manifest = json_files.read_json(tfrecords.manifest_path(configuration), manifest_rows.pack_row)
        data_set = manifest.get("data_set") or {}
        return adopt(configuration, data_set.get("settings", {}))
    except (OSError, ValueError, TypeError, AttributeError):
        return configuration
