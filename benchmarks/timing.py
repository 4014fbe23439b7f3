"""One way of timing and reporting for every benchmark: turns, medians, spread, and what else the machine did."""

import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent


def median(values):
    """{"median", "low", "high", "count"}: low and high are the tenth and the ninetieth percentile."""
    ends = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    return {"median": statistics.median(values), "low": ends[0], "high": ends[-1], "count": len(values)}


def in_turns(callables, rounds, warm=1):
    """Call each in turn, so that whatever else the machine does meets all alike.

    Args:
      callables: {name: function without arguments that returns seconds}.
      rounds: counted turns.
      warm: turns before them that are not counted.
    Returns:
      {name: list of seconds}.
    """
    found = {name: [] for name in callables}
    for number in range(rounds + warm):
        for name, function in callables.items():
            seconds = function()
            if number >= warm:
                found[name].append(seconds)
    return found


def seconds(function, *arguments):
    """How long a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def processor_seconds(pid):
    """Seconds that a process and its children have used on all cores; the system counts hundredths."""
    # Late, because most benchmarks do without it.
    import psutil

    total = 0.0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def row(what, values, unit, scale=1.0, **more):
    """One line of a report: `values` times `scale`, as a median with its spread."""
    return {"what": what, "unit": unit, **median([scale * value for value in values]), **more}


def ratio(what, slow, fast, least):
    """A line on how many times slower one is: the median of the ratios turn by turn, and what was aimed at."""
    values = [first / second for first, second in zip(slow, fast, strict=True)]
    return row(what, values, "times", wanted=f"at least {least:g}")


def model_and_images(document, arguments, rounds, calls):
    """Read the options of a benchmark of one model, whose help is `document`.

    Returns:
      (options with `rounds` and `calls`, configuration, model card, image files).
    """
    from Classes import Helpers
    from Classes.common import cli, input_files
    from Classes.inference import model_card

    parser = cli.base_parser(document)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns (default: {rounds})")
    parser.add_argument("--calls", type=int, default=calls, help=f"images in a turn (default: {calls})")
    options = parser.parse_args(arguments)
    configuration = Helpers.load_config(options.confs, options.settings)
    card = model_card.load_model_card(configuration.card, cell_types=True)
    return options, configuration, card, input_files.resolve_inputs(configuration, [])[: options.calls]


def machine():
    """What this was measured on, and what else it did."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _lines(path):
    try:
        return pathlib.Path(path).read_text().splitlines()
    except OSError:
        return []


def table(rows):
    """Rows as a Markdown table."""
    lines = ["| what | median | 10 to 90 % | unit | wanted |", "|---|---|---|---|---|"]
    for each in rows:
        cells = each["what"], _short(each["median"]), f"{_short(each['low'])} to {_short(each['high'])}", each["unit"]
        lines.append("| " + " | ".join((*cells, each.get("wanted", ""))) + " |")
    return "\n".join(lines)


def _short(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def report(parts, started, folder):
    """Print the tables and write them with everything measured.

    Args:
      parts: {title: rows}.
      started: `machine()` before the first measurement.
      folder: pathlib.Path; benchmarks.json and benchmarks.md are written there. None: only printed.
    """
    conditions = f"{started['processor']}, {started['cores']} cores; load {started['load'][0]} before and "
    conditions += f"{machine()['load'][0]} after"
    text = "\n\n".join([conditions, *(f"### {title}\n\n{table(rows)}" for title, rows in parts.items())])
    print(text)
    if folder is not None:
        from Classes.common import atomic_files, json_files

        json_files.write_json(folder / "benchmarks.json", {"before": started, "after": machine(), "parts": parts})
        atomic_files.write_atomic(folder / "benchmarks.md", text + "\n")


class Peer:
    """A program in a process of its own that answers one line of JSON a line: no library disturbs another's threads.

    Args:
      script: path of the script.
      arguments: its arguments.
    """

    def __init__(self, script, *arguments):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-u", str(script), *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.about = self._answer()

    def ask(self, question):
        """The answer to one line of JSON."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _answer(self):
        # Libraries print remarks of their own.
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.close()
        raise SystemExit(f"{' '.join(self._process.args[2:])}: ended without an answer; run it by itself to see why")


def serve(about, answer):
    """The other side of `Peer`: print `about`, then `answer(question)` for every line."""
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
