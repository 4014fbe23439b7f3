"""Try Server.py with the trained model: start, overload, its end, hostile images, memory; serving.py has its speed.

python3 benchmarks/server.py Model/Test                       # every measurement
python3 benchmarks/server.py Model/Test --requests 20000      # memory use over 20,000 requests
python3 benchmarks/server.py Model/Test --only start stop     # some of them

Prints each measurement with its target; writes to the folder of --set NetworkPath what the server does, its logs.
Needs Model/ALLGraph.pb and a quiet machine: the clients run on the same processor, and use part of it.
"""

import collections
import concurrent.futures
import contextlib
import http.client
import io
import json
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes.common import cli, paths

PARTS = ("start", "overload", "heatmaps", "stop", "hostile", "memory")
CONCURRENCY = 8


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__)
    parser.add_argument("folder", help="images to send")
    parser.add_argument(
        "--requests", type=int, default=2000, help="requests for the memory measurement (default: 2000)"
    )
    parser.add_argument("--cases", type=int, default=2000, help="hostile bodies (default: 2000)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    options = parser.parse_args(arguments)
    from Classes import Helpers
    from Classes.common import input_files

    configuration = Helpers.load_config(options.confs, options.settings)
    bodies = [path.read_bytes() for path in input_files.resolve_inputs(configuration, [options.folder])]
    passed = [part for text in options.settings for part in ("--set", text)]
    passed += ["--confs", options.confs] if options.confs else []
    if "start" in options.only:
        starts(passed)
    if "overload" in options.only:
        overload(passed, bodies)
    if "heatmaps" in options.only:
        heat_maps(passed, bodies)
    if "stop" in options.only:
        stop(passed, bodies)
    if "hostile" in options.only:
        hostile(passed, bodies, options.cases)
    if "memory" in options.only:
        memory(passed, bodies, options.requests)
    return 0


@contextlib.contextmanager
def server(passed):
    """A started Server.py; yields its process, with `port` and `seconds`, how long its start took."""
    start = time.perf_counter()
    settings = ["--set", "Port=0", "--set", "RateLimitPerMinute=0"]
    command = [sys.executable, "-u", str(paths.PROJECT / "Server.py"), *passed, *settings]
    # In a session of its own, as LitServe in serving.py: Linux shares the processor among sessions first (autogroup).
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            line = next((line for line in process.stdout if "Running on" in line), None)
            if line is None:
                raise SystemExit("Server.py did not start; run it by itself to see why")
            process.port = int(line.split("/ (")[0].rsplit(":", 1)[1])
            if send(process.port, b"", "GET", "/health/ready")[0] != 200:
                raise SystemExit("Server.py is not ready")
            process.seconds = time.perf_counter() - start
            yield process
        finally:
            process.kill()


def send(port, body, method="POST", path="/Inference", connection=None, headers=None):
    """(status, bytes) of one request, over a connection of its own unless one is given."""
    opened = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        opened.request(method, path, body, headers or {})
        response = opened.getresponse()
        return response.status, response.read()
    finally:
        if connection is None:
            opened.close()


def post_all(port, bodies, count, concurrency, path="/Inference", headers=None):
    """Post `count` images from `concurrency` clients; returns (seconds of each, seconds of all)."""
    numbers, times, lock = iter(range(count)), [], threading.Lock()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        with contextlib.closing(connection):
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                start = time.perf_counter()
                status, content = send(
                    port, bodies[number % len(bodies)], path=path, connection=connection, headers=headers
                )
                times.append(time.perf_counter() - start)
                if status != 200:
                    raise SystemExit(f"status {status}: {content!r}")

    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
        for each in [pool.submit(client) for _ in range(concurrency)]:
            each.result()
    return times, time.perf_counter() - start


def starts(passed, runs=5):
    found = []
    for _ in range(runs):
        with server(passed) as process:
            found.append(process.seconds)
    print(
        f"start of the process to ready: median {statistics.median(found):.2f} s, best {min(found):.2f} (2.5 allowed)"
    )


def overload(passed, bodies, crowd=200):
    """A crowd at once: every answer is 200 or 503."""
    with server(passed) as process:
        before = resident(process)
        gate = threading.Barrier(crowd)

        def client(number):
            gate.wait()
            start = time.perf_counter()
            status, _ = send(process.port, bodies[number % len(bodies)])
            return status, time.perf_counter() - start

        with concurrent.futures.ThreadPoolExecutor(crowd) as pool:
            found = list(pool.map(client, range(crowd)))
        after = send(process.port, bodies[0])[0]
        grown = resident(process) - before
    counts = dict(collections.Counter(status for status, _ in found))
    away = [seconds for status, seconds in found if status == 503]
    p99 = statistics.quantiles(away, n=100)[98] if len(away) > 1 else 0
    print(f"{crowd} parallel posts: {counts} (only 200 and 503 allowed), the next one {after} (200 wanted)")
    print(f"p99 of the 503s: {p99:.3f} s (0.5 allowed); resident memory grew by {grown:.0f} MiB")


def heat_maps(passed, bodies, rounds=5, count=10):
    """Latency of a prediction while eight clients request predictions, or heat maps, without pause; in turns."""
    load = {
        "alone": None,
        "eight clients for predictions": "/v1/classify",
        "eight clients for heat maps": "/v1/heatmap",
    }
    found = {name: [] for name in load}
    with server(passed) as process:
        for path in ("/v1/classify", "/v1/heatmap"):
            post_all(process.port, bodies, 10, CONCURRENCY, path)
        for _ in range(rounds):
            for name, path in load.items():
                with crowd(process.port, bodies, path):
                    found[name] += post_all(process.port, bodies, count, 1, "/v1/classify")[0]
    for name, times in found.items():
        low, middle, high = (1000 * each for each in statistics.quantiles(times, n=20)[::9])
        print(f"a prediction, with {name}: median {middle:.0f} ms (5 % {low:.0f}, 95 % {high:.0f})")


@contextlib.contextmanager
def crowd(port, bodies, path):
    """Eight clients that post one image after another as long as the block lasts; none if `path` is None."""
    over = threading.Event()

    def client():
        while not over.is_set():
            send(port, bodies[0], path=path)

    with concurrent.futures.ThreadPoolExecutor(CONCURRENCY) as pool:
        for _ in range(CONCURRENCY if path else 0):
            pool.submit(client)
        time.sleep(0.5)
        try:
            yield
        finally:
            over.set()


def stop(passed, bodies):
    """SIGTERM under load: what was accepted is answered."""
    outcomes = collections.Counter()

    def client(port):
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=120)
            except ConnectionRefusedError:
                return
            with connection:
                try:
                    head = f"POST /Inference HTTP/1.1\r\nContent-Length: {len(bodies[0])}\r\n\r\n".encode()
                    connection.sendall(head + bodies[0])
                    response = http.client.HTTPResponse(connection)
                    response.begin()
                    json.loads(response.read())
                    outcomes[response.status] += 1
                except (OSError, http.client.HTTPException) as error:
                    outcomes[type(error).__name__] += 1

    with server(passed) as process, concurrent.futures.ThreadPoolExecutor(CONCURRENCY) as pool:
        clients = [pool.submit(client, process.port) for _ in range(CONCURRENCY)]
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=120)
        for each in clients:
            each.result()
    print(f"SIGTERM under load: answers {dict(outcomes)} (only 200 allowed), exit code {code} (0 wanted)")


