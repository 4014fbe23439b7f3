"""Measure the web page with many images in headless Chromium.

python3 benchmarks/page.py FOLDER                      # its images, repeated up to 2,000
python3 benchmarks/page.py FOLDER --images 200

Prints the time from the server's first answer to the first row with a result, the memory of the page, and its longest
tasks in processor time. The server is Server.py with a stand-in for the model that answers at once, so that the page
itself is measured. Needs chromium, chromedriver and Required/requirements-dev.txt.
"""

import argparse
import contextlib
import json
import pathlib
import re
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

from tests.support import browser, servers

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
LIMIT = 900
TRACED = "toplevel,blink.user_timing"
PHASE = "phase: "
SCROLL_PIXELS_PER_SECOND = 6000
SCROLLED_PIXELS = 24_000

# Notes the first answer of the server, and the first row with a result on the screen.
OBSERVE = """
const send = window.fetch;
window.fetch = async (...request) => {
  const response = await send(...request);
  if (request[0] === "v1/classify") window.answered ??= performance.now();
  return response;
};
new MutationObserver((_, observer) => {
  if (!document.querySelector("#rows tr:is(.review, .positive, .negative)")) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.shown = performance.now(); }));
}).observe(document.getElementById("rows"), { subtree: true, childList: true, attributes: true });
"""
FINISHED = "return window.shown && document.getElementById('progress').hidden"


def repeat_images(source: pathlib.Path, target: pathlib.Path, count: int) -> None:
    """Fill `target` with `count` copies of the images in `source`."""
    images = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not images:
        raise SystemExit(f"{source}: no images")
    for number in range(count):
        path = images[number % len(images)]
        shutil.copy(path, target / f"{number:05d}{path.suffix}")


class Trace:
    """The browser's trace of the page, in phases; its buffer holds one of them."""

    def __init__(self, driver: Chrome):
        self._driver = driver
        self._events: list[dict] = []

    def begin(self, phase: str) -> None:
        """Begin a phase."""
        self._collect()
        self._driver.execute_script("performance.mark(arguments[0])", PHASE + phase)

    def _collect(self) -> None:
        # The driver returns events with every second call only.
        for entry in self._driver.get_log("performance") + self._driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Tracing.dataCollected":
                event = message["params"]
                if event["name"].startswith(PHASE) or event["name"].endswith("RunTask"):
                    self._events.append(event)

    def longest_tasks(self) -> dict[str, float]:
        """Return {phase: milliseconds of processor time of the longest task of the page}.

        Processor time, because other programs of a busy machine make a task appear longer than it is.
        """
        self._collect()
        marks = [event for event in self._events if event["name"].startswith(PHASE)]
        starts = sorted((mark["ts"], mark["name"].removeprefix(PHASE)) for mark in marks)
        threads = {(mark["pid"], mark["tid"]) for mark in marks}
        found = dict.fromkeys((name for _, name in starts), 0.0)
        for event in self._events:
            phases = [name for start, name in starts if start <= event["ts"]]
            if phases and (event["pid"], event["tid"]) in threads:
                found[phases[-1]] = max(found[phases[-1]], event.get("tdur", 0) / 1000)
        return found


def scroll_down_and_up(driver: Chrome) -> None:
    """Scroll as with a finger."""
    for distance in (-SCROLLED_PIXELS, SCROLLED_PIXELS):
        gesture = {"x": 600, "y": 500, "yDistance": distance, "speed": SCROLL_PIXELS_PER_SECOND}
        driver.execute_cdp_cmd("Input.synthesizeScrollGesture", gesture)


def press(driver: Chrome, name: str) -> None:
    """Press a button, wherever the page is scrolled to."""
    driver.execute_script("document.getElementById(arguments[0]).click()", name)


def renderer_memory(driver: Chrome) -> float:
    """Return the proportional memory (PSS) of the browser's largest renderer in MB."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family, sizes = {driver.service.process.pid}, [0.0]
    while found := {child for child, parent in parents.items() if parent in family} - family:
        family |= found
    for number in family:
        process = pathlib.Path("/proc", str(number))
        with contextlib.suppress(OSError):
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                text = (process / "smaps_rollup").read_text()
                sizes.append(int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1]) / 1000)
    return max(sizes)


def measure(driver: Chrome, port: int, folder: pathlib.Path, count: int) -> None:
    """Classify the images of a folder, look at them, and print the figures."""
    driver.get(f"http://127.0.0.1:{port}/")
    browser.wait_until_ready(driver)
    driver.execute_script(OBSERVE)
    trace = Trace(driver)
    trace.begin("classifying")
    start = time.monotonic()
    driver.find_element("id", "folder").send_keys(str(folder))
    WebDriverWait(driver, LIMIT).until(lambda _: driver.execute_script(FINISHED))
    seconds = time.monotonic() - start
    print(f"{count} images classified in {seconds:.0f} s, {count / seconds:.0f} images/s")
    delay = driver.execute_script("return window.shown - window.answered")
    print(f"first row with a result after the first answer: {delay:.0f} ms (at most 1000)")
    for view in ("gallery", "list"):
        trace.begin(f"showing the {view}")
        press(driver, f"view-{view}")
        time.sleep(2)
        trace.begin(f"scrolling the {view}")
        scroll_down_and_up(driver)
    for name in ("review", "all"):
        trace.begin(f"choosing the filter {name}")
        press(driver, f"filter-{name}")
        time.sleep(2)
    peak = renderer_memory(driver)
    driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    time.sleep(3)
    metrics = {each["name"]: each["value"] for each in driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    print(
        f"memory of the page's process: {renderer_memory(driver):.0f} MB in use (at most 300), "
        f"{peak:.0f} MB before garbage was collected; {metrics['Nodes']:.0f} nodes"
    )
    for phase, milliseconds in trace.longest_tasks().items():
        print(f"longest task while {phase}: {milliseconds:.0f} ms" + " (at most 50)" * phase.startswith("scrolling"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="images")
    parser.add_argument("--images", type=int, default=2000, help="number of images (default: 2000)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name, "images")
        folder.mkdir()
        repeat_images(options.folder, folder, options.images)
        with (
            browser.opened(pathlib.Path(name), traced=TRACED) as driver,
            servers.running(pathlib.Path(name), "RateLimitPerMinute=0") as server,
        ):
            driver.execute_cdp_cmd("Performance.enable", {})
            measure(driver, server.port, folder, options.images)
    return 0


if __name__ == "__main__":
    sys.exit(main())
