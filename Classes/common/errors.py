"""The exceptions that a user's files, values and devices can cause.

A message states what happened, with which file or value, and what to do. An entry script prints it as one line and
exits non-zero; the server returns it as JSON. Any other exception is a defect of the toolkit.
"""

import unicodedata
from typing import Any

from Classes.common.translation import Message, text_of

# They reverse the order of the text that follows, so that one name looks like another.
BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class ALLError(Exception):
    """Base class.

    Args:
      message: what happened, with which file or value, and what to do. A `Message` is English for programs and logs,
        and translated for the person at the terminal.
      code: a stable identifier that tests and clients rely on, so that messages can improve; by default the code of the
        class.
    Attributes:
      exit_code: exit code of an entry script.
    """

    exit_code = 1
    code = "error"

    def __init__(self, message: str, code: str | None = None):
        super().__init__(message)
        self.code = code or type(self).code


class ConfigurationError(ALLError):
    """A wrong key, type or value in the configuration or on the command line; a retry does not help."""

    exit_code = 2
    code = "configuration"


class ImageError(ALLError):
    """Bytes that are not a readable image within the limits; other images are not affected."""

    code = "damaged_image"


class UnsupportedImageError(ImageError):
    """Bytes that are not an image, or an image in an unsupported format."""

    code = "not_an_image"


class ImageSizeError(ImageError):
    """An image with more pixels, or a longer side, than allowed."""

    code = "image_too_large"


class DataError(ALLError):
    """A problem with the data folder, its groups, shards or manifest."""

    code = "data"


class CheckpointError(ALLError):
    """Pretrained weights or a checkpoint that cannot be read or do not fit the network."""

    code = "checkpoint"


class TrainingError(ALLError):
    """Training that cannot continue, for example because the loss is NaN."""

    code = "training"


class GraphError(ALLError):
    """A frozen graph or model card that is missing, damaged, or does not match its checkpoint."""

    code = "graph"


class EngineError(ALLError):
    """A missing device, or output from a device that is not a valid probability and must not become a result."""

    code = "engine_failed"


def escape_control_chars(text: object) -> str:
    """Return a text with every character that could break or forge a line, or cannot be written, as its number."""
    text = str(text)
    # All of these characters are unprintable, and looking at each one takes most of the time of a log line.
    return text if text.isprintable() else "".join(map(_escape, text))


# Reasons of the operating system that are translated; any other one is shown as the system writes it.
SYSTEM_REASONS = (
    Message("No such file or directory"),
    Message("Permission denied"),
    Message("Operation not permitted"),
    Message("Is a directory"),
    Message("Not a directory"),
    Message("File exists"),
    Message("File name too long"),
    Message("No space left on device"),
    Message("Disk quota exceeded"),
    Message("Read-only file system"),
    Message("Input/output error"),
    Message("Too many open files"),
    Message("Cannot allocate memory"),
    Message("Address already in use"),
    Message("Cannot assign requested address"),
    Message("Connection refused"),
)


def system_reason(error: OSError) -> Message:
    """Return why the operating system refused something, such as "No such file or directory"."""
    return Message(error.strerror or str(error))


def error_reason(error: BaseException) -> str:
    """Return why a file cannot be used, for a message that names the file.

    It is the operating system's reason without number and path, or the text of another error, whose kind is added if
    the text alone would say little.
    """
    if isinstance(error, OSError):
        return system_reason(error)
    text, kind = text_of(error), type(error).__name__
    if not text:
        return kind
    return text if isinstance(error, (ALLError, ValueError)) else f"{kind}: {text}"


def root_cause(error: BaseException) -> BaseException:
    """Return the first error of a chain; libraries wrap it in others that describe their objects."""
    while following := error.__cause__ or error.__context__:
        error = following
    return error


def tf_error_reason(error: Any) -> str:
    """Return the operating system's reason why TensorFlow could not read or write.

    Args:
      error: tf.errors.OpError; its message begins with names, often of a temporary folder.
    """
    return error.message.rpartition("; ")[2].partition(" [Op:")[0].partition("\n")[0] or type(error).__name__


def _escape(character: str) -> str:
    # Control characters, line and paragraph separators, and surrogates: bytes of a name that is not UTF-8.
    if character != "\t" and (
        unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") or character in BIDI_CONTROLS
    ):
        code = ord(character)
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return character
