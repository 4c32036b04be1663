"""One sweep of digits with every stepwise and one-shot algorithm comes to frozen numbers.

Frozen are, by key: the run id, the parameters, the metrics and their step histories of each child
run in MLflow; the columns, row counts and column sums of each relation in DuckDB; the same of what
the commands print as JSON. All is computed in float64 from weights that are rounded to multiples of
2^-10, so that other machines come to the same numbers.

`python -m tests.tracker.test_frozen` writes the file anew. `python -m tests.tracker.test_frozen
FILE` writes all digits elsewhere, those of a model that is trained here too: to compare two
versions of the code on one machine.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import sqlite3
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from tracker.cli import run
from unlearning import algorithms, datasets, models

KEPT = Path(__file__).with_name("frozen.json")
ALGORITHMS = tuple(name for name in algorithms.names() if name != "retrain")  # no recipe
SAMPLES = 6
DIGITS = 10  # significant ones that are kept
TOLERANCE = 1e-6
# The ends of the names of columns that are not frozen: times, identities of runs without a key,
# words, versions of the code, and p-values that are adjusted for a factor that is a time, too.
VOLATILE = (
    *("_s", "_ms", "_at", "_on", "time", "_id", "design", "version", "versions", "hash"),
    *("note", "uri", "path", "remark", "meaning", "text", "seconds", "of_attempt"),
    *("p_holm", "p_bh", "stars"),
)
TIMED = "elapsed_s"  # the factor that is a time
COMMANDS = (
    *(("rank", "--algorithm", "ga"), ("rank",), ("correlate",), ("agree",)),
    *(("correlate", "--population", "flipped"), ("compare", "--against", "mnist")),
)


def weights(file: Path) -> None:
    """A small-cnn after a plain loop of training in float64, rounded."""
    torch.manual_seed(0)
    data = datasets.load("digits")
    network = models.build("small-cnn", data).double()
    images, labels = data.inputs(data.train).double(), data.train.labels
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(6):
        for batch in torch.randperm(len(images), generator=order).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    rounded = {k: (v * 2**10).round().div(2**10).float() for k, v in network.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in rounded.items()}, file)


def called(store: Path, *words: str) -> str:
    """What a command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run(["--store", str(store), *words]) == 0
    return out.getvalue()


def numbers(folder: Path) -> dict[str, Any]:
    """All that is frozen, of a sweep in a new store."""
    store = folder / "store"
    weights(folder / "weights.safetensors")
    called(store, "train", "--from-weights", str(folder / "weights.safetensors"))
    chosen = [word for name in ALGORITHMS for word in ("--algorithm", name)]
    how = ("--precision", "float64", "--execution", "sequential", "--preset", "digits")
    called(store, "sweep", *chosen, "--samples", str(SAMPLES), "--chunk", "4", *how)
    return dumped(store)


def numbers_of_a_trained_model(folder: Path) -> dict[str, Any]:
    """The same of a model that has a recipe, and so reference models and a prediction."""
    store = folder / "trained"
    others = ("--leave-out", "5,15", "--references", "4")
    called(store, "train", "--epochs", "4", *others, "--workers", "1")
    ids = [word for sample in (5, 15, 25, 42) for word in ("--sample", str(sample))]
    how = ("--algorithm", "ga", "--algorithm", "salun", *ids, "--preset", "digits")
    called(store, "predict", *how)
    called(store, "sweep", *how, "--algorithm", "retrain", "--execution", "sequential")
    return dumped(store)


def dumped(store: Path) -> dict[str, Any]:
    """What is frozen of a store."""
    called(store, "load")
    return {
        "members": members(store / "mlflow.db"),
        "relations": relations(store / "analysis.duckdb"),
        "printed": {
            " ".join(words): summed(json.loads(called(store, *words, "--format", "json")))
            for words in COMMANDS
        },
    }


