import csv
import json
import re
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests

from Classes import Helpers
from Classes.client import response, send_images
from Classes.common import paths
from Classes.common.errors import ALLError, ConfigurationError
from tests.support import ports, processes, waiting
from tests.support.scripted_server import GOOD, NEW, send, serving

AML = {"Classification": "AML detected", "Message": "AML detected with a confidence of 0.948 in 0.33"}


def test_results_name_the_condition_of_the_server(images, configuration, tmp_path, caplog):
    caplog.set_level("INFO")
    with serving((200, NEW | AML)) as server:
        assert send(server, configuration, csv_path=tmp_path / "rows.csv") == 0

    found = next(csv.DictReader((tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()))
    assert (found["result"], found["AML probability (%)"], found["verdict"]) == ("Signs of AML", "94.8", "AML detected")
    assert "True Positives: 2" in caplog.messages and "False Positives: 2" in caplog.messages
    assert "ALL" not in "".join([*found, *found.values()])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (None, []),
        ("AML", []),
        ({"short": "AML"}, []),
        ({"short": "AML", "long": 5}, []),
        ({"short": "AML", "long": "Acute", "translations": []}, []),
        ({"short": "A\nML", "long": "Acute", "source": "x"}, ["A\\x0aML"]),
    ],
)
def test_whatever_a_server_says_about_its_condition_is_safe(condition, expected):
    info = response.parse_info(json.dumps({"version": "2.1.0", "condition": condition}).encode())

    assert info.version == "2.1.0"
    assert [each.short for each in info.conditions] == expected


def test_files_are_sent_unchanged_and_counted(images, configuration, tmp_path, caplog):
    caplog.set_level("INFO")
    with serving((200, NEW)) as server:
        assert send(server, configuration, concurrency=1, json_path=tmp_path / "rows.json") == 0

    rows = json.loads((tmp_path / "rows.json").read_text())["images"]
    assert {(row["engine"], row["precision"]) for row in rows} == {("OpenVINO CPU", "int8")}

    assert [body for _, body, _ in server.seen] == [b"image 0", b"image 1", b"image 2", b"image 3"]
    assert {headers["Content-Type"] for headers, _, _ in server.seen} == {"application/octet-stream"}
    assert len({address for _, _, address in server.seen}) == 1, "one connection is enough"
    said = [record.getMessage() for record in caplog.records]
    assert f"{images / 'Im0_0.png'}: ALL detected with a confidence of 0.948 in 0.33" in said
    assert "Testing ended. 2 correct, 2 incorrect, 0 low confidence: (0 correct, 0 incorrect)" in said
    assert [line for line in said if "Positives" in line] == ["True Positives: 2", "False Positives: 2"]
    assert Helpers.DISCLAIMER in said


def test_a_response_of_an_old_server_is_enough(images, configuration, tmp_path, caplog):
    low = GOOD | {"Message": "ALL not detected with a LOW confidence of 0.7 in 0.3", "aClassification": "0"}
    low |= {"Classification": "ALL not detected", "Confidence": "0.7"}
    with serving((200, low)) as server:
        assert send(server, configuration, json_path=tmp_path / "rows.json") == 0

    rows = json.loads((tmp_path / "rows.json").read_text())["images"]
    assert [(row["correct"], row["low"], row["confidence"]) for row in rows] == [
        (True, True, 0.7),
        (False, True, 0.7),
    ] * 2


def test_doubtful_results_are_logged_as_warnings(images, configuration, tmp_path, caplog):
    remark = "colours unlike those of the training images"
    strange = NEW | {"synthetic": True, "uncertain": True, "remark": remark}
    with serving((200, strange), (200, NEW)) as server:
        assert send(server, configuration, concurrency=1, json_path=tmp_path / "rows.json") == 0

    rows = json.loads((tmp_path / "rows.json").read_text())["images"]
    assert [row["remark"] for row in rows] == [remark, None, None, None]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{images / 'Im0_0.png'}: uncertain; a person should look at this image",
        f"{images / 'Im0_0.png'}: {remark}",
        Helpers.SYNTHETIC,
        "1 image differs in color from the training images; it is named above",
    ]


