"""Fetch Keras's ImageNet weights of Inception V3 into Model/Pretrained.

.venv/bin/python -m Classes.Fetch

Without a network it says so in one line and leaves with 0, since everything runs without these weights too.
"""

import contextlib
import hashlib
import io
import os
import pathlib
import socket
import sys
import tempfile

from Classes import Entry, Files

FOLDER = Entry.PROJECT / "Model" / "Pretrained"

# The weights without the last layer; the MD5 is the one in Keras's own applications/inception_v3.py.
NAME = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/" + NAME
MD5 = "bcbd6486424b2319ff4ef7d526e38f63"

# Without an answer for so long there is no network; a slow one may take as long as it needs.
TIMEOUT = 15


def main() -> int:
    """Fetch the weights unless they are there; the exit code is 0 either way."""
    path = FOLDER / NAME
    if path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == MD5:
        return 0
    if not path.exists() and _others():
        return 0
    try:
        _fetch(path)
    except Exception as error:  # Keras wraps whatever went wrong on the way in a plain Exception
        reason = str(error).splitlines()[-1][:160]
        print(f"Pretrained weights could not be fetched, going on without them ({reason}).")
        return 0
    print(f"Fetched {path}.")
    return 0


def _others():
    """Whether the user has put weights of their own there."""
    return [entry for entry in FOLDER.glob("*") if not entry.name.startswith(".")]


def _fetch(path):
    FOLDER.mkdir(parents=True, exist_ok=True)
    Entry.import_tensorflow()
    import keras

    socket.setdefaulttimeout(TIMEOUT)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=FOLDER) as folder:
        # Keras draws a progress bar of thousands of lines where the output is no terminal.
        output = contextlib.nullcontext() if sys.stdout.isatty() else contextlib.redirect_stdout(io.StringIO())
        with output:
            fetched = keras.utils.get_file(NAME, ADDRESS, file_hash=MD5, cache_dir=folder, cache_subdir=".")
        Files.flush(fetched)
        pathlib.Path(fetched).replace(path)


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    sys.exit(Entry.run(main, Entry.TRAINING))