def members(database: Path) -> dict[str, Any]:
    """What MLflow has of each child run, by the member's key."""
    with contextlib.closing(sqlite3.connect(database)) as connection:

        def of(query: str) -> dict[str, list[tuple[Any, ...]]]:
            rows = defaultdict(list)
            for run_id, *row in connection.execute(query):
                rows[run_id].append(tuple(row))
            return rows

        tags, params = (of(f"select run_uuid, key, value from {t}") for t in ("tags", "params"))
        last = of("select run_uuid, key, value from latest_metrics")
        steps = of("select run_uuid, key, value from metrics order by run_uuid, key, step")
    found: dict[str, Any] = {}
    for run_id, pairs in tags.items():
        tag = dict(pairs)
        if tag.get("kind") != "member":
            continue
        history = defaultdict(list)
        for key, value in steps[run_id]:
            if key in ("forget_prob", "forget_loss"):
                history[key].append(number(value))
        found[tag["key"]] = {
            "run_id": run_id,
            "tags": {k: tag[k] for k in ("sample_id", "split_position", "label", "status")},
            "params": dict(sorted(params[run_id])),
            "metrics": {k: number(v) for k, v in sorted(last[run_id]) if not k.endswith("_s")},
            "history": history,
        }
    return found


def relations(warehouse: Path) -> dict[str, Any]:
    """Columns, rows and sums of each relation of the warehouse."""
    with contextlib.closing(duckdb.connect(str(warehouse), read_only=True)) as connection:
        names = connection.sql(
            "select table_schema, table_name from information_schema.tables"
            " where table_schema in ('main', 'internal') order by all"
        ).fetchall()
        result = {}
        for schema, name in names:
            rows = connection.execute(f'select * from {schema}."{name}"')
            columns = [column[0] for column in rows.description or ()]
            result[name] = summed([dict(zip(columns, r, strict=True)) for r in rows.fetchall()])
        return result


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many rows there are, and of each column how many values and the sum of their numbers."""
    rows = [row for row in rows if row.get("factor") != TIMED]
    columns: dict[str, Any] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows if row[name] is not None]
        if name.endswith(VOLATILE):
            columns[name] = None
        elif all(isinstance(v, (int, float)) for v in values):
            finite = [float(v) for v in values if math.isfinite(v)]
            columns[name] = [len(values), number(math.fsum(finite)), number(most(finite))]
        else:
            columns[name] = [len(values), len({str(v) for v in values})]
    return {"rows": len(rows), "columns": columns}


def most(values: list[float]) -> float:
    """The largest size of some numbers."""
    return max(map(abs, values), default=0.0)


def number(value: float) -> float:
    """The number with the digits that are kept."""
    return float(f"{value:.{DIGITS}g}")


def differences(now: Any, before: Any, where: str = "") -> list[str]:
    """Where two nested values differ, numbers by more than the tolerance."""
    if isinstance(now, dict) and isinstance(before, dict):
        return [
            line
            for key in sorted({*now, *before})
            for line in differences(now.get(key), before.get(key), f"{where}/{key}")
        ]
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        pairs = enumerate(zip(now, before, strict=True))
        return [line for k, (a, b) in pairs for line in differences(a, b, f"{where}/{k}")]
    if isinstance(now, float) and isinstance(before, (int, float)):
        same = now == pytest.approx(before, rel=TOLERANCE, abs=1e-9)
    else:
        same = now == before
    return [] if same else [f"{where}: {before} was, {now} is"]


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(numbers(tmp_path_factory.mktemp("frozen"))))
    return found


@pytest.mark.parametrize("part", ["members", "relations", "printed"])
def test_no_number_of_the_frozen_sweep_changes(now: dict[str, Any], part: str) -> None:
    before = json.loads(KEPT.read_text("utf-8"))
    found = differences(now[part], before[part], part)
    told = "raise the version of what gives other numbers, and python -m tests.tracker.test_frozen"
    assert not found, "\n".join([f"{len(found)} differences: {told}", *found[:40]])


def test_a_changed_number_is_noticed() -> None:
    before = {"a": [1.0, {"b": "x"}], "c": 2}
    assert differences({"a": [1.0 + 1e-9, {"b": "x"}], "c": 2}, before) == []
    assert len(differences({"a": [1.00001, {"b": "y"}]}, before)) == 3


def main(given: Sequence[str]) -> None:
    global DIGITS
    file = KEPT
    if given:
        file, DIGITS = Path(given[0]), 17
    with tempfile.TemporaryDirectory() as folder:
        found = numbers(Path(folder))
        if given:
            found["trained"] = numbers_of_a_trained_model(Path(folder))
    file.write_text(json.dumps(found, indent=1 if given else None, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
