"""Make the pictures of the documentation again, from synthetic images.

python3 docs/make_pictures.py             # trains a small demo model first, about five minutes on two cores
python3 docs/make_pictures.py FOLDER      # with the demo model of an earlier run; FOLDER is its NetworkPath

Writes PNG files to docs/images. Needs chromium, chromedriver and Required/requirements-dev.txt.
"""

import contextlib
import html
import io
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import PIL.Image
import PIL.ImageOps

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.support import browser, terminals

PROJECT = pathlib.Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
DESKTOP, PHONE = (1100, 900), (390, 800)
N_COLORS = 128

# The same settings as in Setup.sh: a narrow network that learns the synthetic smears without pretrained weights.
DEMO_SETTINGS = (
    "DepthMultiplier=0.25", "Epochs=15", "LearningRate=0.001", "EpochsBeforeDecay=3", "LearningRateDecay=0.6",
)  # fmt: skip
TERMINAL_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1d2230; color: #dde3ee; font: 13px/1.5 "DejaVu Sans Mono", monospace }}
pre {{ margin: 0; padding: 16px; font: inherit }}</style><pre>{}</pre>"""
# The names of pyte; it calls yellow brown.
TERMINAL_COLORS = {
    "red": "#ff7b72", "green": "#6bd68a", "brown": "#e8c268", "cyan": "#67c9e0", "magenta": "#d69be8",
}  # fmt: skip


def run_script(folder: pathlib.Path, *arguments: str) -> str:
    """Run one of the project's scripts on a NetworkPath; return what it printed, without time stamps."""
    command = [sys.executable, *arguments, "--set", f"NetworkPath={folder}"]
    done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
    lines = (line.partition(" - INFO - ")[2] or line for line in done.stdout.splitlines())
    return "\n".join(line.replace(f"{folder}/", "") for line in lines)


def train_demo_model(folder: pathlib.Path) -> None:
    """Make synthetic smears and train on them, unless `folder` already has a model; evaluate it."""
    if not (folder / "Model" / "ALLGraph.pb").exists():
        settings = [part for setting in DEMO_SETTINGS for part in ("--set", setting)]
        for arguments in (["Data.py", "Demo"], ["Data.py"], ["Trainer.py", *settings]):
            run_script(folder, *arguments)
    run_script(folder, "Validation.py")


