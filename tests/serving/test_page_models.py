"""Tests of the page with two models, one of which names types of cells, in a real browser with a real server."""

import csv
import io

import pytest
from selenium.webdriver.support.ui import Select

from Classes.common import conditions
from tests.support import browser, graphs, servers, services
from tests.support.browser import attributes, by_id, choose, click, fits, rows, texts, visit, wait

# By graphs.pooled, for an image of red 255, the logits are 1.49, 4.96 and 0; below red 128 they are 0.5, 0 and 0.
CLASSES = ("A", "B", "C")
ABOUT = {
    "names": {"A": "alpha cell", "B": "beta cell", "C": "gamma cell"},
    "groups": {"round": ["A", "C"], "beta cell": ["B"]},
    "limits": ["It has never seen a leukemic cell.", "It has never seen another stain."],
}


def write_types(folder, **fields):
    """Write a model of cell types where the server looks for WhiteCells."""
    path = graphs.write(
        folder / "Model" / "WhiteCells",
        content=graphs.pooled(3),
        classes=CLASSES,
        size=graphs.SIZE,
        **{"positive": "", "cell_types": ABOUT, "graph": "WhiteCells.pb", **fields},
    )
    path.with_suffix(".pb").rename(path.with_name("WhiteCells.pb"))
    path.rename(path.with_name("WhiteCells.json"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    found = tmp_path_factory.mktemp("images")
    for name, red in (("sure.png", 255), ("dark.png", 64), ("other.png", 250)):
        (found / name).write_bytes(services.image(red))
    (found / "broken.png").write_bytes(b"no image")
    return found


@pytest.fixture(scope="module")
def two_models(driver, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_types(folder, counted=["A", "B"])
    settings = ("RateLimitPerMinute=0", "HistoryDays=7")
    model = {"content": graphs.pooled(), "size": graphs.SIZE}
    with servers.running(folder, *settings, real=True, model=model) as found:
        yield found


@pytest.fixture
def page(driver, two_models, folder):
    yield from visit(driver, two_models, folder)
    driver.execute_script("sessionStorage.clear()")


def use(page, name):
    Select(by_id(page, "choice")).select_by_value(name)


def test_the_default_model_is_chosen_and_the_other_one_can_be(page):
    assert Select(by_id(page, "choice")).first_selected_option.get_attribute("value") == "ALLGraph"
    assert not by_id(page, "limits").is_displayed()
    use(page, "WhiteCells")

    wait(page, by_id(page, "limits").is_displayed)
    assert by_id(page, "first-limit").text == ABOUT["limits"][0]
    assert not by_id(page, "intro-outcomes").is_displayed()
    assert texts(page, "#types li") == ["round\nalpha cell, gamma cell", "beta cell"]
    assert "Leukemia" not in texts(page, "h1")[0]


def test_results_are_types_with_counts_and_a_filter(page, images):
    use(page, "WhiteCells")
    choose(page, images, "sure.png", "dark.png", "other.png", "broken.png")
    shown = rows(page)

    assert list(shown) == ["dark.png", "broken.png", "sure.png", "other.png"]
    assert shown["sure.png"] == ("typed", ["beta cell"])
    outcome, lines = shown["dark.png"]
    assert (outcome, lines[0]) == ("review", "Needs review")
    assert lines[1].startswith("alpha cell")
    wait(page, lambda: len(texts(page, "#count-lines button")) == 2)
    assert [line.split("\n")[:2] for line in texts(page, "#count-lines button")] == [["beta cell", "2"], ["round", "1"]]
    assert not by_id(page, "filter-positive").is_displayed()

    click(page, "#count-lines button", 1)
    wait(page, lambda: list(rows(page)) == ["dark.png"])
    by_id(page, "level-classes").click()
    wait(page, lambda: len(rows(page)) == 4)
    assert [line.split("\n")[0] for line in texts(page, "#count-lines button")] == ["beta cell", "alpha cell"]


def test_the_dialog_shows_the_probabilities_of_all_classes(page, images):
    use(page, "WhiteCells")
    choose(page, images, "sure.png")
    rows(page)
    click(page, "#rows .picture button")

    wait(page, by_id(page, "bars").is_displayed)
    assert [line.split("\n")[0] for line in texts(page, "#bar-lines li")] == ["beta cell", "alpha cell", "gamma cell"]
    values = [float(value) for value in attributes(page, "#bar-lines meter", "value")]
    # exp(4.96), exp(1.49) and 1, divided by their sum.
    assert values == pytest.approx([0.963, 0.030, 0.007], abs=0.005)
    assert "Confidence" not in texts(page, "#viewer-facts dt")
    by_id(page, "close").click()


def test_the_saved_table_has_the_columns_of_a_model_of_types(page, images, folder):
    use(page, "WhiteCells")
    choose(page, images, "dark.png")
    rows(page)
    by_id(page, "save").click()
    path = wait(page, lambda: next(folder.glob("*.csv"), None))
    [line] = csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""))

    assert path.name.startswith("WhiteCells-results-")
    assert (line["class"], line["cell type"], line["group of classes"]) == ("A", "alpha cell", "round")
    # exp(0.5) divided by exp(0.5) + 2.
    assert float(line["class probability (%)"]) == pytest.approx(45.19, abs=0.2)
    assert (line["needs review"], line["model_name"]) == ("yes", "WhiteCells")
    assert "result" not in line
    assert {f"probability_{name}" for name in CLASSES} <= set(line)


def test_another_model_classifies_the_images_again_and_asks_before_results_are_lost(page, images):
    choose(page, images, "sure.png")
    assert rows(page)["sure.png"][0] == "positive"
    use(page, "WhiteCells")
    wait(page, by_id(page, "change-model").is_displayed)
    click(page, "#change-model [value=cancel]")
    assert rows(page)["sure.png"][0] == "positive"
    assert Select(by_id(page, "choice")).first_selected_option.get_attribute("value") == "ALLGraph"

    use(page, "WhiteCells")
    wait(page, by_id(page, "really-change").is_displayed)
    by_id(page, "really-change").click()
    wait(page, lambda: rows(page).get("sure.png", ("", []))[0] == "typed")
    page.refresh()
    wait(page, lambda: rows(page).get("sure.png", ("", []))[0] == "typed")
    assert Select(by_id(page, "choice")).first_selected_option.get_attribute("value") == "WhiteCells"


@pytest.mark.parametrize("features", [{}, {"prefers_color_scheme": "dark"}])
def test_counts_and_limits_fit_a_phone(page, images, features):
    use(page, "WhiteCells")
    choose(page, images, "sure.png", "dark.png")
    rows(page)

    browser.width(page, 390, **features)
    assert fits(page)
    browser.width(page, 1280)


def test_the_history_shows_types_and_can_be_limited_to_a_model(page, two_models):
    for query, red in (("", 255), ("?model=WhiteCells", 255)):
        servers.request(two_models.port, path=f"/v1/classify{query}", body=services.image(red))
    page.get(f"http://127.0.0.1:{two_models.port}/history")
    wait(page, lambda: len(texts(page, "#results tr")) >= 2)
    use(page, "WhiteCells")

    # The newest of the other model is no longer there.
    wait(page, lambda: (found := texts(page, "#results tr")) and not any("ALLGraph" in line for line in found))
    assert "beta cell" in texts(page, "#results tr")[0]


def test_a_page_without_an_own_model_uses_the_other_one(driver, tmp_path, folder):
    write_types(tmp_path)
    with servers.running(tmp_path, real=True, own=False) as server:
        for page in visit(driver, server, folder):
            assert "WhiteCells" in by_id(page, "no-default").text
            assert not by_id(page, "model-field").is_displayed()
            assert by_id(page, "limits").is_displayed()


def test_the_page_names_the_condition_of_the_chosen_model(driver, tmp_path, folder, images):
    path = graphs.write(
        tmp_path / "Model" / "Other",
        content=graphs.pooled(),
        size=graphs.SIZE,
        graph="AMLGraph.pb",
        condition=conditions.AML.to_json(),
    )
    path.with_suffix(".pb").rename(path.with_name("AMLGraph.pb"))
    path.rename(path.with_name("AMLGraph.json"))
    models = f'Models=["ALLGraph", "{path.with_name("AMLGraph.pb")}"]'
    with servers.running(
        tmp_path, models, real=True, model={"content": graphs.pooled(), "size": graphs.SIZE}
    ) as server:
        for page in visit(driver, server, folder):
            _compare_conditions(page, images)
    driver.execute_script("sessionStorage.clear()")


def _compare_conditions(page, images):
    for name, title in (("ALL", "Lymphoblastic"), ("AML", "Myeloid")):
        use(page, f"{name}Graph")
        wait(page, lambda name=name: page.title == f"{name} detection")
        assert title in texts(page, "h1")[0]
        assert f"Signs of {name}" in by_id(page, "intro").text
    choose(page, images, "sure.png")
    assert rows(page)["sure.png"][1][0].endswith("Signs of AML")
    assert "ALL" not in by_id(page, "results").text
