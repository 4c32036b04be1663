"""Small warehouses made by hand, without MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.warehouse import STAGING, Warehouse, open_warehouse, rebuild

TEST_SAMPLES = 100


def staging(members: Sequence[Mapping[str, Any]], factors: Sequence[str]) -> dict[str, pa.Table]:
    """Staging rows; a member: algorithm, sample_id, label, status, metrics, and what it is of.

    Unless a member says otherwise there is one sweep `s` from one base model `b`, seeds 0. A factor
    whose name is `margin` or begins with `pre_` is known before unlearning. `engine_version` and
    `precision` are logged where a member has them, for its sweep too. A factor whose name begins
    with `mia_` is of the family `membership`. A member's `provider` is who brings its algorithm,
    and where it `draws` this has retain batches.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGING}

    def run(run_id: str, kind: str, **params: object) -> None:
        rows["runs"].append(
            {
                "run_id": run_id,
                "name": run_id,
                "experiment": "e",
                "kind": kind,
                "status": "FINISHED",
            }
        )
        pairs("params", run_id, params)

    def pairs(table: str, run_id: str, values: Mapping[str, object]) -> None:
        rows[table] += [
            {"run_id": run_id, "key": key, "value": value if table == "metrics" else str(value)}
            for key, value in values.items()
        ]

    sweeps = {m["sweep"]: m["base"] for m in members} or {"s": "b"}
    bases = {m["base"]: m["base_seed"] for m in members} or {"b": 0}
    for base, seed in bases.items():
        sizes = {"train_samples": 9, "test_samples": TEST_SAMPLES}
        source = '{"name": "d"}'
        run(base, "base_model", dataset="d", source=source, arch="a", seed=seed, epochs=30, **sizes)
        pairs("metrics", base, {"train_accuracy": 1.0, "test_accuracy": 0.9})
    for sweep, base in sweeps.items():
        names = ",".join(sorted({m["algorithm"] for m in members if m["sweep"] == sweep}))
        setting = {"dataset": "d", "arch": "a", "base_run_id": base, "algorithms": names}
        (own, *_) = [m for m in members if m["sweep"] == sweep] or [{}]
        setting |= {"samples": 1, "seed": 0, "remaining": own.get("remaining", "all")}
        run(sweep, "sweep", **setting, **_versions(own))
    for number, member in enumerate(members):
        key = f"k{number}"
        setting = {"algorithm": member["algorithm"], "seed": member["seed"], "lr": member["lr"]}
        setting |= {"retain_batch": 64} if member.get("draws") else {}
        run(f"m{number}", "member", **setting, **_versions(member))
        tags = {name: member[name] for name in ("sample_id", "label", "status")}
        tags["split_position"] = member["sample_id"] + 5
        if "provider" in member:
            who = {member["algorithm"]: member["provider"]}
            tags["algorithm_providers"] = json.dumps(who)
        pairs("tags", f"m{number}", {"mlflow.parentRunId": member["sweep"], "key": key, **tags})
        pairs("metrics", f"m{number}", member["metrics"])
        rows["plans"].append({"run_id": member["sweep"], "key": key})
    ingredients = ("gt", "test_prob_diff", "forget_prob_diff", "steps")
    rows["catalogs"] = [
        {
            "run_id": next(iter(sweeps)),
            "position": position,
            "factor": name,
            "title": name,
            "harder": "high",
            "phase": "pre" if name == "margin" or name.startswith("pre_") else "post",
            "family": "membership" if name.startswith("mia_") else "",
            **dict.fromkeys(("unit", "description", "undefined", "source"), ""),
        }
        for position, name in enumerate(dict.fromkeys((*ingredients, *factors)))
    ]
    return {
        name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in STAGING.items()
    }


def _versions(member: Mapping[str, Any]) -> dict[str, Any]:
    return {name: member[name] for name in ("engine_version", "precision") if name in member}


@contextmanager
def warehouse_of(
    folder: Path, members: Sequence[Mapping[str, Any]], factors: Sequence[str] = ()
) -> Iterator[Warehouse]:
    """A warehouse of one sweep."""
    rebuild(folder / "w.duckdb", staging(members, factors))
    with open_warehouse(folder / "w.duckdb") as warehouse:
        yield warehouse


def member(
    sample: int,
    f: float,
    u: float,
    status: str = "flipped",
    algorithm: str = "ga",
    label: int | None = None,
    **factors: float,
) -> dict[str, Any]:
    """A member with this outcome and these factors; NaN stays out, as in MLflow."""
    metrics = {"forget_prob_diff": f, "test_prob_diff": 1 - u, "steps": 2.0, **factors}
    return {
        "algorithm": algorithm,
        "sample_id": sample,
        "label": sample % 2 if label is None else label,
        "status": status,
        "metrics": {name: value for name, value in metrics.items() if value == value},
        **{"sweep": "s", "base": "b", "base_seed": 0, "seed": 0, "lr": 0.1},
    }
