"""The helper package behind the six entry scripts; each module is one room, see the README's picture."""

import sys

# OpenVINO would report each of its imports to a statistics service on the network, from a forked child that holds our
# sockets too. Without the package that does so it keeps still; NNCF as well.
sys.modules.setdefault("openvino_telemetry", None)
