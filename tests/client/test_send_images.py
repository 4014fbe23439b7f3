import contextlib
import csv
import gzip
import http.server
import itertools
import json
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time

import hypothesis
import pytest
import requests
from hypothesis import strategies

from Classes import Helpers
from Classes.client import connection, response, send_images
from Classes.common import paths
from Classes.common.errors import ALLError, ConfigurationError
from tests.support import mutations, processes, waiting

GOOD = {
    "Response": "OK",
    "Classification": "ALL detected",
    "aClassification": "1",
    "Confidence": "0.948",
    "Message": "ALL detected with a confidence of 0.948 in 0.33",
}
NEW = GOOD | {"probabilities": {"0": 0.052, "1": 0.948}, "seconds": 0.33, "model": "a" * 64}
NEW |= {"engine": "OpenVINO CPU", "precision": "int8"}


class Script(http.server.BaseHTTPRequestHandler):
    """Answers each POST with the next step of the server's script; repeats the last one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(405, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.seen.append((dict(self.headers), body, self.client_address))
            step = self.server.steps.pop(0) if len(self.server.steps) > 1 else self.server.steps[0]
        if step == "hang up":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if step == "break off":
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            return
        status, content, *headers = step
        self.answer(status, content, *headers)

    def answer(self, status, content, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(*steps, port=0):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Script)
    server.steps, server.seen, server.lock = list(steps), [], threading.Lock()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "Model" / "Test"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"Im{number}_{number % 2}.png").write_bytes(b"image %d" % number)
    return folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(connection, "JITTER", 0.01)


def send(server, configuration, **options):
    port = server if isinstance(server, int) else server.server_port
    return send_images.send_images(
        Helpers.load_config(None, [f"NetworkPath={configuration.root}", f"Port={port}"]), **options
    )


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
    with serving((200, NEW), (200, NEW), "hang up") as first:
        port = first.server_port
        found = []
        thread = threading.Thread(
            target=lambda: found.append(send(port, configuration, concurrency=2, retries=200, timeout=waiting.LIMIT))
        )
        thread.start()
        while len(first.seen) < 4:
            time.sleep(0.01)
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


# Invalid responses cost one image


def answered(body, status=b"200 OK", *headers, length=None):
    """Return the bytes of a response."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % (len(body) if length is None else length), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def changed(**fields):
    return answered(json.dumps(NEW | fields).encode())


def without(name):
    return answered(json.dumps({key: value for key, value in NEW.items() if key != name}).encode())


class Raw(socketserver.BaseRequestHandler):
    """Answers the image b"image 0" with `server.answer`, in pieces, and all others with a valid response."""

    def handle(self):
        connection = self.request.makefile("rb")
        while line := connection.readline():
            length = 0
            while header := connection.readline().strip():
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            content = connection.read(length)
            if line.startswith(b"GET"):
                self.request.sendall(answered(b"{}", b"405 Method Not Allowed"))
            elif content == b"image 0":
                with contextlib.suppress(OSError):
                    for piece in self.server.answer:
                        self.request.sendall(piece)
                return
            else:
                self.request.sendall(changed())


class RawServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def drip(data, closed):
    """Yield the bytes of `data` one by one until the test ends."""
    for number in range(len(data)):
        if closed.wait(0.03):
            return
        yield data[number : number + 1]


