"""A real browser without a window, for tests of the page."""

import contextlib
import os
import shutil

import pytest


@contextlib.contextmanager
def opened(folder):
    """A browser that saves into `folder`; ended with the block, the test skipped where there is none."""
    # Named, since selenium would fetch others from the network.
    program, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not service:
        pytest.skip("no chromium and chromedriver; install them, for instance: apt install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # Containers have a small /dev/shm, and for root there is no sandbox.
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
    """Lay the page out for a screen so wide, with media features such as prefers_color_scheme="dark"."""
    measures = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": pixels < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", measures)
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def complaints(driver):
    """What the browser's console has said since the last call, but for refusals, which it tells of by itself."""
    found = [entry["message"] for entry in driver.get_log("browser")]
    return [text for text in found if "the server responded with a status of" not in text]
