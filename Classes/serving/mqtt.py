"""Verdicts to an MQTT broker, for networks that listen; a broker that is down costs an answer nothing."""

import collections
import datetime
import json
import logging
import os
import ssl
import sys
import threading

from Classes.common import secret_files
from Classes.common.errors import ConfigurationError

PASSWORD_VARIABLE = "ALL_MQTT_PASSWORD"

PLAIN_PORT, TLS_PORT = 1883, 8883

# Messages sent but not yet acknowledged.
MAX_INFLIGHT = 20

# Seconds: between two attempts to reach the broker, for one attempt, and for what still waits when the server ends.
FIRST_WAIT, LONGEST_WAIT, CONNECT_TIMEOUT, FLUSH_TIMEOUT = 1, 30, 2, 2

log = logging.getLogger("ClassifierServer")


def open_publisher(configuration, environment=os.environ):
    """What tells the network of verdicts.

    Args:
      configuration: Configuration; `MqttBroker`, `MqttPort`, `MqttTopic`, `MqttTls`, `MqttUser`, `MqttPasswordFile`
        and `MqttBuffer` are used.
      environment: mapping; ALL_MQTT_PASSWORD comes before the file.
    Returns:
      Events, or None where no broker is configured. The broker need not be there yet.
    Raises:
      ConfigurationError: a password that cannot be read, or one without a user.
    """
    if not configuration["MqttBroker"]:
        return None
    password = _password(configuration, environment)
    if password is not None and not configuration["MqttUser"]:
        raise ConfigurationError("MqttUser is empty though there is an MQTT password; set both or neither")
    return MqttPublisher(configuration, password)


class MqttPublisher:
    """A connection to a broker that is made and kept in the background.

    Args:
      configuration: Configuration.
      password: text, or None.
    """

    def __init__(self, configuration, password=None):
        self._topic = configuration["MqttTopic"]
        port = configuration["MqttPort"] or (TLS_PORT if configuration["MqttTls"] else PLAIN_PORT)
        self._broker = f"{configuration['MqttBroker']}:{port}"
        self._changed = threading.Condition()
        # A full deque lets its oldest go for the newest.
        self._waiting = collections.deque(maxlen=configuration["MqttBuffer"])
        self._underway = self._lost = 0
        self._connected = self._closing = self._told = False
        self._client = self._open(configuration, password)
        self._client.connect_async(configuration["MqttBroker"], port)
        self._client.loop_start()
        self._sender = threading.Thread(target=self._send, name="events", daemon=True)
        self._sender.start()

    def publish(self, event):
        """Tell the network of a verdict: at least once, but for what a full buffer loses. Never waits, never raises.

        Args:
          event: dict for JSON; the time is added, a heat map is left out.
        """
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        with self._changed:
            if len(self._waiting) == self._waiting.maxlen:
                if not self._lost:
                    log.warning("MQTT: %d verdicts wait for %s; from here on the oldest are lost", *self._full())
                self._lost += 1
            self._waiting.append({"time": now, **event})
            self._changed.notify_all()

    def close(self):
        """Give what waits a moment to go out where the broker is there, then hang up."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._connected or not (self._waiting or self._underway), timeout=FLUSH_TIMEOUT
            )
            self._closing = True
            left = len(self._waiting) + self._underway
            self._changed.notify_all()
        self._sender.join()
        self._client.disconnect()
        self._client.loop_stop()
        if left or self._lost:
            log.warning("MQTT: %d verdicts did not reach %s", left + self._lost, self._broker)

    def _full(self):
        return self._waiting.maxlen, self._broker

    def _open(self, configuration, password):
        # Only here: a server without a broker needs no MQTT.
        try:
            from paho.mqtt import client as mqtt
        except ImportError as error:
            raise ConfigurationError(
                f"MqttBroker needs the package paho-mqtt ({error}); install it with "
                f"{sys.executable} -m pip install paho-mqtt, or leave MqttBroker empty",
                code="package_missing",
            ) from error

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.connect_timeout = CONNECT_TIMEOUT
        client.reconnect_delay_set(FIRST_WAIT, LONGEST_WAIT)
        if configuration["MqttUser"]:
            client.username_pw_set(configuration["MqttUser"], password)
        if configuration["MqttTls"]:
            client.tls_set_context(ssl.create_default_context())
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_publish = self._on_connect_fail, self._on_publish
        return client

    def _send(self):
        """The sender's thread: hands the client what waits, never more than UNDERWAY at once."""
        while True:
            with self._changed:
                self._changed.wait_for(self._may_send)
                if self._closing:
                    return
                event = self._waiting.popleft()
                self._underway += 1
            # Outside: the client calls _on_publish with a lock of its own held, which publish wants too.
            try:
                small = {key: value for key, value in event.items() if key != "heat_map"}
                self._client.publish(self._topic, json.dumps(small), qos=1)
            except (TypeError, ValueError) as error:
                log.error("MQTT: a verdict cannot be sent (%s)", error)
                self._on_publish()

    def _may_send(self):
        return self._closing or (self._connected and self._waiting and self._underway < MAX_INFLIGHT)

    def _on_connect(self, client, userdata, flags, reason, properties):
        if reason.is_failure:
            self._tell(f"refuses the connection ({reason}); see MqttUser and MqttPasswordFile")
            return
        with self._changed:
            log.info("MQTT: connected to %s; verdicts go to %s", self._broker, self._topic)
            if self._lost:
                log.warning("MQTT: %d verdicts were lost while %s was away", self._lost, self._broker)
            self._connected, self._lost, self._told = True, 0, False
            self._changed.notify_all()

    def _on_connect_fail(self, client, userdata):
        # The client keeps why to itself, but calls this while it handles it.
        self._tell(f"cannot be reached ({sys.exc_info()[1]})")

    def _on_disconnect(self, client, userdata, flags, reason, properties):
        with self._changed:
            # What is underway the client itself sends again.
            self._connected = False
            self._changed.notify_all()
        if not self._closing:
            self._tell("is gone")

    def _on_publish(self, *_):
        with self._changed:
            self._underway -= 1
            self._changed.notify_all()

    def _tell(self, what):
        """Once an outage, not at every attempt."""
        if not self._told:
            self._told = True
            log.warning("MQTT: %s %s; verdicts wait, and are tried again", self._broker, what)


def _password(configuration, environment):
    password = environment.get(PASSWORD_VARIABLE)
    if password is None and configuration["MqttPasswordFile"]:
        return secret_files.read_secret(configuration, "MqttPasswordFile", "password")
    return password
