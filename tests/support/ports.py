"""Ports for programs that must know theirs before they start; where a program can choose by itself, it gets port 0."""

import itertools
import os
import pathlib
import random
import socket

# The system gives ports of this range to outgoing connections and to whoever asks for port 0, perhaps between the
# choice of a port here and its use.
SYSTEM_RANGE = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")


def _candidates():
    """Yield ports outside the system's range, in each process of a run other ones."""
    try:
        first = int(SYSTEM_RANGE.read_text().split()[0])
    except (OSError, ValueError):
        first = 32768
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = range(10_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), first, count)
    # Two runs on one machine begin at different places.
    start = random.SystemRandom().randrange(len(own)) if own else 0
    yield from itertools.cycle([*own[start:], *own[:start]] or [0])


_ports = _candidates()


def free_port():
    """Return a port of 127.0.0.1 that nobody uses, and that this process returns to no other test."""
    for port in itertools.islice(_ports, 1000):
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return found.getsockname()[1]
    raise AssertionError("no port is free")
