"""The README says what is true."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

import factors
from analysis.warehouse import open_warehouse
from tests.benchmarks.__main__ import PARTS
from tests.tracker.conftest import Done
from tracker import cli
from unlearning import algorithms
from unlearning.outcome import Status

ROOT = Path(__file__).parent.parent.parent
README_FILE, DOCS = ROOT / "README.md", ROOT / "docs"
README = README_FILE.read_text("utf-8")
QUERIES = re.findall(r'indelible sql "([^"]+)"', README)


def test_every_command_is_documented() -> None:
    for module in pkgutil.iter_modules(cli.__path__):
        if not module.name.startswith("_"):
            assert f"indelible {module.name}" in README, module.name


def test_every_algorithm_factor_and_status_is_documented() -> None:
    columns = (column.name for column in factors.columns())
    for name in [*algorithms.names(), *columns, *Status]:
        assert f"`{name}`" in README, name


def test_there_are_sample_queries() -> None:
    assert len(QUERIES) >= 7


@pytest.mark.parametrize("query", QUERIES)
def test_sample_queries_answer(done: Done, query: str) -> None:
    with open_warehouse(done.folder / "analysis.duckdb") as warehouse:
        rows = warehouse.query(query).rows
    assert rows or "predict" in query  # of the fixture's sweep nothing was predicted


@pytest.mark.parametrize("page", [README_FILE, *DOCS.glob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, section in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text("utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), target
        if section:
            titles = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            assert section in {title.lower().replace(" ", "-") for title in titles}, section


def test_figures_of_commands_in_the_docs_have_a_benchmark() -> None:
    for page in (README_FILE, *DOCS.glob("*.md")):
        for part in re.findall(r"tests\.benchmarks\s(\w+)`", page.read_text("utf-8")):
            assert part in PARTS, part
