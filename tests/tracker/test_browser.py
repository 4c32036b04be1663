"""The report and the MLflow UI in a real browser."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from indelible.tracker.records import Kind
from tests.ports import free_port
from tests.tracker.conftest import ALGORITHMS, Done, Indelible

CHROMIUM, DRIVER = (
    shutil.which("chromium") or shutil.which("google-chrome"),
    shutil.which("chromedriver"),
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1500,1200"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS.split():
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_report_opens_from_disk_with_all_its_pictures(
    done: Done, indelible: Indelible, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    answer = indelible(done.folder, "report", "--output", tmp_path)
    assert answer.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    browser.get(Path(answer.id).as_uri())
    pictures = browser.find_elements(By.TAG_NAME, "img")
    loaded = browser.execute_script(
        "return [...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)"
    )
    # 10 hardest, 14 scatter plots, and 6 samples for each of 15 factors and every algorithm.
    assert len(pictures) == 10 - 2 + 14 + 6 * 15 * len(ALGORITHMS)
    assert loaded
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "Test Accuracy (TPS)" in text
    assert all(name in text for name in ALGORITHMS)
    assert not browser.get_log("browser")
    sources = browser.execute_script("return [...document.images].map(i => i.src.slice(0, 15))")
    assert set(sources) == {"data:image/png;"}


@pytest.fixture(scope="module")
def ui(done: Done) -> Iterator[str]:
    port = free_port()
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-m", "indelible", "--store", str(done.folder), "ui"]
    with subprocess.Popen([*command, "--port", str(port)], stdout=quiet, stderr=quiet) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=5)
                    break
                except (URLError, OSError):
                    time.sleep(0.5)
            yield address
        finally:
            server.terminate()


def wait_for(browser: WebDriver, *words: str) -> str:
    def text(driver: WebDriver) -> str:
        return driver.find_element(By.TAG_NAME, "body").text

    WebDriverWait(browser, 60).until(lambda driver: all(word in text(driver) for word in words))
    return text(browser)


def names_in_table(browser: WebDriver) -> list[str]:
    """The names in the runs table from top to bottom; the page has them in any order."""
    names: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.ag-row a[href*=\"/runs/\"]')]"
        ".sort((a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y)"
        ".map(link => link.textContent)"
    )
    return names


def test_ui_shows_child_runs_under_their_parent(done: Done, ui: str, browser: WebDriver) -> None:
    sweep = done.store.run(done.sweep)
    experiment = sweep.info.experiment_id
    browser.get(f"{ui}/#/experiments/{experiment}/runs")
    wait_for(browser, sweep.info.run_name, "Which training samples")
    base = done.store.run(done.model)
    assert names_in_table(browser) == [sweep.info.run_name, base.info.run_name]
    cell = f"//a[contains(., '{sweep.info.run_name}')]/ancestor::*[@role='gridcell']"
    browser.find_element(By.XPATH, f"{cell}//button").click()
    WebDriverWait(browser, 60).until(lambda driver: len(names_in_table(driver)) > 10)
    parent, *children = names_in_table(browser)
    assert parent == sweep.info.run_name
    assert any(child.startswith("salun-") for child in children)
    browser.get(f"{ui}/#/experiments/{experiment}/runs/{done.sweep}")
    wait_for(browser, "Child runs", "Description", "each unlearned on its own", "ga/flip_rate")


def test_ui_sorts_child_runs_by_gt_and_filters_by_algorithm(
    done: Done, ui: str, browser: WebDriver
) -> None:
    sweep = done.store.run(done.sweep)
    where = quote("params.algorithm = 'ga'")
    browser.get(
        f"{ui}/#/experiments/{sweep.info.experiment_id}/runs?searchFilter={where}"
        "&orderByKey=metrics.%60gt%60&orderByAsc=true"
    )
    runs = sorted(
        done.store.finished_runs(Kind.MEMBER, "params.algorithm = 'ga'"),
        key=lambda run: float(run.data.metrics["gt"]),
    )
    expected = [run.info.run_name for run in runs]
    wait_for(browser, "Sort: gt")
    WebDriverWait(browser, 60).until(lambda driver: names_in_table(driver) == expected)
    hardest = runs[0]
    browser.get(f"{ui}/#/experiments/{hardest.info.experiment_id}/runs/{hardest.info.run_id}")
    wait_for(browser, "gt", "deepfool_norm", hardest.info.run_name)
