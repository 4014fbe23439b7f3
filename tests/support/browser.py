"""A real headless browser for tests of the page."""

import contextlib
import os
import shutil

import pytest

from tests.support import waiting


@contextlib.contextmanager
def opened(folder, traced=""):
    """Run a browser that saves files to `folder`; skip the test if there is none.

    `traced` has categories of Chromium's trace, which get_log("performance") then returns.
    """
    # Otherwise selenium would download a browser.
    program, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not service:
        pytest.skip("no chromium and chromedriver; install them, for instance: apt install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # Containers have a small /dev/shm, and root cannot use the sandbox.
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", **({"performance": "ALL"} if traced else {})})
    if traced:
        options.add_experimental_option("perfLoggingPrefs", {"traceCategories": traced})
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    try:
        yield driver
    finally:
        driver.quit()


def width(driver, pixels, height=800, **features):
    """Set the width of the screen, and media features such as prefers_color_scheme="dark"."""
    measures = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": pixels < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", measures)
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def complaints(driver):
    """Return new console messages, except those that the browser always logs.

    They are HTTP errors, and that a page may not ask before it is left if nobody has pressed a key or button.
    """
    usual = ("the server responded with a status of", "Blocked attempt to show a 'beforeunload' confirmation")
    found = [entry["message"] for entry in driver.get_log("browser")]
    return [text for text in found if not any(part in text for part in usual)]


# The web page


def visit(driver, server, folder):
    """Open the page of a server as if for the first time, yield the browser, and fail on console messages."""
    for path in folder.glob("*.csv"):
        path.unlink()
    width(driver, 1280)
    driver.get(f"http://127.0.0.1:{server.port}/icon.svg")
    driver.execute_script("sessionStorage.clear()")
    driver.get(f"http://127.0.0.1:{server.port}/")
    complaints(driver)
    wait_until_ready(driver)
    yield driver
    assert complaints(driver) == []


def wait_until_ready(driver):
    """Wait until the page knows its server."""
    wait(driver, lambda: by_id(driver, "model").text)


def by_id(driver, name):
    return driver.find_element("id", name)


def choose(driver, folder, *names):
    """Choose files of a folder as in the browser's dialog."""
    by_id(driver, "files").send_keys("\n".join(str(folder / name) for name in names))
    wait(driver, lambda: by_id(driver, "results").is_displayed())


def wait(driver, condition):
    """Wait until a condition is true, and return its value; ask again if the page replaced an element meanwhile."""
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    passing = (NoSuchElementException, StaleElementReferenceException)
    limited = WebDriverWait(driver, waiting.LIMIT, poll_frequency=0.05, ignored_exceptions=passing)
    return limited.until(lambda _: condition())


# The page replaces lists as results arrive, so an element that was found a moment ago may be gone when it is asked.
# Texts and attributes are therefore read by one script, and clicks look for their element until one succeeds.


def texts(driver, selector):
    """Return the texts of elements as they are shown, read at one moment."""
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText.trim())"
    return driver.execute_script(script, selector)


def attributes(driver, selector, name):
    """Return an attribute of elements, None for those without it, read at one moment."""
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.getAttribute(arguments[1]))"
    return driver.execute_script(script, selector, name)


def count(driver, selector):
    return len(driver.find_elements("css selector", selector))


def click(driver, selector, place=0):
    """Click an element, by default the first of the selector, as soon as it is there."""

    def clicked():
        found = driver.find_elements("css selector", selector)[place:][:1]
        for each in found:
            each.click()
        return found

    wait(driver, clicked)


def focused(driver, name):
    """Return an attribute of the element with the focus, None if it has none."""
    return driver.execute_script("return document.activeElement.getAttribute(arguments[0])", name)


def rows(driver):
    """Wait for all images and return {file: (outcome, lines of the result)} in the order of the page."""
    wait(driver, lambda: not driver.find_elements("css selector", "tr.waiting, tr.sending"))
    # Not innerText, because the browser does not lay out rows off the screen.
    script = """
    return [...document.querySelectorAll("#rows tr")].map((row) => [
      row.querySelector("th").textContent,
      row.className,
      [...row.querySelector(".result").children].map((part) => part.textContent),
    ])
    """
    return {name: (outcome, lines) for name, outcome, lines in driver.execute_script(script)}


def fits(driver):
    """Return whether the page fits the width of the screen."""
    return driver.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
