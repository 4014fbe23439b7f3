"""A mosquitto of the tests' own on a free port, and a listener on it."""

import contextlib
import pathlib
import queue
import shutil
import signal
import socket
import subprocess

import pytest
from paho.mqtt import client as mqtt

from tests.support import waiting

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

needed = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def running(folder, port, *lines):
    """A broker with a configuration of its own; up when the block begins, stopped when it ends."""
    configuration = pathlib.Path(folder) / f"mosquitto-{port}.conf"
    configuration.write_text("\n".join([f"listener {port} 127.0.0.1", *(lines or ["allow_anonymous true"])]) + "\n")
    # It would give up root's rights, and then not read its files under the tests' folder.
    configuration.write_text("user root\n" + configuration.read_text())
    with subprocess.Popen([PROGRAM, "-c", configuration], stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield process
        finally:
            process.terminate()
            # One that a test has stopped would never come to its end.
            process.send_signal(signal.SIGCONT)


def _wait_for(port, process):
    def listens():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), waiting.LIMIT):
            return True

    waiting.until(listens, "mosquitto listening", ended=lambda: process.poll() is not None)


@contextlib.contextmanager
def listening(port, topic, context=None, user=None, password=None):
    """Yields a queue.Queue of (topic, payload bytes, qos) that arrive."""
    arrived, ready = queue.Queue(), queue.Queue()
    # A session that outlives the connection: what comes while this listener is away waits for it at the broker.
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "listener", clean_session=False)
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.put(True)
    client.on_message = lambda _, __, message: arrived.put((message.topic, message.payload, message.qos))
    if context is not None:
        client.tls_set_context(context)
    if user is not None:
        client.username_pw_set(user, password)
    client.connect("localhost", port)
    client.loop_start()
    try:
        ready.get(timeout=waiting.LIMIT)
        yield arrived
    finally:
        client.disconnect()
        client.loop_stop()
