"""A real headless browser for tests of the page."""

import contextlib
import os
import shutil

import pytest


@contextlib.contextmanager
def opened(folder):
    """Run a browser that saves files to `folder`; skip the test if there is none."""
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
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
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
    """Return new console messages, except those for HTTP errors, which the browser always logs."""
    found = [entry["message"] for entry in driver.get_log("browser")]
    return [text for text in found if "the server responded with a status of" not in text]
