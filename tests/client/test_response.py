"""An invalid response of a server costs one image, never the run."""

import contextlib
import csv
import gzip
import itertools
import json
import socketserver
import threading

import hypothesis
import pytest
from hypothesis import strategies

from Classes import Helpers
from Classes.client import response, send_images
from tests.support import mutations, waiting
from tests.support.scripted_server import NEW


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

        def send(pieces, timeout=waiting.LIMIT):
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
