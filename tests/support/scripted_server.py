"""A server whose answers a test writes down beforehand."""

import contextlib
import http.server
import json
import socket
import threading

from Classes import Helpers
from Classes.client import send_images

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


def send(server, configuration, **options):
    port = server if isinstance(server, int) else server.server_port
    return send_images.send_images(
        Helpers.load_config(None, [f"NetworkPath={configuration.root}", f"Port={port}"]), **options
    )
