"""Publishes results to an MQTT broker in the background; a broker that is down delays no response."""

import collections
import json
import logging
import os
import ssl
import sys
import threading
from collections.abc import Mapping
from typing import Any

from Classes.common import provenance, secret_files
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message

PASSWORD_VARIABLE = "ALL_MQTT_PASSWORD"

PLAIN_PORT, TLS_PORT = 1883, 8883

# Messages sent but not yet acknowledged.
MAX_INFLIGHT = 20

# Seconds between two attempts to connect, for one attempt, and for pending messages when the server stops.
FIRST_WAIT, LONGEST_WAIT, CONNECT_TIMEOUT, FLUSH_TIMEOUT = 1, 30, 2, 2

log = logging.getLogger("ClassifierServer")


def open_publisher(configuration: Configuration, environment: Mapping[str, str] = os.environ) -> "MqttPublisher | None":
    """Start to connect to the configured broker, which need not be running yet.

    The password is read from the environment variable ALL_MQTT_PASSWORD, otherwise from `MqttPasswordFile`.

    Returns:
      MqttPublisher, or None if `MqttBroker` is empty.
    Raises:
      ConfigurationError: `package_missing` without paho-mqtt; the password cannot be read or has no user.
    """
    if not configuration["MqttBroker"]:
        return None
    password = environment.get(PASSWORD_VARIABLE)
    if password is None and configuration["MqttPasswordFile"]:
        password = secret_files.read_secret(configuration, "MqttPasswordFile", Message("password"))
    if password is not None and not configuration["MqttUser"]:
        raise ConfigurationError(
            Message("MqttUser is empty, but there is an MQTT password; set both or neither"), code="mqtt_user_missing"
        )
    return MqttPublisher(configuration, password)


class MqttPublisher:
    """A connection to a broker that is opened and kept open in the background.

    Attributes:
      connected: whether the broker is connected.
      outage: why not, since the last connection: "unreachable", "rejected", "disconnected", or None.
      lost: number of events that were dropped since the last connection.
    """

    def __init__(self, configuration: Configuration, password: str | None = None):
        self._topic = configuration["MqttTopic"]
        port = configuration["MqttPort"] or (TLS_PORT if configuration["MqttTls"] else PLAIN_PORT)
        self._broker = f"{configuration['MqttBroker']}:{port}"
        self._changed = threading.Condition()
        # A full deque drops its oldest item.
        self._pending: collections.deque[dict[str, Any]] = collections.deque(maxlen=configuration["MqttBuffer"])
        self._in_flight = self.lost = 0
        self.connected = self._closing = False
        self.outage: str | None = None
        self._client = self._create_client(configuration, password)
        self._client.connect_async(configuration["MqttBroker"], port)
        self._client.loop_start()
        self._sender = threading.Thread(target=self._send_loop, name="mqtt", daemon=True)
        self._sender.start()

    @property
    def pending(self) -> list[dict[str, Any]]:
        """Events that wait to be sent, oldest first."""
        return list(self._pending)

    def publish(self, event: Mapping[str, Any]) -> None:
        """Queue an event to be sent at least once, with the current time added and without its heat map.

        Does not block and does not raise. A full queue drops its oldest event.
        """
        now = provenance.utc_now_iso("milliseconds")
        with self._changed:
            if len(self._pending) == self._pending.maxlen:
                if not self.lost:
                    log.warning(
                        "MQTT: %d results wait for %s. From now on the oldest are lost.",
                        self._pending.maxlen,
                        self._broker,
                    )
                self.lost += 1
            self._pending.append({"time": now, **event})
            self._changed.notify_all()

    def close(self) -> None:
        """If the broker is connected, wait up to FLUSH_TIMEOUT for pending events; then disconnect."""
        with self._changed:
            self._changed.wait_for(lambda: not self.connected or self.idle, timeout=FLUSH_TIMEOUT)
            self._closing = True
            left = len(self._pending) + self._in_flight
            self._changed.notify_all()
        self._sender.join()
        self._client.disconnect()
        self._client.loop_stop()
        if left or self.lost:
            log.warning("MQTT: %d results did not reach %s", left + self.lost, self._broker)

    @property
    def idle(self) -> bool:
        """Whether every event was acknowledged by the broker or dropped."""
        return not (self._pending or self._in_flight)

    def _create_client(self, configuration: Configuration, password: str | None) -> Any:
        # Imported here, because a server without a broker does not need the package.
        try:
            from paho.mqtt import client as mqtt
        except ImportError as error:
            raise ConfigurationError(
                Message(
                    "MqttBroker needs the package paho-mqtt ({error}); install it with {executable} -m pip "
                    "install paho-mqtt, or leave MqttBroker empty",
                    error=error,
                    executable=sys.executable,
                ),
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

    def _send_loop(self) -> None:
        """Pass pending events to the client, never more than MAX_INFLIGHT at a time."""
        while True:
            with self._changed:
                self._changed.wait_for(self._can_send)
                if self._closing:
                    return
                event = self._pending.popleft()
                self._in_flight += 1
            # Without the lock: the client calls _on_publish while it holds a lock that publish needs as well.
            try:
                message = {key: value for key, value in event.items() if key != "heat_map"}
                self._client.publish(self._topic, json.dumps(message), qos=1)
            except (TypeError, ValueError) as error:
                log.error("MQTT: a result cannot be sent (%s)", error)
                self._on_publish()

    def _can_send(self) -> bool:
        return self._closing or (self.connected and bool(self._pending) and self._in_flight < MAX_INFLIGHT)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._log_outage("rejected", f"refuses the connection ({reason}); see MqttUser and MqttPasswordFile")
            return
        with self._changed:
            log.info("MQTT: connected to %s; results are published to %s", self._broker, self._topic)
            if self.lost:
                log.warning("MQTT: %d results were lost while %s was not connected", self.lost, self._broker)
            self.connected, self.lost, self.outage = True, 0, None
            self._changed.notify_all()

    def _on_connect_fail(self, client: Any, userdata: Any) -> None:
        # The client does not pass the error, but calls this method while it handles it.
        self._log_outage("unreachable", f"cannot be reached ({sys.exc_info()[1]})")

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            # The client itself sends messages in flight again.
            self.connected = False
            self._changed.notify_all()
        if not self._closing:
            self._log_outage("disconnected", "closed the connection")

    def _on_publish(self, *_: Any) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def _log_outage(self, outage: str, reason: str) -> None:
        """Log once per outage rather than once per attempt to connect."""
        if self.outage is None:
            self.outage = outage
            log.warning("MQTT: %s %s. Results wait until it is connected.", self._broker, reason)