@pytest.mark.parametrize(("given", "waits"), [({}, 2.5 + send_images.TIMEOUT_MARGIN), ({"timeout": 1}, 1)])
def test_the_timeout_includes_the_time_limit_of_the_server(images, configuration, monkeypatch, given, waits):
    waited = []
    post = requests.Session.post
    monkeypatch.setattr(
        requests.Session, "post", lambda *rest, timeout, **more: waited.append(timeout) or post(*rest, **more)
    )
    with serving((200, NEW)) as server:
        settings = [f"NetworkPath={configuration.root}", f"Port={server.server_port}", "RequestTimeout=2.5"]
        assert send_images.send_images(Helpers.load_config(None, settings), **given) == 0

    assert set(waited) == {waits}


@pytest.mark.parametrize(
    "steps",
    [
        [(503, {"message": "full"}, {"Retry-After": "0"}), (429, {}), (504, {}), (200, NEW)],
        ["hang up", "hang up", (200, NEW)],
        ["break off", (200, NEW)],
        [(502, b"<html>bad gateway</html>"), (200, NEW)],
    ],
)
def test_temporary_errors_are_retried(images, configuration, steps):
    with serving(*steps) as server:
        assert send(server, configuration, concurrency=1) == 0

    assert len(server.seen) == 4 + len(steps) - 1
    assert {body for _, body, _ in server.seen} == {b"image 0", b"image 1", b"image 2", b"image 3"}


def test_retry_after_is_obeyed(images, configuration):
    with serving((503, {}, {"Retry-After": "1"}), (200, NEW)) as server:
        began = time.monotonic()
        assert send(server, configuration, sources=[images / "Im0_0.png"]) == 0

    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ((415, {"code": "no_image", "message": "this is no image"}), r"this is no image.*HTTP 415"),
        ((500, b"<html>"), r"HTTP 500"),
        ((200, b"rubbish"), r"HTTP 200"),
        ((200, []), r"HTTP 200"),
        ((200, GOOD | {"Confidence": None}), r"HTTP 200"),
        ((302, b"", {"Location": "http://192.0.2.1/"}), r"HTTP 302"),
        ((503, {"message": "The queue is full."}), r"The queue is full\..*HTTP 503"),
        ("break off", r"http://127\.0\.0\.1:\d+/Inference"),
        ("hang up", r"http://127\.0\.0\.1:\d+/Inference"),
    ],
)
def test_an_image_without_a_result_is_named_and_counted(images, configuration, tmp_path, caplog, step, said):
    with serving(step) as server:
        assert send(server, configuration, retries=1, csv_path=tmp_path / "rows.csv") == 1

    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 5
    assert all(re.search(said, error) for error in errors[:4])
    assert {re.search(r"Im\d", error)[0] for error in errors[:4]} == {"Im0", "Im1", "Im2", "Im3"}
    assert errors[4].startswith("4 ")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 5


def test_a_restarted_server_loses_nothing(images, configuration, caplog):
    caplog.set_level("INFO")
    port = ports.free_port()
    with serving((200, NEW), (200, NEW), "hang up", port=port) as first:
        found = []
        thread = threading.Thread(
            target=lambda: found.append(send(port, configuration, concurrency=2, retries=200, timeout=waiting.LIMIT))
        )
        thread.start()
        waiting.until(lambda: len(first.seen) >= 4)
    with serving((200, NEW), port=port) as second:
        thread.join(waiting.LIMIT)

    assert found == [0]
    assert len(second.seen) == 2
    assert "Testing ended. 2 correct, 2 incorrect" in caplog.text


def test_the_api_key_goes_with_every_image(images, configuration, monkeypatch):
    monkeypatch.setenv("ALL_API_KEY", "k" * 32)
    with serving((200, NEW)) as server:
        send(server, configuration)

    assert {headers["X-API-Key"] for headers, _, _ in server.seen} == {"k" * 32}


