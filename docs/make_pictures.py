"""Make the pictures of the documentation again, from synthetic images.

python3 docs/make_pictures.py             # trains two small models first, a few minutes on two cores
python3 docs/make_pictures.py FOLDER      # with the models of an earlier run; FOLDER is its NetworkPath

The web page and the terminal show the demo model and its practice images. Writes WebP files to docs/images. Needs
chromium, chromedriver and Required/requirements-dev.txt.
"""

import contextlib
import html
import io
import itertools
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import PIL.Image
import PIL.ImageOps

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support import browser, terminals

PROJECT = pathlib.Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
# In CSS pixels; a sheet of A4 paper has 794 x 1123.
DESKTOP, PHONE, A4 = (1100, 900), (390, 800), (794, 1123)
# Of WebP, from 0 to 100.
QUALITY = 85

# A small network that learns the synthetic smears without pretrained weights. Two runs, so that they can be compared.
TRAINING = ("Network=AllCNN", "Epochs=20")
LEARNING_RATES = ("0.0001", "0.0003")

DEMO_IMAGES = "Model/Demo/Images"
CLASSIFY_COMMAND = ("Classifier.py", "--model", "Model/Demo/ALLGraph.pb", DEMO_IMAGES)
TERMINAL_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1d2230; color: #dde3ee; font: 13px/1.5 "DejaVu Sans Mono", monospace }}
pre {{ margin: 0; padding: 16px; font: inherit }}</style><pre>{}</pre>"""
EXAMPLES_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 10px; display: flex; justify-content: space-between; font: 17px sans-serif }}
figure {{ margin: 0; text-align: center }} figcaption {{ padding-top: 8px }}
figure:first-child img {{ outline: 4px solid #2a7d4f }}</style>{}"""
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


def train_models(folder: pathlib.Path) -> None:
    """Make synthetic smears, train two models on them and evaluate each; only evaluate if `folder` has a model."""
    if (folder / "Model" / "ALLGraph.pb").exists():
        run_script(folder, "Validation.py")
        return
    for arguments in (["Data.py", "Demo"], ["Data.py"]):
        run_script(folder, *arguments)
    for rate in LEARNING_RATES:
        settings = [part for setting in (*TRAINING, f"LearningRate={rate}") for part in ("--set", setting)]
        run_script(folder, "Trainer.py", *settings)
        run_script(folder, "Validation.py")


