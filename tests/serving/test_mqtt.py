"""Tests of MQTT with a real broker, if mosquitto is installed."""

import collections
import contextlib
import gc
import importlib
import json
import logging
import shutil
import signal
import ssl
import subprocess
import sys
import threading

import pytest

from Classes.common import cli
from Classes.common.errors import ConfigurationError
from Classes.serving import mqtt
from tests.support import brokers, graphs, ports, processes, servers, services, waiting
from tests.support.errors import raises

TOPIC = "Ward/3/ALL"


def test_only_a_server_with_a_broker_needs_the_package(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "paho"] + ["paho", "paho.mqtt"]:
        monkeypatch.setitem(sys.modules, name, None)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "paho" else find_spec(name))

    assert cli.missing_packages(cli.SERVER) == []
    assert mqtt.open_publisher(graphs.configuration(tmp_path)) is None
    with pytest.raises(ConfigurationError) as refused:
        mqtt.open_publisher(graphs.configuration(tmp_path, "MqttBroker=localhost"))
    assert refused.value.code == "package_missing"


@pytest.fixture
def port():
    return ports.free_port()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Reconnect quickly, however long an attempt takes."""
    monkeypatch.setattr(mqtt, "LONGEST_WAIT", 1)
    monkeypatch.setattr(mqtt, "CONNECT_TIMEOUT", waiting.LIMIT)


def opened(folder, port, *settings, environment=None):
    settings = ["MqttBroker=localhost", f"MqttPort={port}", f"MqttTopic={TOPIC}", *settings]
    return contextlib.closing(mqtt.open_publisher(graphs.configuration(folder, *settings), environment or {}))


def numbers(arrived, wanted):
    """Return the `number` of each message in order, without repetitions (QoS 1 allows them), until all are there."""
    found = {}
    while not set(wanted) <= set(found):
        found[json.loads(arrived.get(timeout=waiting.LIMIT)[1])["number"]] = None
    return [number for number in found if number in wanted]


def test_without_a_broker_there_is_no_publisher(tmp_path):
    assert mqtt.open_publisher(graphs.configuration(tmp_path), {}) is None


def test_a_password_needs_a_user(tmp_path):
    settings = graphs.configuration(tmp_path, "MqttBroker=localhost")

    with pytest.raises(ConfigurationError) as error:
        mqtt.open_publisher(settings, {"ALL_MQTT_PASSWORD": "secret"})

    assert error.value.code == "mqtt_user_missing"


def test_a_password_file_readable_by_others_is_rejected(tmp_path):
    path = tmp_path / "password"
    path.write_text("secret\n")
    path.chmod(0o644)
    settings = graphs.configuration(tmp_path, "MqttBroker=localhost", "MqttUser=all", "MqttPasswordFile=password")

    with pytest.raises(ConfigurationError) as error:
        mqtt.open_publisher(settings, {})

    assert error.value.code == "secret_is_public"


@pytest.mark.parametrize("topic", ["", "ALL/#", "ALL/+/x"])
def test_topics_with_wildcards_are_rejected(tmp_path, topic):
    with raises(ConfigurationError, "invalid_value"):
        graphs.configuration(tmp_path, f"MqttTopic={topic}")


@brokers.needed
def test_a_result_of_the_service_is_published(tmp_path, port):
    with (
        brokers.running(tmp_path, port),
        brokers.listening(port, TOPIC) as arrived,
        opened(tmp_path, port) as publisher,
    ):
        client = services.client(tmp_path, publisher=publisher)
        answer = client.post("/Inference", data=services.image(192)).get_json()
        topic, payload, quality = arrived.get(timeout=waiting.LIMIT)
        client.service.admission.close()

    event = json.loads(payload)
    assert (topic, quality) == (TOPIC, 1)
    assert event["verdict"] == "ALL detected"
    assert (event["outcome"], event["reasons"]) == ("positive", [])
    assert event["probabilities"]["1"] == pytest.approx(graphs.RED[192], abs=1e-5)
    assert event["request_id"] == answer["request_id"]
    assert event["notice"].startswith("Research use only")
    assert event["time"].endswith("+00:00")


@pytest.mark.slow
@brokers.needed
def test_an_outage_of_the_broker_loses_nothing(tmp_path, port):
    # The broker keeps the messages of its subscribers on disk across a restart.
    lines = ("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/")
    with opened(tmp_path, port) as publisher, contextlib.ExitStack() as listener:
        with brokers.running(tmp_path, port, *lines):
            arrived = listener.enter_context(brokers.listening(port, TOPIC))
            for number in range(5):
                publisher.publish({"number": number})
            before = numbers(arrived, range(5))
        waiting.until(lambda: not publisher.connected)
        for number in range(5, 55):
            publisher.publish({"number": number})
        with brokers.running(tmp_path, port, *lines):
            after = numbers(arrived, range(5, 55))

    assert before == list(range(5))
    assert after == list(range(5, 55))


def times_logged(caplog):
    """How often each warning was logged."""
    return collections.Counter(record.getMessage() for record in caplog.records if record.levelname == "WARNING")


@pytest.mark.slow
@brokers.needed
def test_a_full_buffer_drops_the_oldest_and_logs_it_once(tmp_path, port, caplog):
    caplog.set_level(logging.INFO, "ClassifierServer")
    with opened(tmp_path, port, "MqttBuffer=3") as publisher:
        for number in range(8):
            publisher.publish({"number": number})
        pending, lost = [event["number"] for event in publisher.pending], publisher.lost
        with brokers.running(tmp_path, port):
            waiting.until(lambda: publisher.idle)

    assert (pending, lost) == ([5, 6, 7], 5)
    assert set(times_logged(caplog).values()) == {1}


def test_a_broker_that_is_down_blocks_nothing_and_is_logged_once(tmp_path, port, caplog):
    with opened(tmp_path, port) as publisher:
        for number in range(2000):
            publisher.publish({"number": number})
        waiting.until(lambda: publisher.outage == "unreachable")

    assert set(times_logged(caplog).values()) == {1}
    assert caplog.records[-1].args == (2000, f"localhost:{port}")


@brokers.needed
def test_nothing_waits_for_a_broker_that_hangs(tmp_path, port):
    with (
        brokers.running(tmp_path, port) as broker,
        brokers.listening(port, TOPIC) as arrived,
        opened(tmp_path, port) as publisher,
    ):
        waiting.until(lambda: publisher.connected)
        processes.pause(broker.pid)
        publishing = threading.Thread(target=lambda: [publisher.publish({"number": number}) for number in range(500)])
        publishing.start()
        # Whatever waits for the broker would wait until it continues.
        publishing.join(waiting.LIMIT)
        has_waited = publishing.is_alive()
        broker.send_signal(signal.SIGCONT)
        found = numbers(arrived, range(500))
        publishing.join()

    assert not has_waited
    assert found == list(range(500))


@pytest.mark.slow
@brokers.needed
def test_the_server_publishes_results(tmp_path, port):
    settings = ("MqttBroker=localhost", f"MqttPort={port}", f"MqttTopic={TOPIC}")
    with (
        brokers.running(tmp_path, port),
        brokers.listening(port, TOPIC) as arrived,
        servers.running(tmp_path, *settings) as server,
    ):
        answer = servers.request(server.port, body=services.image(192))[1]
        event = json.loads(arrived.get(timeout=waiting.LIMIT)[1])
        server.terminate()
        code = server.wait(waiting.LIMIT)

    assert event["request_id"] == answer["request_id"] and event["verdict"] == "ALL detected"
    assert code == 0


@pytest.mark.slow
def test_a_server_without_its_broker_answers_and_stops(tmp_path, port):
    with servers.running(tmp_path, "MqttBroker=localhost", f"MqttPort={port}") as server:
        status = servers.request(server.port, body=services.image(192))[0]
        server.terminate()
        said, code = server.stdout.read(), server.wait(waiting.LIMIT)

    assert (status, code) == (200, 0)
    assert f"MQTT: 1 results did not reach localhost:{port}" in said


@brokers.needed
def test_an_event_that_is_not_json_does_not_stop_the_others(tmp_path, port, caplog):
    with (
        brokers.running(tmp_path, port),
        brokers.listening(port, TOPIC) as arrived,
        opened(tmp_path, port) as publisher,
    ):
        publisher.publish({"number": object()})
        publisher.publish({"number": 1, "heat_map": "data:…"})
        event = json.loads(arrived.get(timeout=waiting.LIMIT)[1])

    assert event["number"] == 1 and "heat_map" not in event
    assert [record.levelname for record in caplog.records if record.levelname != "INFO"] == ["ERROR"]


@brokers.needed
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_tls_and_a_password(tmp_path, port, monkeypatch):
    certificate, key, passwords = (tmp_path / name for name in ("broker.crt", "broker.key", "passwords"))
    make_certificate(certificate, key)
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "all", "secret"], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(cafile=certificate)
    lines = (f"certfile {certificate}", f"keyfile {key}", f"password_file {passwords}", "allow_anonymous false")
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    settings = ("MqttTls=true", "MqttUser=all", "MqttPasswordFile=password")

    with (
        brokers.running(tmp_path, port, *lines),
        brokers.listening(port, TOPIC, context, "all", "secret") as arrived,
        opened(tmp_path, port, *settings) as by,
    ):
        by.publish({"number": 1})
        assert numbers(arrived, [1]) == [1]


@brokers.needed
def test_a_wrong_password_is_an_outage_and_is_not_logged(tmp_path, port, caplog):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "all", "secret"], check=True, capture_output=True)

    with (
        brokers.running(tmp_path, port, f"password_file {passwords}", "allow_anonymous false"),
        opened(tmp_path, port, "MqttUser=all", environment={"ALL_MQTT_PASSWORD": "forgotten"}) as publisher,
    ):
        waiting.until(lambda: publisher.outage == "rejected")

    assert "forgotten" not in caplog.text


@pytest.mark.slow
@brokers.needed
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
# paho-mqtt does not close a socket whose handshake failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_unknown_certificate_is_not_trusted(tmp_path, port, caplog):
    certificate, key = tmp_path / "broker.crt", tmp_path / "broker.key"
    make_certificate(certificate, key)

    with (
        brokers.running(tmp_path, port, f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true"),
        opened(tmp_path, port, "MqttTls=true") as publisher,
    ):
        waiting.until(lambda: publisher.outage == "unreachable")
        connected = publisher.connected
    gc.collect()

    assert not connected
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def make_certificate(certificate, key):
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
