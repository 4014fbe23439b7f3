"""The history of a training, read back from its TensorBoard events."""

import logging

# How the names of Validation.py's events end: both scripts may write into one folder.
VALIDATION = ".validation"

TAGS = (
    "Training_losses/Total_Loss",
    "Training_Accuracy",
    "Validation_losses/Total_Loss",
    "Validation_Accuracy",
    "Learning_Rate",
)


def files(folder, validation=False):
    """The files of TensorBoard events in a folder, by name: those of Trainer.py, or of Validation.py."""
    found = sorted(folder.glob("events.out.tfevents.*"))
    return [path for path in found if path.name.endswith(VALIDATION) == validation]


def read_scalars(folder):
    """Every scalar of a run, of all its parts where it was resumed.

    Args:
      folder: LogDir.
    Returns:
      {tag: [(step, value)]} of those TAGS that are there, by step; what a resumed part repeats counts once.
    """
    from tensorboard.backend.event_processing import event_file_loader
    from tensorboard.util import tensor_util

    found = {}
    for path in sorted(files(folder), key=lambda each: each.stat().st_mtime):
        try:
            for event in event_file_loader.EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.tag in TAGS:
                        number = float(tensor_util.make_ndarray(value.tensor))
                        found.setdefault(value.tag, {})[event.step] = number
        except Exception as error:  # a cut file ends in whatever its reader stumbles over
            logging.getLogger("Validation").warning("%s: not whole (%s); the curves end there", path, error)
    return {tag: sorted(points.items()) for tag, points in found.items()}