def test_an_unreachable_server_is_reported_once(images, configuration):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ALLError) as error:
            send(taken.getsockname()[1], configuration)

        assert error.value.code == "no_server"


def test_nothing_to_send(configuration):
    with pytest.raises(ALLError) as error:
        send(1, configuration)

    assert error.value.code == "no_images"


def test_a_folder_in_place_of_a_table_is_rejected_before_any_work(images, configuration, tmp_path):
    with pytest.raises(ConfigurationError) as error:
        send(1, configuration, csv_path=tmp_path)

    assert error.value.code == "not_writable"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((), "http://127.0.0.1:8080"),
        (("IP=0.0.0.0", "Port=81"), "http://127.0.0.1:81"),
        (("IP=::1",), "http://[::1]:8080"),
        (("Domain=lab.example.org",), "https://lab.example.org"),
        (("Domain=http://lab/",), "http://lab"),
    ],
)
def test_the_server_address_comes_from_the_configuration(settings, expected):
    assert send_images.server_url(Helpers.load_config(None, list(settings))) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Send"], "Send"),
        (["Test", "a.png"], "Test"),
        (["Test", "--concurrency", "0"], "--concurrency: 0"),
        (["Test", "--retries", "-1"], "--retries: -1"),
        (["Test", "--server", "localhost:8080"], "localhost:8080"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, said):
    command = [sys.executable, str(paths.PROJECT / "Client.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 2
    assert said in done.stderr


def test_the_client_imports_no_heavy_package():
    names = {"tensorflow", "openvino", "flask", "numpy"}
    script = f"import sys; from Classes.client import send_images; print({names} & set(sys.modules))"

    assert processes.python(script).stdout.strip() == "set()"


def test_the_classes_of_one_odd_response_are_not_the_columns(images, configuration, tmp_path):
    strange = NEW | {"aClassification": "x", "probabilities": {"x": 1.0}}
    with serving((200, strange), (200, NEW)) as server:
        assert send(server, configuration, concurrency=1, json_path=tmp_path / "rows.json") == 0

    rows = json.loads((tmp_path / "rows.json").read_text())["images"]
    assert [row["probability_1"] for row in rows] == [None, 0.948, 0.948, 0.948]
    assert [row["truth"] for row in rows] == ["0", "1", "0", "1"]


@pytest.mark.parametrize("low", [True, False])
def test_low_confidence_is_taken_from_the_response(images, configuration, tmp_path, low):
    said = NEW | {"low_confidence": low, "Message": "ein Satz in einer anderen Sprache" if low else "A LOW voice"}
    with serving((200, said)) as server:
        send(server, configuration, json_path=tmp_path / "rows.json")

    assert {row["low"] for row in json.loads((tmp_path / "rows.json").read_text())["images"]} == {low}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(images, configuration, monkeypatch, status):
    monkeypatch.setenv("ALL_API_KEY", "k" * 32)
    with serving((200, NEW)) as other:
        place = f"http://localhost:{other.server_port}/Inference"
        with serving((status, b"", {"Location": place})) as server:
            assert send(server, configuration) == 1

    assert other.seen == []


def test_a_folder_without_classes_in_its_names_is_summarized(tmp_path, configuration, caplog):
    caplog.set_level("INFO")
    for name in ("healthy/a.png", "ALL/b.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(b"image")
    with serving((200, NEW), (200, NEW | {"outcome": "review", "reasons": ["out_of_focus"]})) as server:
        for labels in ("auto", "folders"):
            assert send(server, configuration, sources=[tmp_path / "photos"], concurrency=1, labels=labels) == 0

    said = [record.getMessage() for record in caplog.records]
    assert "Read: 2, Signs of ALL: 1, No signs of ALL: 0, Needs review: 1, Failed: 0" in said
    assert [line for line in said if line.startswith("True Positives")] == ["True Positives: 0", "True Positives: 1"]
    assert any("b.png" in line or "a.png" in line for line in said if line.startswith("Needs review"))
