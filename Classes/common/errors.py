"""The one exception tree: whatever a user's file, value or device can cause.

Every message says what happened, with which file or value, and what to do. An entry script prints it as one
line and exits non-zero; the service answers it as JSON. Anything outside this tree is a defect of ours.
"""

import unicodedata

# They turn the order of what follows them around, so that a name looks like another.
BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class ALLError(Exception):
    """Root of the tree.

    Args:
      message: what happened, with which file or value, and what to do.
      code: a stable identifier that tests and callers rely on, so that the message is free to improve; the class's
        own unless a caller has to distinguish one cause from the others.
    Attributes:
      exit_code: what an entry script exits with.
    """

    exit_code = 1
    code = "error"

    def __init__(self, message, code=None):
        super().__init__(message)
        self.code = code or type(self).code


class ConfigurationError(ALLError):
    """A key, a type or a value in the configuration or on the command line; trying again changes nothing."""

    exit_code = 2
    code = "configuration"


class ImageError(ALLError):
    """Bytes that are not one readable image within the limits; other images are not affected."""

    code = "damaged_image"


class UnsupportedImageError(ImageError):
    """Bytes that are no image at all, or one of a kind that is not read."""

    code = "not_an_image"


class ImageSizeError(ImageError):
    """An image of more pixels, or a longer side, than are allowed."""

    code = "image_too_large"


class DataError(ALLError):
    """The data folder, its groups, shards or manifest."""

    code = "data"


class CheckpointError(ALLError):
    """Pretrained weights or a checkpoint that cannot be read or does not fit the network."""

    code = "checkpoint"


class TrainingError(ALLError):
    """Training that cannot go on, such as a loss that is no number."""

    code = "training"


class GraphError(ALLError):
    """A frozen graph or model card that is missing, damaged, or does not agree with its checkpoint."""

    code = "graph"


class EngineError(ALLError):
    """A device that is not there, or an answer from it that is no probability; never shown as a verdict."""

    code = "engine_failed"


def escape_control_chars(text):
    """`text` with every character that could break or forge a line, or not be written at all, as its number."""
    return "".join(_escape(character) for character in str(text))


def tf_error_reason(error):
    """Why TensorFlow could not read or write, as the system says it.

    Args:
      error: tf.errors.OpError; its message begins with names, often of a folder of ours for the time being.
    """
    return error.message.rpartition("; ")[2].partition(" [Op:")[0].partition("\n")[0] or type(error).__name__


def _escape(character):
    # Control characters, line and paragraph separators, and halves of a character: bytes of a name that is no UTF-8.
    if character != "\t" and (
        unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") or character in BIDI_CONTROLS
    ):
        code = ord(character)
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return character
