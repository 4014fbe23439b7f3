"""Download Keras's ImageNet weights of Inception V3 into Model/Pretrained.

.venv/bin/python -m Classes.networks.download_weights

Downloads nothing if the folder contains weights or Pretrained names some. The exit code is 1 if training will start
from random weights: the download failed, which one line explains, or Pretrained is none.
"""

import hashlib
import pathlib
import sys

import requests

from Classes import Helpers
from Classes.common import atomic_files, cli, locks, terminal
from Classes.common.errors import error_reason, root_cause
from Classes.common.translation import gettext as _

WEIGHTS_FOLDER = "Model/Pretrained"

# The weights without the last layer. Keras publishes this MD5 with the address, and no other checksum.
WEIGHTS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/" + WEIGHTS_FILE
MD5 = "bcbd6486424b2319ff4ef7d526e38f63"

# Seconds without an answer or without new data; the whole download may take as long as it needs.
TIMEOUT = 15
BLOCK_BYTES = 1 << 20


def main() -> int:
    """Download the weights for the configuration in force; return the exit code."""
    configuration = Helpers.load_config()
    if configuration["Pretrained"]:
        return int(configuration["Pretrained"] == "none")
    return download_weights(configuration.root / WEIGHTS_FOLDER)


def download_weights(folder: pathlib.Path) -> int:
    """Download the weights into `folder`, complete and checked, or not at all.

    Returns:
      0 if the folder contains weights now, else 1.
    """
    path = folder / WEIGHTS_FILE
    others = [entry for entry in folder.glob("*") if not entry.name.startswith(".") and entry != path]
    if (path.is_file() and checksum_ok(path)) or (others and not path.exists()):
        return 0
    try:
        with locks.folder_lock(folder), atomic_files.atomic_replace(path) as temporary:
            _download(temporary)
    # requests raises its own subclasses of OSError; atomic_files and _download raise OSError and ValueError.
    except (OSError, ValueError) as error:
        damaged = f" Remove {path}, it is damaged." if path.exists() else ""
        text = f"The pretrained weights could not be downloaded ({_reason(error)}); continuing without them.{damaged}"
        terminal.print_lines([text])
        return 1
    print(f"Downloaded the pretrained weights: {path}")
    return 0


def checksum_ok(path: pathlib.Path) -> bool:
    """Whether a file has the checksum that Keras publishes."""
    with open(path, "rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest() == MD5


def _download(path: pathlib.Path) -> None:
    with requests.get(WEIGHTS_URL, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        size = int(response.headers.get("Content-Length", 0))
        with open(path, "wb") as file, Helpers.progress(total=size or None, unit="B", desc=_("Weights")) as bar:
            for block in response.iter_content(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
    if not checksum_ok(path):
        raise ValueError("the file arrived incomplete or damaged")


def _reason(error: Exception) -> str:
    """Return why there was no download, as one line."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code} {error.response.reason or ''}".strip()
    if isinstance(error, requests.Timeout):
        return "timed out"
    return error_reason(root_cause(error)).partition("\n")[0]


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.CLIENT))
