"""The report in a real browser: nothing is loaded, nothing fails, the slider moves the cells, audio plays."""

from __future__ import annotations

import shutil

import pytest
from test_visual_report import make_run, sound

from nas.visual.report import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed (pip install selenium)")
ARROW_LEFT = "\ue012"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and chromedriver are not installed"),
]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    search, train = make_run(folder / "s", "search"), make_run(folder / "t", "train")
    return {
        "search": write_report([search], folder / "search.html"),
        "train": write_report([train], folder / "train.html", sound),
    }


@pytest.mark.parametrize("name", ["search", "train"])
@pytest.mark.parametrize("size", [(1280, 900), (500, 900)])
def test_opens_in_silence(browser, reports, name, size):
    """No console message, no request but for the page itself, every picture shown, nothing wider than the window."""
    browser.set_window_size(*size)
    browser.get_log("performance")
    browser.get(reports[name].as_uri())
    assert browser.get_log("browser") == []
    requests = [entry["message"] for entry in browser.get_log("performance")]
    asked = [message for message in requests if '"Network.requestWillBeSent"' in message]
    assert not [message for message in asked if '"url":"http' in message]
    assert browser.execute_script("return [...document.images].every(i => i.alt && i.complete && i.naturalWidth > 0)")
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_slider_moves_the_cells(browser, reports):
    browser.get(reports["search"].as_uri())
    slider = browser.find_element("css selector", "input[type=range]")
    visible = "return [...document.querySelectorAll('.film img')].findIndex(i => !i.hidden)"
    assert browser.execute_script(visible) == 1
    slider.send_keys(ARROW_LEFT)
    assert browser.execute_script(visible) == 0
    assert browser.find_element("tag name", "output").text == "Epoch 1"


def test_audio_has_a_duration(browser, reports):
    browser.get(reports["train"].as_uri())
    durations = browser.execute_async_script(
        "const done = arguments[0], all = [...document.querySelectorAll('audio')];"
        "Promise.all(all.map(a => a.readyState ? a : new Promise(r => a.addEventListener('loadedmetadata', r))))"
        ".then(() => done(all.map(a => a.duration)));"
    )
    assert durations == [pytest.approx(0.1)] * 3