@pytest.fixture(scope="module")
def costs_one(tmp_path_factory):
    """Return a function that sends two images, one of which gets an invalid response; it returns (exit code, rows)."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "Model" / "Test").mkdir(parents=True)
    for number in range(2):
        (folder / "Model" / "Test" / f"Im{number}_1.png").write_bytes(b"image %d" % number)
    with RawServer(("127.0.0.1", 0), Raw) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()

        def send(pieces, timeout=20):
            server.answer = [pieces] if isinstance(pieces, bytes) else pieces
            configuration = Helpers.load_config(None, [f"NetworkPath={folder}", f"Port={server.server_address[1]}"])
            paths = {"csv_path": folder / "rows.csv", "json_path": folder / "rows.json"}
            for path in paths.values():
                path.unlink(missing_ok=True)
            code = send_images.send_images(configuration, concurrency=1, retries=2, timeout=timeout, **paths)
            rows = json.loads((folder / "rows.json").read_text(), parse_constant=pytest.fail)["images"]
            assert len(list(csv.reader((folder / "rows.csv").read_text().splitlines()))) == 3
            return code, rows

        yield send
        server.shutdown()
        thread.join()


def lost(found):
    """Return whether the invalid response cost its image and no other."""
    code, (odd, good) = found
    assert good["error"] is None
    assert (good["class"], good["confidence"], good["probability_1"], good["correct"]) == ("1", 0.948, 0.948, True)
    return code == 1 and bool(odd["error"]) and odd["class"] is odd["confidence"] is odd["correct"] is None


ODD = {
    "nan": changed(Confidence="nan"),
    "nan number": changed(Confidence=float("nan")),
    "infinity": changed(Confidence=float("inf")),
    "large": answered(json.dumps(NEW).replace('"0.948"', "1e999").encode()),
    "many digits": answered(json.dumps(NEW).replace('"0.948"', "1" * 5000).encode()),
    "a number too large for a float": answered(json.dumps(NEW).replace('"0.948"', "1" * 400).encode()),
    "beyond one": changed(Confidence="1.5"),
    "negative": changed(Confidence=-0.1),
    "true": changed(Confidence=True),
    "no confidence": without("Confidence"),
    "no class": without("aClassification"),
    "no verdict": without("Classification"),
    "no message": without("Message"),
    "class of another type": changed(aClassification=1),
    "class that is not there": changed(aClassification="2"),
    "message of another type": changed(Message=["x"]),
    "probabilities as a list": changed(probabilities=[0.1, 0.9]),
    "probabilities as texts": changed(probabilities={"0": "0.1", "1": "0.9"}),
    "probabilities of nan": changed(probabilities={"0": float("nan"), "1": 0.9}),
    "very many classes": changed(probabilities={str(number): 0.0 for number in range(2000)}),
    "seconds as a list": changed(seconds=[1]),
    "remark as an object": changed(remark={}),
    "uncertain as a text": changed(uncertain="no"),
    "low as a text": changed(low_confidence="no"),
    "model as a number": changed(model=1),
    "unknown outcome": changed(outcome="maybe", reasons=[]),
    "reasons as a text": changed(outcome="review", reasons="empty"),
    "reasons of another type": changed(outcome="review", reasons=[1]),
    "very many reasons": changed(outcome="review", reasons=["x"] * 200),
    "list": answered(b"[]"),
    "text": answered(b'"ok"'),
    "null": answered(b"null"),
    "html": answered(b"<html>login</html>"),
    "html that is an error": answered(b"<html>login</html>", b"500 Oh"),
    "empty": answered(b""),
    "deep": answered(b"[" * 100_000),
    "wrong charset": answered(json.dumps(NEW).encode("utf-16-le")[1:]),
    "latin": answered(b'{"Message": "\xe9"}'),
    "truncated": answered(json.dumps(NEW).encode()[:50]),
    "cut off": answered(b"{", length=500),
    "huge": answered(b" " * (3 << 20) + json.dumps(NEW).encode()),
    "bad gzip": answered(b"xyz", b"200 OK", b"Content-Encoding: gzip"),
    "bomb": answered(gzip.compress(bytes(50 << 20)), b"200 OK", b"Content-Encoding: gzip"),
    "redirection": answered(b"", b"307 Temporary Redirect", b"Location: http://[bad"),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "early hints": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
    "status out of range": answered(b"{}", b"999 Beyond"),
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "no http": b"220 mail.example.org ESMTP\r\n",
    "nothing": b"",
    "long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
    "message as an object": answered(b'{"message": {"a": 1}}', b"415 No"),
    "message of half a character": answered(b'{"message": "\\ud800"}', b"415 No"),
    "strange retry": answered(b"{}", b"503 Busy", b"Retry-After: tomorrow"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_invalid_response_costs_one_image(costs_one, kind):
    assert lost(costs_one(ODD[kind]))


@pytest.mark.parametrize("start", [0, 50], ids=["head", "body"])
def test_a_dripping_response_costs_one_image(costs_one, start):
    closed = threading.Event()
    whole = answered(b" " * 100_000)
    found = costs_one(itertools.chain([whole[:start]], drip(whole[start:], closed)), timeout=1)
    closed.set()

    assert lost(found)


def test_texts_of_a_response_are_escaped(costs_one):
    code, rows = costs_one(changed(engine="a\ud800\nb", remark="\u202e"))

    assert code == 0
    assert rows[0]["engine"] == "a\\ud800\\x0ab"


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


@mutations.steady(200)
@hypothesis.given(document=mutations.mutated(NEW | {"low_confidence": False, "uncertain": False, "remark": None}))
def test_no_json_raises_an_exception(document):
    answer = response.parse_response("a.png", 200, json.dumps(document).encode(), 0.8)

    if "error" not in answer:
        json.dumps(answer, allow_nan=False).encode()
        "".join(str(value) for value in answer.values()).encode()
        assert 0 <= answer["confidence"] <= 1
        assert all(0 <= share <= 1 for share in answer["probabilities"].values())


@pytest.mark.slow
@mutations.steady(60)
@hypothesis.given(data=mutations.damaged(changed()) | strategies.binary(max_size=60))
def test_no_bytes_of_a_response_end_the_run(costs_one, data):
    code, rows = costs_one(data)

    assert len(rows) == 2
    assert rows[1]["correct"] is True
    assert code == int(rows[0]["error"] is not None)


@pytest.mark.parametrize(
    ("fields", "outcome", "reasons"),
    [
        ({}, "positive", []),
        ({"Classification": "ALL not detected"}, "negative", []),
        ({"low_confidence": True}, "review", ["low_confidence"]),
        ({"uncertain": True, "remark": "Other colors."}, "review", ["unlike_training", "uncertain"]),
        ({"outcome": "review", "reasons": ["a_new_reason"]}, "review", ["a_new_reason"]),
    ],
)
def test_outcome_of_old_and_new_servers(fields, outcome, reasons):
    answer = response.parse_response("a.png", 200, json.dumps(NEW | fields).encode(), 0.8)

    assert (answer["outcome"], answer["reasons"]) == (outcome, reasons)


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
