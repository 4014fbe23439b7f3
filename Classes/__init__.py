"""Helper package behind the six entry scripts.

common < imaging < dataset < networks < training is the path of an image into a model; common < imaging < inference <
serving is the path of an image to a result. evaluation and export lie between them; client needs only common.
"""

import sys

# OpenVINO and NNCF report each import over the network, from a process that they fork in a thread: a forked copy of a
# program with several threads may wait forever. Without this package both use a stub that sends nothing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
