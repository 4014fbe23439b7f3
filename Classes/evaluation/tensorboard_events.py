"""Read the history of a training from its TensorBoard events."""

import logging
import pathlib

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
    """Return the event files in a folder by name: those of Validation.py, or of Trainer.py."""
    paths = sorted(folder.glob("events.out.tfevents.*"))
    return [path for path in paths if path.name.endswith(VALIDATION) == validation]


def read_scalars(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Return {tag: [(step, value)]} of the TAGS of a training, by step.

    If a training was resumed, the values of the later part replace those of the same steps.
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
            logging.getLogger("Validation").warning("%s: damaged (%s). Its curves are incomplete.", path, error)
        for tag in set(TAGS) & set(events.Tags()[event_accumulator.TENSORS]):
            for event in events.Tensors(tag):
                scalars.setdefault(tag, {})[event.step] = float(tensor_util.make_ndarray(event.tensor_proto))
    return {tag: sorted(values.items()) for tag, values in scalars.items()}
