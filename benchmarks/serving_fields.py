"""Time to the answer for single cells, without and while fields are sent to the same server again and again.

python3 benchmarks/serving_fields.py 8080 cell.jpg field.jpg    # the port of a running Server.py (RateLimitPerMinute=0)
"""

import argparse
import http.client
import pathlib
import statistics
import sys
import threading
import time

# Seconds between two single cells, and until the first field has loaded its models.
PAUSE, WARM_UP = 0.01, 3


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("cell", type=pathlib.Path)
    parser.add_argument("field", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement (default: 10)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    cell, field = options.cell.read_bytes(), options.field.read_bytes()
    send(options.port, "/v1/classify", cell, lambda count, _: count < 10)
    for _ in range(options.rounds):
        alone = send(options.port, "/v1/classify", cell, lambda _, passed: passed < options.seconds, PAUSE)
        stopped, fields = threading.Event(), []
        thread = threading.Thread(
            target=lambda ended=stopped, found=fields: found.extend(
                send(options.port, "/v1/field", field, lambda *_: not ended.is_set())
            )
        )
        thread.start()
        time.sleep(WARM_UP)
        beside = send(options.port, "/v1/classify", cell, lambda _, passed: passed < options.seconds, PAUSE)
        stopped.set()
        thread.join()
        print(f"alone          {describe(alone)}")
        print(f"beside fields  {describe(beside)}; p99 x {last(beside) / last(alone):.2f} (wanted: at most 3)")
        print(f"fields         {describe(fields)}", flush=True)
    return 0


def send(port, path, content, more, pause=0.0):
    """Return the seconds of each request, sent one after the other while `more(count, seconds passed)` is true."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found, begin = [], time.perf_counter()
    while more(len(found), time.perf_counter() - begin):
        start = time.perf_counter()
        connection.request("POST", path, content)
        answer = connection.getresponse()
        answer.read()
        found.append(time.perf_counter() - start)
        if answer.status != 200:
            raise SystemExit(f"{path}: HTTP {answer.status}")
        time.sleep(pause)
    connection.close()
    return found


def last(seconds):
    """Return the 99th percentile."""
    return statistics.quantiles(seconds, n=100)[-1]


def describe(seconds):
    median = statistics.median(seconds)
    return f"{len(seconds)} requests, median {1000 * median:.1f} ms, p99 {1000 * last(seconds):.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
