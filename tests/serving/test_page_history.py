"""Tests of the history and of "Try it out" in a real browser with a real server."""

import hashlib
import json

from tests.support.browser import attributes, by_id, count, wait


def open_page(driver, server, path):
    driver.get(f"http://127.0.0.1:{server.port}/{path}")


def operation(driver, title):
    sections = driver.find_elements("css selector", ".operation")
    [found] = [section for section in sections if section.find_element("css selector", "h2").text == title]
    return found


def send(driver, section, path=None):
    """Fill in and send the form of an operation; return (status, shown answer)."""
    driver.execute_script("arguments[0].open = true", section.find_element("css selector", ".try"))
    if path is not None:
        section.find_element("css selector", "[type=file]").send_keys(str(path))
    button = section.find_element("css selector", ".try button")
    # Not below the notice, which stays on top.
    driver.execute_script("arguments[0].scrollIntoView({ block: 'center' })", button)
    button.click()
    wait(driver, lambda: section.find_elements("css selector", ".answer pre"))
    answer = section.find_element("css selector", ".answer")
    return answer.text.split()[0], json.loads(answer.find_element("css selector", "pre").text)


def test_try_it_out_and_the_history(page, server, folder):
    open_page(page, server, "docs")
    wait(page, lambda: by_id(page, "operations").text)

    status, answer = send(page, operation(page, "POST /v1/classify"), folder / "sick.png")
    refused, error = send(page, operation(page, "POST /Inference"), folder / "broken.png")
    _, batch = send(page, operation(page, "POST /v1/batch"), folder / "sick.png")
    assert (status, answer["outcome"]) == ("200", "positive")
    assert (refused, error["code"]) == ("415", "not_an_image")
    assert [each["outcome"] for each in batch["results"]] == ["positive"]

    open_page(page, server, "history")
    wait(page, lambda: count(page, "#results tr"))
    digits = hashlib.sha256((folder / "sick.png").read_bytes()).hexdigest()
    # The newest are those of the batch and of the single image.
    assert attributes(page, "#results td:nth-of-type(6) code", "title")[:2] == [digits, digits]
    assert attributes(page, "#results tr", "class")[:2] == ["positive", "positive"]
    assert page.find_element("link text", "History").get_attribute("aria-current") == "page"
