"""A mosquitto broker on a free port, and a subscriber."""

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


@contextlib.contextmanager
def running(folder, port, *lines):
    """Run a broker for the duration of the block."""
    configuration = pathlib.Path(folder) / f"mosquitto-{port}.conf"
    configuration.write_text("\n".join([f"listener {port} 127.0.0.1", *(lines or ["allow_anonymous true"])]) + "\n")
    # As root, mosquitto would change its user and could not read the test's files.
    configuration.write_text("user root\n" + configuration.read_text())
    with subprocess.Popen([PROGRAM, "-c", configuration], stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield process
        finally:
            process.terminate()
            # A broker paused by SIGSTOP would not terminate.
            process.send_signal(signal.SIGCONT)


def _wait_for(port, process):
    def listens():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), waiting.LIMIT):
            return True

    waiting.until(listens, "mosquitto listening", ended=lambda: process.poll() is not None)


@contextlib.contextmanager
def listening(port, topic, context=None, user=None, password=None):
    """Yield a queue.Queue of arriving (topic, payload bytes, qos)."""
    arrived, ready = queue.Queue(), queue.Queue()
    # A persistent session, so that the broker keeps messages while the subscriber is disconnected.
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
