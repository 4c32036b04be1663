"""Small warehouses made by hand, without MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.warehouse import STAGING, Warehouse, open_warehouse, rebuild

Members = list[dict[str, Any]]

TEST_SAMPLES = 100
PRE = ("margin", "pre_noise", "pre_never", "smooth", "tied")
ATTACK = ("mia_margin", "mia_attack_accuracy", "mia_attack_strength")
EACH = (36, 20)  # samples of a class that an attack has, of both splits


def staging(members: Sequence[Mapping[str, Any]], factors: Sequence[str]) -> dict[str, pa.Table]:
    """Staging rows; a member: algorithm, sample_id, label, status, metrics, and what it is of.

    Unless a member says otherwise there is one sweep `s` from one base model `b`, seeds 0. A factor
    whose name is `margin` or begins with `pre_` is known before unlearning. `engine_version` and
    `precision` are logged where a member has them, for its sweep too. A factor whose name begins
    with `mia_` is of the family `membership`. A member's `provider` is who brings its algorithm,
    and where it `draws` this has retain batches; its `probs` are those of its label by step, its
    `auc` is what audits of its sweep say of it, by how many models forgot it in each.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGING}

    def run(run_id: str, kind: str, **params: object) -> None:
        named = {"run_id": run_id, "name": run_id, "experiment": "e", "experiment_id": "1"}
        rows["runs"].append(named | {"kind": kind, "status": "FINISHED"})
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
        rows["histories"] += [
            {"run_id": f"m{number}", "step": step, "forget_prob": prob, "forget_loss": 0.0}
            for step, prob in enumerate(member.get("probs", ()))
        ]
        rows["plans"].append({"run_id": member["sweep"], "key": key})
        for models, auc in member.get("auc", {}).items():
            audit, child = f"a{models}-{member['sweep']}", f"a{models}-m{number}"
            if audit not in {row["run_id"] for row in rows["runs"]}:
                run(audit, "audit", sweep_id=member["sweep"], base_run_id=member["base"])
            run(child, "audited", algorithm=member["algorithm"])
            told = {"mlflow.parentRunId": audit, "sample_id": member["sample_id"]}
            pairs("tags", child, told)
            pairs("metrics", child, {"auc_ratio": auc, "models_saw": models})
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


def records(folder: Path, members: Members, query: str) -> Members:
    """The rows of a query over a warehouse of these members with the factors of PRE."""
    with warehouse_of(folder, members, PRE) as warehouse:
        return warehouse.query(query).records()


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


def sweep_of(
    seed: int, n: int, algorithms: tuple[str, ...] = ("ga", "salun"), **same: Any
) -> Members:
    """Members whose GT, margin and factors (see PRE) hang together, with ties and failures."""
    random = np.random.default_rng(seed)
    margin, noise = random.normal(size=(2, n))
    return [
        member(
            sample,
            f=float(np.round(np.clip(margin[sample] + random.normal(), -1, 3), 1)),
            u=0.9,
            status=str(random.choice(["flipped", "flipped", "max_steps"])),
            algorithm=algorithm,
            label=sample % 3,
            margin=margin[sample],
            pre_noise=noise[sample],
            smooth=margin[sample] + random.normal(),
            tied=float(random.integers(0, 3)),
        )
        | same
        for algorithm in algorithms
        for sample in range(n)
    ]


def repeats(seed: int, count: int, n: int, what: str, noise: float = 1.0) -> Members:
    """Sweeps of one algorithm that differ in one seed only."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=n)
    members: Members = []
    for repeat in range(count):
        gt = np.round(2 + truth + noise * random.normal(size=n), 1)
        where = {"sweep": f"s{repeat}", "seed": repeat}
        if what == "base model seed":
            where = {"sweep": f"s{repeat}", "base": f"b{repeat}", "base_seed": repeat}
        members += [member(k, f=float(max(gt[k], 0.1)), u=0.9) | where for k in range(n)]
    return members


def mixed(n: int, flipped: int) -> Members:
    """Members of which so many flipped, whose GT then follows the factor x the other way."""
    random = np.random.default_rng(n)
    x = random.normal(size=n)
    rise = np.where(np.arange(n) < flipped, 0.1, -0.1) * x + 0.05 * random.normal(size=n)
    states = ["flipped" if k < flipped else "max_steps" for k in range(n)]
    return [member(k, 0.5 + float(rise[k]), 0.9, states[k], x=float(x[k])) for k in range(n)]


def labelled(
    seed: int, shifts: Mapping[str, float], n: int = 60, classes: int = 3, digits: int = 2
) -> Members:
    """Members whose GT is larger by so much a class, for each algorithm; few digits make ties."""
    random = np.random.default_rng(seed)
    return [
        member(
            k,
            f=float(np.round(0.5 + shift * (k % classes) + 0.1 * random.random(), digits)),
            u=90.0,
            algorithm=name,
            label=k % classes,
        )
        for name, shift in shifts.items()
        for k in range(n)
    ]


def strength(accuracy: float, members: int, others: int) -> float:
    """Smirnov's distance by the size of both."""
    return (2 * accuracy - 1) * float(np.sqrt(members * others / (members + others)))


def attacked(accuracies: Mapping[str, Sequence[float]], n: int = 40) -> Members:
    """Members of algorithms with such an attack (see ATTACK) in each class, and a margin that GT
    follows."""
    random = np.random.default_rng(1)
    return [
        member(
            k,
            f=0.2 + k / 100,
            u=0.9,
            algorithm=algorithm,
            label=k % len(of_class),
            mia_margin=k + random.normal(),
            mia_attack_accuracy=of_class[k % len(of_class)],
            mia_attack_strength=strength(of_class[k % len(of_class)], *EACH),
        )
        for algorithm, of_class in accuracies.items()
        for k in range(n)
    ]