def hostile(passed, bodies, count):
    """Damaged, hostile and odd bodies: statuses, JSON every time, and the same prediction before and after."""
    allowed = {200, 400, 413, 415, 422}
    with server(passed) as process:
        before = json.loads(send(process.port, bodies[0])[1])
        counts, odd = collections.Counter(), []
        for number, body in enumerate(corpus(bodies[0], count)):
            status, content = send(process.port, body)
            counts[status] += 1
            if status not in allowed or not isinstance(json.loads(content), dict):
                odd.append((number, status))
        after = json.loads(send(process.port, bodies[0])[1])
        alive = process.poll() is None
    same = before["probabilities"] == after["probabilities"]
    print(f"{count} hostile bodies: {dict(sorted(counts.items()))} (allowed: {sorted(allowed)}), others: {odd[:5]}")
    print(f"alive afterwards: {alive}; the same prediction before and after: {same}")


def corpus(good, count, seed=50):
    """Bodies: every mode, format and orientation, then these and a good photo cut and with flipped bytes."""
    import PIL.Image

    generator = random.Random(seed)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.jpg", good)
    seeds = [good, *odd_images()]
    fixed = [b"", b"<html></html>", archive.getvalue(), b"%!PS-Adobe-3.0 EPSF-3.0\n", bytes(70), b"\xff\xd8\xff"]
    for size in ((60000, 1), (1, 60000), (9000, 9000)):
        buffer = io.BytesIO()
        PIL.Image.new("1", size).save(buffer, "PNG")
        fixed.append(buffer.getvalue())
    fixed.append(bytes(17 << 20))
    made = fixed + seeds
    yield from made[:count]
    for number in range(count - len(made)):
        body = bytearray(generator.choice(seeds))
        if number % 2:
            del body[generator.randrange(len(body)) :]
        else:
            for _ in range(generator.choice((1, 3, 20))):
                body[generator.randrange(len(body))] = generator.randrange(256)
        yield bytes(body)


def odd_images():
    """Small images of every format, mode and orientation."""
    import PIL.Image

    base = PIL.Image.radial_gradient("L").resize((90, 70))
    modes = {
        "JPEG": ("L", "RGB", "CMYK"),
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
        "BMP": ("1", "L", "P", "RGB"),
        "GIF": ("L", "P"),
        "WEBP": ("RGB", "RGBA"),
    }
    for kind, names in modes.items():
        for mode in names:
            image = base.convert("I").convert(mode) if mode == "I;16" else base.convert(mode)
            yield saved(image, kind)
    for orientation in range(1, 9):
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        yield saved(base, "JPEG", exif=exif)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def memory(passed, bodies, count, settled=500):
    """Resident memory after `count` requests against that after `settled`."""
    with server(passed) as process:
        post_all(process.port, bodies, settled, CONCURRENCY)
        first = resident(process)
        post_all(process.port, bodies, max(0, count - settled), CONCURRENCY)
        last = resident(process)
    change = 100 * (last / first - 1)
    print(f"resident memory: {first:.0f} MiB after {settled}, {last:.0f} after {count}: {change:+.1f} % (5 % allowed)")


def resident(process):
    """MiB, from the system's own account."""
    fields = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVER))