def plant_duplicates(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Copy the data with a mirrored image, and one in both classes, so that the audit has something to find."""
    for name in ("Data", "Test"):
        shutil.copytree(folder / "Model" / name, target / "Model" / name, ignore=shutil.ignore_patterns("ALL_*"))
    data = target / "Model" / "Data"
    first, second = sorted((data / "0").glob("*.jpg"))[:2]
    PIL.ImageOps.mirror(PIL.Image.open(first)).save(data / "0" / "Synthetic_mirrored.jpg", quality=92)
    shutil.copy(second, data / "1" / "Synthetic_copied.jpg")


@contextlib.contextmanager
def started(command: list[str], phrase: str) -> Iterator[str]:
    """Start a program; yield the address in the line in which it prints `phrase`; end it with the block."""
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            line = next(line for line in process.stdout if phrase in line)
            yield "http://" + line.split("http://")[1].split()[0].rstrip("/")
        finally:
            process.terminate()
            process.communicate()


def demo_server(temporary: pathlib.Path, *settings: str) -> contextlib.AbstractContextManager[str]:
    """Start the server with the demo model; its address is the value of the block."""
    settings = ("Port=0", "SiteName=Example laboratory", f"Logs={temporary}/Logs/", *settings)
    options = [part for setting in settings for part in ("--set", setting)]
    return started([sys.executable, "-u", "Server.py", "--demo", *options], "Running on")


def set_screen(driver: Chrome, size: tuple[int, int], scale: float = 1) -> None:
    """Lay pages out for a screen of `size` CSS pixels."""
    measures = {"width": size[0], "height": size[1], "deviceScaleFactor": scale, "mobile": size[0] < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", measures)
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})


def screenshot(driver: Chrome | WebElement) -> PIL.Image.Image:
    """Return what the browser shows of a page or of an element of it."""
    content = driver.get_screenshot_as_png() if isinstance(driver, Chrome) else driver.screenshot_as_png
    return PIL.Image.open(io.BytesIO(content)).convert("RGB")


def save(picture: PIL.Image.Image, name: str) -> None:
    """Write a picture as WebP: without loss if that is smaller, as it is for texts and tables."""
    path = IMAGES / f"{name}.webp"
    contents = [io.BytesIO(), io.BytesIO()]
    picture.save(contents[0], "WebP", quality=QUALITY, method=6)
    picture.save(contents[1], "WebP", lossless=True, method=6)
    path.write_bytes(min((content.getvalue() for content in contents), key=len))
    print(f"{path.relative_to(PROJECT)}: {picture.width}x{picture.height}, {path.stat().st_size // 1000} kB")


def page_height(driver: Chrome) -> int:
    """Return the height of the whole page in CSS pixels, without the empty space below its footer."""
    last = "(document.querySelector('footer.bottom') ?? document.body)"
    return driver.execute_script(f"return {last}.getBoundingClientRect().bottom + window.scrollY")


def wait(driver: Chrome, condition: Callable[[], object]) -> None:
    """Wait up to two minutes until a condition is true, and half a second for what follows it."""
    WebDriverWait(driver, 120).until(lambda _: condition())
    time.sleep(0.5)


def take_web_page(driver: Chrome, address: str) -> None:
    """The page before and after images were chosen, the dialog, and the page on a phone."""
    set_screen(driver, DESKTOP)
    driver.get(f"{address}/")
    wait(driver, lambda: driver.find_element(By.ID, "try-examples").is_displayed())
    set_screen(driver, (DESKTOP[0], int(page_height(driver))))
    save(screenshot(driver), "page-start")
    driver.find_element(By.ID, "try-examples").click()
    wait(driver, lambda: driver.find_element(By.ID, "print").is_enabled())
    wait(driver, lambda: not driver.find_elements(By.CSS_SELECTOR, "tr.waiting, tr.sending"))
    set_screen(driver, (DESKTOP[0], int(page_height(driver)) + 20))
    time.sleep(1)
    save(screenshot(driver), "page")
    take_printed_report(driver)
    set_screen(driver, PHONE, scale=1.5)
    driver.execute_script("document.querySelector('.views').scrollIntoView(); window.scrollBy(0, -60)")
    time.sleep(1)
    save(screenshot(driver), "page-phone")
    set_screen(driver, (DESKTOP[0], 640))
    # The second image: the first has other colors.
    driver.find_elements(By.CSS_SELECTOR, "#rows .picture button")[2].click()
    script = "const s = document.getElementById('opacity'); s.value = 60; s.dispatchEvent(new Event('input'))"
    driver.execute_script(script)
    wait(driver, lambda: driver.find_element(By.ID, "viewer-map").is_displayed())
    save(screenshot(driver), "heat_map")


def take_printed_report(driver: Chrome) -> None:
    """The two sheets of the printed report, side by side."""
    driver.execute_script("window.print = () => dispatchEvent(new Event('beforeprint'))")
    driver.find_element(By.ID, "print").click()
    wait(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "#report .sheet"))
    set_screen(driver, (A4[0], 2 * A4[1]))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    time.sleep(1)
    sheets = [screenshot(sheet) for sheet in driver.find_elements(By.CSS_SELECTOR, "#report .sheet")]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    driver.execute_script("dispatchEvent(new Event('afterprint'))")
    # The margins of the paper, and the table that it lies on.
    margin, gap = 50, 20
    paper = [PIL.ImageOps.expand(sheet, margin, "white") for sheet in sheets]
    height = max(sheet.height for sheet in paper)
    picture = PIL.Image.new("RGB", (sum(each.width + gap for each in paper) + gap, height + 2 * gap), "#c8ccd4")
    for number, sheet in enumerate(paper):
        left = gap + number * (sheet.width + gap)
        picture.paste("white", (left, gap, left + sheet.width, gap + height))
        picture.paste(sheet, (left, gap))
    picture.thumbnail((DESKTOP[0], DESKTOP[0]))
    save(picture, "printed_report")


def take_api_page(driver: Chrome, address: str) -> None:
    """An answer of "Try it out"."""
    set_screen(driver, (DESKTOP[0], 760))
    driver.get(f"{address}/docs")
    wait(driver, lambda: driver.find_elements(By.CSS_SELECTOR, ".operation"))
    operations = driver.find_elements(By.CSS_SELECTOR, ".operation")
    operation = next(
        each for each in operations if each.find_element(By.CSS_SELECTOR, "h2").text == "POST /v1/classify"
    )
    form = operation.find_element(By.CSS_SELECTOR, ".try")
    driver.execute_script("arguments[0].open = true", form)
    form.find_element(By.CSS_SELECTOR, "[type=file]").send_keys(str(next((PROJECT / DEMO_IMAGES).glob("*1001_1.jpg"))))
    driver.execute_script("arguments[0].scrollIntoView({ block: 'center' })", form)
    form.find_element(By.CSS_SELECTOR, "button").click()
    wait(driver, lambda: form.find_elements(By.CSS_SELECTOR, ".answer pre"))
    driver.execute_script("arguments[0].scrollIntoView(); window.scrollBy(0, 20)", form)
    time.sleep(1)
    save(screenshot(driver), "try_it_out")


def take_history(driver: Chrome, temporary: pathlib.Path) -> None:
    """The history of a ward that has a key with a name."""
    keys = {name: secrets.token_hex(32) for name in ("ward-3", "night-lab")}
    path = temporary / "keys.txt"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name} {key}\n" for name, key in keys.items()), encoding="utf-8")
    settings = (f"ApiKeysFile={path}", "HistoryDays=90", f"HistoryFile={temporary}/History.sqlite3")
    with demo_server(temporary, *settings) as address:
        command = [sys.executable, "Client.py", "Send", DEMO_IMAGES, "--server", address]
        subprocess.run(
            [*command, "--set", f"Logs={temporary}/Logs/"],
            cwd=PROJECT, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "ALL_API_KEY": keys["ward-3"]},
        )  # fmt: skip
        set_screen(driver, (DESKTOP[0], 520))
        driver.get(f"{address}/")
        wait(driver, lambda: driver.find_element(By.ID, "key").is_displayed())
        save(screenshot(driver), "page-key")
        set_screen(driver, (DESKTOP[0], 640))
        driver.get(f"{address}/history")
        wait(driver, lambda: driver.find_element(By.ID, "key").is_displayed())
        driver.find_element(By.ID, "key").send_keys(keys["ward-3"])
        driver.find_element(By.CSS_SELECTOR, "#form button").click()
        wait(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "#results tr"))
        save(screenshot(driver), "history")


def take_file(driver: Chrome, folder: pathlib.Path, path: str, name: str, height: int, start: str = "body") -> None:
    """A page of a script from an element on, without the temporary folder's name."""
    set_screen(driver, (DESKTOP[0], height))
    driver.get((folder / "Model" / path).as_uri())
    replace = (
        "document.querySelectorAll('p, pre, code').forEach(e => e.innerHTML = e.innerHTML.replaceAll(arguments[0], ''))"
    )
    driver.execute_script(replace, f"{folder}/")
    driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", start)
    time.sleep(1)
    save(screenshot(driver), name)


def take_image_examples(driver: Chrome, temporary: pathlib.Path) -> None:
    """A good image beside images that a person should look at."""

    def practice_image(name: str) -> PIL.Image.Image:
        return PIL.Image.open(PROJECT / DEMO_IMAGES / f"Synthetic_{name}.jpg").convert("RGB")

    good = practice_image("1002_1")
    several = PIL.Image.new("RGB", (2 * good.width, 2 * good.height))
    for place, name in enumerate(("1001_1", "1005_0", "1002_0", "1006_1")):
        several.paste(practice_image(name), (place % 2 * good.width, place // 2 * good.height))
    examples = {
        "good": good,
        "other colors": practice_image("1008_other_stain"),
        "out of focus": practice_image("1009_blurred"),
        "near the border": good.crop((110, 90, 300, 280)),
        "several cells": several,
    }
    figures = ""
    for number, (caption, image) in enumerate(examples.items()):
        image.resize((200, 200)).save(temporary / f"example{number}.png")
        figures += f'<figure><img src="example{number}.png"><figcaption>{caption}</figcaption></figure>'
    path = temporary / "examples.html"
    path.write_text(EXAMPLES_PAGE.format(figures), encoding="utf-8")
    set_screen(driver, (1100, 100))
    driver.get(path.as_uri())
    set_screen(driver, (1100, int(page_height(driver))))
    save(screenshot(driver), "image_examples")


def take_terminal(driver: Chrome, temporary: pathlib.Path) -> None:
    """Classifier.py on a folder, in a terminal of 80 columns."""
    command = [sys.executable, *CLASSIFY_COMMAND, "--set", f"Logs={temporary}/Logs/"]
    recording = terminals.record(command, cwd=PROJECT)
    lines = [f"$ python3 {' '.join(CLASSIFY_COMMAND)}", *terminal_lines(recording.screen)]
    path = temporary / "terminal.html"
    path.write_text(TERMINAL_PAGE.format("\n".join(lines)), encoding="utf-8")
    set_screen(driver, (700, 100))
    driver.get(path.as_uri())
    set_screen(driver, (700, int(page_height(driver))))
    save(screenshot(driver), "terminal")


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
    """The curves of the newest run, as Trainer.py Board shows them."""
    command = [sys.executable, "-m", "tensorboard.main", "--port=0", "--logdir", str(folder / "Model" / "latest")]
    with started(command, "http://") as address:
        set_screen(driver, (1500, 600))
        driver.get(f"{address}/?darkMode=false&tagFilter=^(accuracy|auc|loss)#timeseries")
        WebDriverWait(driver, 60).until(lambda _: driver.find_elements(By.CSS_SELECTOR, "scalar-card svg path"))
        buttons = "[...document.querySelectorAll('button')]"
        driver.execute_script(f"{buttons}.find(each => each.textContent.includes('Settings'))?.click()")
        time.sleep(5)
        save(screenshot(driver), "tensorboard")


def main(arguments: list[str]) -> int:
    """Make all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        temporary = pathlib.Path(name)
        folder = pathlib.Path(arguments[0]).resolve() if arguments else temporary / "demo"
        train_models(folder)
        run_script(folder, "Validation.py", "Compare")
        audited = temporary / "audited"
        plant_duplicates(folder, audited)
        run_script(audited, "Data.py", "Check")
        with browser.opened(temporary) as driver:
            with demo_server(temporary) as address:
                take_web_page(driver, address)
                take_api_page(driver, address)
            take_history(driver, temporary)
            take_image_examples(driver, temporary)
            take_terminal(driver, temporary)
            take_file(driver, folder, "Report/Report.html", "report", 1000)
            take_file(driver, folder, "Report/Report.html", "report_examples", 640, "#examples")
            take_file(driver, folder, "Runs/Compare.html", "compare", 900)
            take_file(driver, audited, "Report/Data.html", "audit", 950)
            take_tensorboard(driver, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
