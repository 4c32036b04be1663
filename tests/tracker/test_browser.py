"""The report and the MLflow UI in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import mlflow
import pytest
from packaging.version import Version
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.ports import free_port, wait_for_server
from tests.tracker.conftest import ALGORITHMS, Done
from tracker.cli import run
from tracker.store import views
from tracker.store.records import Kind

CHROMIUM, DRIVER = (
    shutil.which("chromium") or shutil.which("google-chrome"),
    shutil.which("chromedriver"),
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

MEMBER = Kind.MEMBER
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


@pytest.fixture(scope="module")
def page(done: Done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert run(["--store", str(done.folder), "report", "--output", str(folder)]) == 0
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return folder / "report.html"


@pytest.fixture
def report(page: Path, browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """The report, opened from disk with the network off; afterwards nothing was complained of."""
    browser.execute_cdp_cmd("Network.enable", {})
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", network | {"offline": True})
    browser.get_log("browser")  # what earlier pages said
    browser.get(page.as_uri())
    points_of(browser)
    yield browser
    complaints = browser.get_log("browser")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", network | {"offline": False})
    assert not complaints


def wait(browser: WebDriver, condition: Callable[[], object]) -> None:
    """Wait until it is so."""
    WebDriverWait(browser, 60).until(lambda _: condition())


def points_of(browser: WebDriver) -> list[WebElement]:
    """The points of the scatter plots, once they are drawn."""
    where = (By.CSS_SELECTOR, "#chart-factor .mark-symbol.role-mark path")
    wait(browser, lambda: browser.find_elements(*where))
    return browser.find_elements(*where)


def test_report_opens_from_disk_with_all_its_pictures(report: WebDriver) -> None:
    pictures = report.execute_script(
        "return [...document.images].map(i => [i.naturalWidth, i.alt, i.src.slice(0, 15)])"
    )
    assert len(pictures) == 8 + 8 + 1  # the ends, the grid and the sample that is chosen
    assert all(width == 8 and alt for width, alt, _ in pictures)
    assert {source for *_, source in pictures} == {"data:image/png;"}
    charts = len(report.find_elements(By.CSS_SELECTOR, ".chart"))
    assert charts == 10
    wait(report, lambda: len(report.find_elements(By.CSS_SELECTOR, ".chart svg")) == charts)
    report.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    text = report.find_element(By.TAG_NAME, "body").text
    assert all(word in text for word in ("Test Accuracy (TPS)", "CIFAR10", *ALGORITHMS))


def test_hovering_over_a_point_shows_its_sample_with_every_algorithm(report: WebDriver) -> None:
    point = points_of(report)[1]
    report.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(report).move_to_element(point).perform()
    shown = (By.CSS_SELECTOR, "#vg-tooltip-element.visible img")
    wait(report, lambda: report.find_elements(*shown))
    tooltip = report.find_element(By.ID, "vg-tooltip-element")
    image = tooltip.find_element(By.TAG_NAME, "img")
    assert image.get_property("naturalWidth") == 8
    assert image.get_attribute("alt") == tooltip.find_element(By.TAG_NAME, "h2").text
    assert all(word in tooltip.text for word in ("sample", "class", "GT", "steps"))
    bright = "#chart-factor .mark-symbol.role-mark path[opacity='1']"
    wait(report, lambda: len(report.find_elements(By.CSS_SELECTOR, bright)) in (3, 4))


def test_a_point_leads_to_its_mlflow_run(report: WebDriver, done: Done) -> None:
    point = points_of(report)[0]
    report.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    report.execute_script(
        "HTMLAnchorElement.prototype.dispatchEvent = function () { window.opened = this.href; }"
    )
    ActionChains(report).move_to_element(point).click().perform()
    wait(report, lambda: report.execute_script("return window.opened"))
    opened = str(report.execute_script("return window.opened"))
    address, _, run_id = opened.removesuffix("?workflowType=machine_learning").rpartition("/")
    experiment = done.store.run(done.sweep).experiment_id
    assert address == f"http://127.0.0.1:5000/#/experiments/{experiment}/runs"
    assert done.store.run(run_id).tags["kind"] == Kind.MEMBER


def test_folds_and_factors_work_by_keyboard(report: WebDriver) -> None:
    fold = report.find_element(By.CSS_SELECTOR, "#correlations details.sql")
    code = fold.find_element(By.TAG_NAME, "code")
    assert not code.is_displayed()
    fold.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert "from correlations" in code.text
    choice = report.find_element(By.ID, "factor")
    first = choice.get_property("value")
    choice.send_keys(Keys.END)
    chosen = choice.get_property("value")
    assert chosen != first
    shown = {
        found.get_attribute("data-factor")
        for found in report.find_elements(By.CSS_SELECTOR, "[data-factor]")
        if found.is_displayed()
    }
    assert shown == {chosen}
    assert points_of(report)
    report.find_element(By.ID, "axes").send_keys(Keys.ARROW_DOWN)
    wait(report, lambda: "rank of" in report.find_element(By.ID, "chart-factor").text)


def test_samples_are_filtered_and_sorted_by_keyboard(report: WebDriver) -> None:
    def cards() -> list[str]:
        return [card.text for card in report.find_elements(By.CSS_SELECTOR, "#grid li")]

    def count() -> str:
        return report.find_element(By.ID, "grid-count").text

    report.find_element(By.ID, "grid-algorithm").send_keys("ga")
    first, *_ = cards()
    every = count()
    report.find_element(By.ID, "grid-sort").send_keys("sample")
    ids = [int(card.split()[0]) for card in cards()]
    assert ids == sorted(ids)
    label = report.find_element(By.ID, "grid-class")
    label.send_keys(Keys.ARROW_DOWN)
    chosen = f"class {label.get_property('value')}"
    assert cards()
    assert all(chosen in card for card in cards())
    assert count() != every
    label.send_keys(Keys.HOME)
    report.execute_script("document.getElementById('in-order').click()")
    title = report.find_element(By.CSS_SELECTOR, "#factor option:checked").text
    values = [card.partition(f"{title}: ")[2].split()[0] for card in cards()]
    shown = [float(value.replace("\N{MINUS SIGN}", "-")) for value in values]
    assert shown == sorted(shown)
    report.find_element(By.ID, "grid-rank").send_keys("the hardest 25%")
    report.find_element(By.ID, "grid-sort").send_keys("hardest")
    assert cards()[0] == first
    assert len(cards()) < len(ids)
    link = report.find_element(By.CSS_SELECTOR, "#grid li a:not([data-open])")
    assert "?workflowType=machine_learning" in str(link.get_attribute("href"))


def test_a_picture_opens_its_sample_and_the_contents_stay_in_view(report: WebDriver) -> None:
    link = report.find_elements(By.CSS_SELECTOR, "#grid a[data-open]")[5]
    sample = link.get_attribute("data-open")
    report.execute_script("arguments[0].click()", link)
    assert report.find_element(By.ID, "chosen").get_property("value") == sample
    links = report.find_elements(By.CSS_SELECTOR, "#story a")
    assert [link.text for link in links] == sorted(ALGORITHMS)
    wait(report, lambda: f"sample {sample}" in report.find_element(By.ID, "chart-sample").text)
    top = "return document.querySelector('nav').getBoundingClientRect().top"
    wait(report, lambda: report.execute_script("return scrollY") > 1000)
    assert report.execute_script(top) == 0


def shown_on(report: webdriver.Chrome, width: int) -> None:
    """The report anew, on a screen of this width."""
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 1000}
    report.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    report.refresh()
    points_of(report)


def test_report_fits_a_narrow_screen(report: webdriver.Chrome) -> None:
    width = 390
    shown_on(report, width)
    page, charts = "document.documentElement", "[...document.querySelectorAll('.chart')]"
    for opened in ("false", "true"):
        report.execute_script(
            f"document.querySelectorAll('details').forEach(d => d.open = {opened})"
        )
        fits = f"return [{page}.scrollWidth, {page}.clientWidth]"
        assert report.execute_script(fits) == [width] * 2
        beyond = f"return Math.max(...{charts}.map(c => c.scrollWidth - c.clientWidth))"
        assert report.execute_script(beyond) <= 1


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1300, "light")])
def test_axe_finds_nothing(report: webdriver.Chrome, width: int, scheme: str) -> None:
    chosen = [{"name": "prefers-color-scheme", "value": scheme}]
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": chosen})
    shown_on(report, width)
    report.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    report.set_script_timeout(120)
    report.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text())
    found = report.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 20
    problems = {
        rule["id"]: [node["html"][:200] for node in rule["nodes"]] for rule in found["violations"]
    }
    assert problems == {}


@pytest.fixture(scope="module")
def ui(done: Done) -> Iterator[str]:
    port = free_port()
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-m", "indelible", "--store", str(done.folder), "ui"]
    with subprocess.Popen([*command, "--port", str(port)], stdout=quiet, stderr=quiet) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for_server(address)
            yield address
        finally:
            server.terminate()


def wait_for(browser: WebDriver, *words: str) -> str:
    def text() -> str:
        return " ".join(browser.find_element(By.TAG_NAME, "body").text.split())

    wait(browser, lambda: all(word in text() for word in words))
    return text()


def names_in_table(browser: WebDriver) -> list[str]:
    """The names in the runs table from top to bottom; the page has them in any order."""
    names: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.ag-row a[href*=\"/runs/\"]')]"
        ".sort((a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y)"
        ".map(link => link.textContent)"
    )
    return names


look_at_mlflow = pytest.mark.skipif(
    Version(mlflow.__version__) < Version("3.17"), reason="looks at the UI of MLflow 3.17"
)


@look_at_mlflow
def test_a_sweeps_description_leads_to_its_child_runs_hardest_first(
    done: Done, ui: str, browser: WebDriver
) -> None:
    browser.get(f"{ui}/#/runs/{done.sweep}")
    link = (By.LINK_TEXT, "All child runs, the hardest first")
    wait(browser, lambda: browser.find_elements(*link))
    page = str(browser.find_element(*link).get_attribute("href"))
    experiment = done.store.run(done.sweep).experiment_id
    assert page == f"{ui}/{views.link(experiment, done.sweep)}"  # as `indelible ui` opens it
    browser.get(page)
    text = wait_for(browser, "Sort: gt", "cost/steps", "algorithm", "status")
    columns = ("gt", "points_lost", "algorithm", "label", "status", "cost/steps")
    heads = browser.execute_script(
        "return [...document.querySelectorAll('.ag-header-cell')]"
        ".sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x)"
        ".map(cell => cell.textContent.trim())"
    )
    assert [head for head in heads if head in columns][:5] == list(columns[:5])
    assert "Model training" in text
    gts = {run.name: run.metrics["gt"] for run in done.store.finished_runs(MEMBER)}
    wait(browser, lambda: len(names_in_table(browser)) > 10)
    names = names_in_table(browser)
    shown = [gts[name] for name in names]
    assert shown == sorted(gts.values())[: len(shown)]


def test_ui_shows_the_findings_and_the_table_of_correlations(
    done: Done, ui: str, browser: WebDriver, tmp_path: Path
) -> None:
    assert run(["--store", str(done.folder), "report", "--output", str(tmp_path), "--log"]) == 0
    page = f"{ui}/#/experiments/{done.store.run(done.sweep).experiment_id}/runs/{done.sweep}"
    browser.get(page)
    browser.refresh()  # the page remembers what it showed before
    wait_for(browser, "Description", "In short", "flipped the prediction")
    browser.get(f"{page}/artifacts/correlations.json")
    uri = done.store.run(done.sweep).artifact_uri
    table = json.loads((Path(uri.removeprefix("file://")) / "correlations.json").read_text())
    wait_for(browser, "View as table", "ci_low", table["data"][0][0])
