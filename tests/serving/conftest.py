"""A browser and a server for the tests of the web page, started once."""

import pytest

from Classes.imaging import color_stats
from tests.support import browser, graphs, servers, services


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Images with known results, with a comma and a formula in names, and one file that is not an image."""
    found = tmp_path_factory.mktemp("web")
    for name, red in (("sick.png", 192), ("well, blue.png", 64), ("=1+1.png", 0)):
        (found / name).write_bytes(services.image(red))
    (found / "broken.png").write_bytes(b"no image")
    return found


@pytest.fixture(scope="session")
def driver(folder):
    with browser.opened(folder) as found:
        yield found


@pytest.fixture(scope="session")
def server(driver, tmp_path_factory):
    """Server.py with its device; depends on `driver`, so that it is not started without a browser."""
    known = [color_stats.color_features(graphs.red(value, size=graphs.SIZE)) for value in (64, 65, 191, 192)]
    model = {"content": graphs.pooled(), "size": graphs.SIZE, "colours": color_stats.fit_reference(known)}
    settings = ("RateLimitPerMinute=0", "SiteName=Ward 7", "HistoryDays=7")
    with servers.running(tmp_path_factory.mktemp("server"), *settings, real=True, model=model) as found:
        yield found


@pytest.fixture
def page(driver, server, folder):
    """The browser with a new page; fails if the console has messages at the end."""
    yield from browser.visit(driver, server, folder)


@pytest.fixture
def client(tmp_path):
    found = services.client(tmp_path)
    yield found
    found.service.close()
