"""Load the configuration and start the log. The code is in common/config.py and common/logs.py."""

from Classes.common.config import CONFIGURATION, CORES, Configuration, load_config
from Classes.common.config_schema import SCHEMA
from Classes.common.logs import DEBUG_LOGGERS, progress, start_log
from Classes.common.paths import PROJECT
from Classes.common.translation import Message

__all__ = [
    "CONFIGURATION",
    "CORES",
    "DEBUG_LOGGERS",
    "DISCLAIMER",
    "PROJECT",
    "SCHEMA",
    "SYNTHETIC",
    "Configuration",
    "load_config",
    "progress",
    "start_log",
]

DISCLAIMER = Message("Research use only: a result of this program is not a diagnosis and does not replace one.")
SYNTHETIC = Message("This model was trained on synthetic smears: its results say nothing about real cells.")
