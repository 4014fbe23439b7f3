"""TensorBoard events: read the history of a training, and write the metrics of a validation."""

import collections.abc
import logging
import pathlib
import time

from Classes.common.errors import error_reason

# Suffix of the event files of Validation.py, which may share a folder with those of Trainer.py.
VALIDATION = ".validation"

TAGS = (
    "Training_losses/Total_Loss",
    "Training_Accuracy",
    "Validation_losses/Total_Loss",
    "Validation_Accuracy",
    "Learning_Rate",
)


def event_files(folder: pathlib.Path, validation: bool = False) -> list[pathlib.Path]:
    """Return the event files of Validation.py, or of Trainer.py, in a folder, by name."""
    paths = sorted(folder.glob("events.out.tfevents.*"))
    return [path for path in paths if path.name.endswith(VALIDATION) == validation]


def read_scalars(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Return {tag: [(step, value)]} of the TAGS of a training, by step.

    If a training was resumed, the values of the later part replace the earlier values of the same steps.
    """
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    scalars: dict[str, dict[int, float]] = {}
    for path in sorted(event_files(folder), key=lambda each: each.stat().st_mtime):
        # A size of 0 keeps every event.
        events = event_accumulator.EventAccumulator(str(path), size_guidance={event_accumulator.TENSORS: 0})
        try:
            events.Reload()
        except Exception as error:  # the reader raises many kinds of errors for a truncated file
            logging.getLogger("Validation").warning(
                "%s: damaged (%s). Its curves are incomplete.", path, error_reason(error)
            )
        for tag in set(TAGS) & set(events.Tags()[event_accumulator.TENSORS]):
            for event in events.Tensors(tag):
                scalars.setdefault(tag, {})[event.step] = float(tensor_util.make_ndarray(event.tensor_proto))
    return {tag: sorted(values.items()) for tag, values in scalars.items()}


def archive_validation_events(folder: pathlib.Path) -> None:
    """Move the events of earlier runs into their own folders, so that TensorBoard shows each run as its own curve."""
    for path in event_files(folder, validation=True):
        ended = time.strftime("%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))
        (folder / ended).mkdir(exist_ok=True)
        path.replace(folder / ended / path.name)


class ValidationWriter:
    """Writes scalars of one run of Validation.py for TensorBoard."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def __enter__(self) -> "ValidationWriter":
        import tensorflow as tf

        self._scalar = tf.summary.scalar
        self._writer = tf.summary.create_file_writer(str(self._folder), filename_suffix=VALIDATION)
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, step: int, values: collections.abc.Mapping[str, float]) -> None:
        """Write {tag: value} at a step."""
        with self._writer.as_default(step):
            for name, value in values.items():
                self._scalar(name, value)
