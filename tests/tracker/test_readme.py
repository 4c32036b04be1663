"""The README says what is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import factors
from analysis.warehouse import open_warehouse
from tests import forked
from tests.benchmarks.__main__ import PARTS
from tests.tracker.conftest import SAMPLES, Done
from tracker.commands.table import COMMANDS
from tracker.sweep.choosing import draw_samples
from unlearning import algorithms
from unlearning.dataset import Dataset
from unlearning.outcome import Status

ROOT = Path(__file__).parent.parent.parent
README_FILE, DOCS = ROOT / "README.md", ROOT / "docs"
README = README_FILE.read_text("utf-8")
PAGES = {page.stem: page.read_text("utf-8") for page in DOCS.glob("*.md")}
QUERIES = re.findall(r'indelible sql "([^"]+)"', PAGES["sql"])
BEGUN = README.partition("## Go on")[2].partition("## What the words mean")[0]
WALK = PAGES["commands"].partition("## The first ten minutes")[2].partition("## How attempts")[0]


def test_every_command_is_documented() -> None:
    for name in COMMANDS:
        assert f"indelible {name}" in PAGES["commands"], name


def test_every_algorithm_factor_and_status_is_documented() -> None:
    columns = [column.name for column in factors.columns(factors.every())]
    named = {"algorithms": algorithms.names(), "factors": columns, "commands": [*Status]}
    for page, names in named.items():
        for name in names:
            assert f"`{name}`" in PAGES[page], name


@pytest.mark.slow
def test_the_walk_works_line_by_line(tmp_path: Path, digits: Dataset) -> None:
    """With fewer samples."""
    assert 1636 in draw_samples(digits.train.ids.tolist(), 250, seed=0)
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", BEGUN + WALK, re.DOTALL))
    lines = re.sub("indelible ui .*", "", lines)  # which stays until it is stopped
    lines = lines.replace("demo-250", "demo-40").replace("--samples 100", "--samples 20")
    assert lines.count("indelible ") >= 16
    words = f"{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))'"
    script = f'set -eu\nindelible() {{ {words} "$@"; }}\n{lines}'
    read = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    commands = list(map(json.loads, read.stdout.splitlines()))
    assert len(commands) == lines.count("indelible ")

    def succeed(*words: str) -> str:
        done = forked.run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    succeed("demo", "--samples", "40")
    (hardest,) = json.loads(succeed("rank", "--top", "1", "--format", "json"))
    for command in commands:
        succeed(*(word.replace("1636", str(hardest["sample_id"])) for word in command))
    assert (tmp_path / "my-report" / "report.html").is_file()


def test_the_python_of_the_docs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    engine, *_ = re.findall(r"```python\n(.*?)```", PAGES["python"], re.DOTALL)
    exec(compile(engine.replace("epochs=5", "epochs=1"), "python.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_model_of_the_docs_is_fitted(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = re.findall(r"```python\n(.*?)```", PAGES["prediction"], re.DOTALL)
    exec(compile(model.replace("mlruns", str(done.folder)), "prediction.md", "exec"), {})
    found = re.fullmatch(r"(\d+) samples: rho with GT (-?\d\.\d+)\n", capsys.readouterr().out)
    assert found
    assert 5 <= int(found[1]) <= SAMPLES
    assert abs(float(found[2])) <= 1


def test_sample_queries_answer(done: Done) -> None:
    assert len(QUERIES) >= 7
    no_rows = ("predict", "from unlearning", "from trials", "from audit", "'z'", "from ceilings")
    with open_warehouse(done.folder / "analysis.duckdb") as warehouse:
        for query in QUERIES:
            rows = warehouse.query(query).rows
            assert rows or any(word in query for word in no_rows), query


@pytest.mark.parametrize("page", [README_FILE, *DOCS.glob("*.md")], ids=lambda page: page.name)
def test_links_and_benchmarks_are_there(page: Path) -> None:
    content = page.read_text("utf-8")
    for part in re.findall(r"tests\.benchmarks\s(\w+)`", content):
        assert part in PARTS, part
    for target, section in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", content):
        there = page.parent / target if target else page
        assert there.exists(), target
        if section:
            titles = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            assert section in {title.lower().replace(" ", "-") for title in titles}, section


# The demo, on a store that has a part of what it does
