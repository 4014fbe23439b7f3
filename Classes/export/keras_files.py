"""The files of published Keras weights, and the classes of their outputs, without loading either."""

import pathlib

from Classes.common import class_scheme
from Classes.common.config import Configuration
from Classes.common.errors import CheckpointError, ConfigurationError
from Classes.common.translation import Message

WEIGHTS_FILE, MODEL_FILE = "weights.h5", "model.json"


def find_weights(source: str | pathlib.Path) -> pathlib.Path:
    """Return the file of the weights in a folder.

    Raises:
      CheckpointError: `weights_missing`.
    """
    weights = pathlib.Path(source) / WEIGHTS_FILE
    if not weights.is_file():
        raise CheckpointError(
            Message(
                "{weights}: missing. Name the folder with {weights_file} and {model_file}.",
                weights=weights,
                weights_file=WEIGHTS_FILE,
                model_file=MODEL_FILE,
            ),
            "weights_missing",
        )
    return weights


def class_names(configuration: Configuration) -> list[str]:
    """Return the class names of the data folder, or else the numbers of the outputs.

    Raises:
      ConfigurationError: `classes_file`, or `class_names` if they do not match `NumClasses` and `PositiveClass`.
    """
    file = configuration.path("DatasetDir") / configuration["Classes"]
    try:
        found = file.read_text(encoding="utf-8").splitlines() if file.is_file() else None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            Message("{file}: damaged, not UTF-8 ({reason}). Run python3 Data.py.", file=file, reason=error.reason),
            "classes_file",
        ) from error
    names = found or [str(number) for number in range(configuration["NumClasses"])]
    positive = class_scheme.configured_positive(configuration)
    if not configuration.accepts_class_count(len(names)) or not positive or not set(positive) <= set(names):
        raise ConfigurationError(
            Message(
                "NumClasses is {number} and PositiveClass {positive}, but the classes are {names}.",
                number=configuration["NumClasses"],
                positive=repr(class_scheme.format_names(positive)),
                names=", ".join(names),
            ),
            "class_names",
        )
    class_scheme.from_configuration(configuration, names)
    return names
