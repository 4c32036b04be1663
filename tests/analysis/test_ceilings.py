"""What the findings say of GT that was measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.answers import ASKED, ask
from analysis.findings import findings
from tests.analysis.warehouses import member, warehouse_of

AGAIN = "Measured again under another unlearning seed"


def row(algorithm: str, ceiling: float | None, low: float | None, **other: Any) -> dict[str, Any]:
    interval = {"ceiling_low": low, "ceiling_high": None if low is None else 0.9}
    known = {"varied": "unlearning seed", "repeats": 5, "mean_rho": (ceiling or -0.4) ** 2}
    return known | {"algorithm": algorithm, "ceiling": ceiling, **interval, **other}


def said_of(*ceilings: dict[str, Any]) -> list[str]:
    return findings({name: [] for name in ASKED} | {"ceilings": list(ceilings)}, {})


BEYOND = (
    "GT agrees with itself such that nothing known before unlearning can be expected to correlate "
    "with it beyond ρ"
)


@pytest.mark.parametrize(
    ("ceilings", "said"),
    [
        ([row("ga", 0.7, 0.5)], [f"{AGAIN}, {BEYOND} 0.70 (0.50 to 0.90) with ga."]),
        (
            [row("ga", 0.7, 0.5), row("salun", 0.6, 0.4), row("scrub", 0.8, 0.6)],
            [
                f"{AGAIN}, {BEYOND} 0.60 (0.40 to 0.90) with salun to 0.80 (0.60 to 0.90) with "
                "scrub."
            ],
        ),
        ([row("ga", 0.2, 0.0)], [f"{AGAIN}, GT with ga cannot be told from chance."]),
        (
            [row("ga", 0.2, 0.0), row("salun", None, 0.0), row("scrub", 0.8, 0.6)],
            [
                f"{AGAIN}, {BEYOND} 0.80 (0.60 to 0.90) with scrub.",
                f"{AGAIN}, GT with ga and salun cannot be told from chance.",
            ],
        ),
        (
            [row("ga", 0.7, 0.5, repeats=2), row("salun", 0.1, 0.0, repeats=3)],
            [
                f"{AGAIN} (2 repeats only), {BEYOND} 0.70 (0.50 to 0.90) with ga.",
                f"{AGAIN} (3 repeats only), GT with salun cannot be told from chance.",
            ],
        ),
        ([row("ga", 0.7, None)], [f"{AGAIN}, {BEYOND} 0.70 with ga."]),  # below eight samples
        ([row("ga", None, None)], [f"{AGAIN}, GT with ga cannot be told from chance."]),
        ([row("ga", None, None, mean_rho=None)], []),
    ],
)
def test_ceilings_are_told_with_their_intervals(
    ceilings: list[dict[str, Any]], said: list[str]
) -> None:
    assert said_of(*ceilings) == said


def test_noise_limits_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    members = [
        member(k, f=float(random.uniform(0.1, 0.9)), u=90.0) | {"sweep": sweep, "seed": seed}
        for seed, sweep in enumerate(("s", "t"))
        for k in range(30)
    ]
    with warehouse_of(tmp_path, members) as warehouse:
        answers = ask(warehouse, "s")
    said = findings({name: found.rows for name, found in answers.by_name.items()}, {0: "", 1: ""})
    assert f"{AGAIN} (2 repeats only), GT with ga cannot be told from chance." in said
    assert not any("beyond" in line for line in said)
