"""Fetch Keras's ImageNet weights of Inception V3 into Model/Pretrained.

.venv/bin/python -m Classes.networks.download_weights

Nothing is fetched where weights are already, or where Pretrained names others. The exit code is 1 where training will
start from random values: the weights could not be fetched, which is said in one line, or Pretrained is none.
"""

import contextlib
import hashlib
import io
import socket
import sys

from Classes.common import atomic_files, cli

WEIGHTS_FOLDER = "Model/Pretrained"

# The weights without the last layer. Keras publishes this MD5 beside the address, and no other sum.
WEIGHTS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/" + WEIGHTS_FILE
MD5 = "bcbd6486424b2319ff4ef7d526e38f63"

# Silence for so long counts as no network; the whole may take as long as it needs.
TIMEOUT = 15


def main() -> int:
    """Fetch the weights for the configuration in force."""
    from Classes import Helpers

    configuration = Helpers.load_config()
    if configuration["Pretrained"]:
        return int(configuration["Pretrained"] == "none")
    return download_weights(configuration.root / WEIGHTS_FOLDER)


def download_weights(folder):
    """Bring the weights into `folder`, whole and checked, or not at all.

    Args:
      folder: pathlib.Path.
    Returns:
      0 where weights are there now, else 1.
    """
    path = folder / WEIGHTS_FILE
    others = [entry for entry in folder.glob("*") if not entry.name.startswith(".") and entry != path]
    if (path.is_file() and checksum_ok(path)) or (others and not path.exists()):
        return 0
    try:
        with atomic_files.folder_lock(folder), atomic_files.atomic_replace(path) as temporary:
            _download(temporary)
    except Exception as error:  # Keras wraps what went wrong on the way in a plain Exception
        reason = str(error).rpartition(" -- ")[2].strip().partition("\n")[0] or "no reason was given"
        damaged = f"; remove {path}, it is damaged" if path.exists() else ""
        print(f"The pretrained weights could not be fetched ({reason}); going on without them{damaged}.")
        return 1
    print(f"Fetched the pretrained weights: {path}")
    return 0


def checksum_ok(path):
    """Whether a file is what Keras publishes."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == MD5


def _download(path):
    cli.import_tensorflow()
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    # Where the output is no terminal, Keras's progress bar is thousands of lines.
    quiet = contextlib.nullcontext() if sys.stdout.isatty() else contextlib.redirect_stdout(io.StringIO())
    try:
        with quiet:
            keras.utils.get_file(
                path.name, WEIGHTS_URL, file_hash=MD5, cache_dir=path.parent, cache_subdir=".", force_download=True
            )
    finally:
        socket.setdefaulttimeout(before)


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
