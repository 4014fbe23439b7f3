"""Tasks for tests of jobs."""

import os
import pathlib
import signal
import time

from Classes.common.errors import DataError, ImageError


class Squares:
    """Squares the number of an item, and notes each computation in the file `log` of the settings.

    Items named "kill…" end their process, "bad…" are an error that is a result, "stop…" an error that ends the run.
    """

    def __init__(self, settings):
        self._log = pathlib.Path(settings["log"])
        self._fails_to_open = settings.get("fails_to_open", False)

    def open(self):
        self._note("open")
        if self._fails_to_open:
            os.kill(os.getpid(), signal.SIGKILL)

    def run(self, items):
        return [self._square(item) for item in items]

    def close(self):
        self._note("close")

    def _square(self, item):
        self._note(item.name)
        if item.name.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if item.name.startswith("stop"):
            raise DataError("no more")
        if item.name.startswith("bad"):
            return {"error": str(ImageError("bad"))}
        return {"square": item.data["number"] ** 2}

    def _note(self, text):
        with self._log.open("a") as file:
            file.write(f"{text}\n")


def computed(log):
    """Return the names of the items that were computed, in order."""
    return [line for line in pathlib.Path(log).read_text().splitlines() if line not in ("open", "close")]


class Sleeps:
    """Waits for the seconds of an item, and notes its name in the file `log` of the settings when it starts it."""

    def __init__(self, settings):
        self._log = pathlib.Path(settings["log"])

    def open(self):
        pass

    def run(self, items):
        for item in items:
            with self._log.open("a") as file:
                file.write(f"{item.name}\n")
            time.sleep(item.data["seconds"])
        return [{"name": item.name} for item in items]

    def close(self):
        pass


class Environment:
    """Returns the variable of the environment that an item names, as the process that computes it was started with."""

    def __init__(self, settings):
        pass

    def open(self):
        pass

    def run(self, items):
        started_with = pathlib.Path("/proc/self/environ").read_text().split("\0")
        variables = dict(line.split("=", 1) for line in started_with if "=" in line)
        return [{"value": variables.get(item.name)} for item in items]

    def close(self):
        pass