def plant_duplicates(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Copy the data with a mirrored image, and one in both classes, so that the audit has something to find."""
    for name in ("Data", "Test"):
        shutil.copytree(folder / "Model" / name, target / "Model" / name, ignore=shutil.ignore_patterns("ALL_*"))
    data = target / "Model" / "Data"
    first, second = sorted((data / "0").glob("*.jpg"))[:2]
    PIL.ImageOps.mirror(PIL.Image.open(first)).save(data / "0" / "Synthetic_mirrored.jpg", quality=92)
    shutil.copy(second, data / "1" / "Synthetic_copied.jpg")


def example_images(folder: pathlib.Path, target: pathlib.Path) -> list[pathlib.Path]:
    """Return four test images, one in other colors and a damaged one."""
    found = sorted((folder / "Model" / "Test").glob("*.jpg"))
    odd = target / "other_stain.jpg"
    red, green, blue = PIL.Image.open(found[7]).convert("RGB").split()
    PIL.Image.merge("RGB", (blue, red, green)).save(odd, quality=92)
    damaged = target / "damaged.jpg"
    damaged.write_bytes(found[8].read_bytes()[:2000])
    return [*found[:4], odd, damaged]


@contextlib.contextmanager
def started(command: list[str], phrase: str) -> Iterator[str]:
    """Start a program; yield the line in which it prints `phrase`; end it with the block."""
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    ) as process:
        try:
            yield next(line for line in process.stdout if phrase in line)
        finally:
            process.terminate()
            process.communicate()


def set_screen(driver: Chrome, size: tuple[int, int], scale: float = 1) -> None:
    """Lay pages out for a screen of `size` CSS pixels."""
    measures = {"width": size[0], "height": size[1], "deviceScaleFactor": scale, "mobile": size[0] < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", measures)
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})


def save(driver: Chrome, name: str) -> None:
    """Write what the browser shows as a PNG with few colors."""
    picture = PIL.Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    path = IMAGES / f"{name}.png"
    picture.quantize(N_COLORS, dither=PIL.Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(PROJECT)}: {picture.width}x{picture.height}, {path.stat().st_size // 1000} kB")


def page_height(driver: Chrome) -> int:
    """Return the height of the whole page in CSS pixels."""
    return driver.execute_script("return document.body.getBoundingClientRect().bottom + window.scrollY")


def take_web_page(driver: Chrome, folder: pathlib.Path, images: list[pathlib.Path]) -> None:
    """The page with results on a desktop and on a phone, and an enlarged heat map."""
    command = [sys.executable, "-u", "Server.py", "--set", f"NetworkPath={folder}", "--set", "Port=0"]
    with started(command, "Running on") as line:
        driver.get(line.split("Running on ")[1].split()[0])
        driver.find_element(By.ID, "files").send_keys("\n".join(map(str, images)))
        maps = "#rows tr img[src^='data:image/png']"
        WebDriverWait(driver, 120).until(lambda _: len(driver.find_elements(By.CSS_SELECTOR, maps)) >= len(images) - 1)
        time.sleep(2)
        set_screen(driver, (DESKTOP[0], int(page_height(driver)) + 20))
        save(driver, "page")
        driver.find_elements(By.CSS_SELECTOR, maps)[1].click()
        set_screen(driver, (DESKTOP[0], 760))
        time.sleep(1)
        save(driver, "heat_map")
        driver.find_element(By.ID, "close").click()
        set_screen(driver, PHONE, scale=1.5)
        driver.execute_script("document.querySelector('#table').scrollIntoView(); window.scrollBy(0, -90)")
        time.sleep(1)
        save(driver, "page-phone")


def take_file(driver: Chrome, folder: pathlib.Path, filename: str, name: str, height: int) -> None:
    """The top of a page in the folder of the reports, without the temporary folder's name."""
    set_screen(driver, (DESKTOP[0], height))
    driver.get((folder / "Model" / "Report" / filename).as_uri())
    replace = "document.querySelectorAll('p').forEach(e => e.innerHTML = e.innerHTML.replaceAll(arguments[0], ''))"
    driver.execute_script(replace, f"{folder}/")
    time.sleep(1)
    save(driver, name)


def take_terminal(driver: Chrome, folder: pathlib.Path, temporary: pathlib.Path) -> None:
    """Classifier.py in a terminal of 80 columns."""
    command = [sys.executable, "Classifier.py", "--set", f"NetworkPath={folder}"]
    recording = terminals.record(command, cwd=PROJECT)
    lines = ["$ python3 Classifier.py", *terminal_lines(recording.screen)]
    path = temporary / "terminal.html"
    path.write_text(TERMINAL_PAGE.format("\n".join(lines).replace(f"{folder}/", "")), encoding="utf-8")
    set_screen(driver, (700, 100))
    driver.get(path.as_uri())
    set_screen(driver, (700, int(page_height(driver))))
    save(driver, "terminal")


def terminal_lines(screen: terminals.Screen) -> Iterator[str]:
    """Yield the lines of a terminal as HTML."""
    for row in range(len(screen.text())):
        line = ""
        for style, cells in itertools.groupby(
            (screen.buffer[row][column] for column in range(screen.columns)), lambda cell: (cell.fg, cell.bold)
        ):
            text = html.escape("".join(cell.data for cell in cells))
            color = TERMINAL_COLORS.get(style[0], "inherit")
            line += f'<span style="color: {color}; font-weight: {"bold" if style[1] else "normal"}">{text}</span>'
        yield line


def take_tensorboard(driver: Chrome, folder: pathlib.Path) -> None:
    """The curves of the training."""
    command = [sys.executable, "-m", "tensorboard.main", "--port=0", "--logdir", str(folder / "Model" / "_logs")]
    with started(command, "http://") as line:
        set_screen(driver, (1500, 600))
        address = "http://" + line.split("http://")[1].split()[0].rstrip("/")
        driver.get(f"{address}/?darkMode=false&tagFilter=Loss|AUC#timeseries")
        WebDriverWait(driver, 60).until(lambda _: driver.find_elements(By.CSS_SELECTOR, "scalar-card svg path"))
        buttons = "[...document.querySelectorAll('button')]"
        driver.execute_script(f"{buttons}.find(each => each.textContent.includes('Settings'))?.click()")
        time.sleep(5)
        save(driver, "tensorboard")


def main(arguments: list[str]) -> int:
    """Make all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        temporary = pathlib.Path(name)
        folder = pathlib.Path(arguments[0]).resolve() if arguments else temporary / "demo"
        train_demo_model(folder)
        audited = temporary / "audited"
        plant_duplicates(folder, audited)
        run_script(audited, "Data.py", "Check")
        with browser.opened(temporary) as driver:
            set_screen(driver, DESKTOP)
            take_web_page(driver, folder, example_images(folder, temporary))
            take_file(driver, folder, "Report.html", "report", 1000)
            take_file(driver, audited, "Data.html", "audit", 950)
            take_terminal(driver, folder, temporary)
            take_tensorboard(driver, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
