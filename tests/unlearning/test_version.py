"""A fixed set of members comes to fixed numbers, or the version in every member's key is raised.

`python -m tests.unlearning.test_version` writes the numbers anew.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from unlearning import algorithms, models
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel, Origin, logits
from unlearning.dataset import Dataset, Split
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.recipe import Recipe
from unlearning.version import VERSION

KEPT = Path(__file__).with_name("members.json")
REWRITE = "python -m tests.unlearning.test_version"
TOLERANCE = {"float64": 1e-6, "float32": 2e-3}  # so that other machines agree
MARGIN = {"float64": 1.0, "float32": 14.0}  # of the base model, about
SMALL = {"max_steps": 4, "retain_batch": 4, "importance_samples": 8, "fisher_samples": 8}
# Of SGD in float32: the gradient of a confident sample, which may cancel, is seen under a large
# one only. Of algorithms that are not here, and of Adam, rounding decides too much: SCRUB moves by
# 5% from one kind of processor to another.
RATES = {
    **dict.fromkeys(("ga", "neggrad", "ft"), 0.3),
    **dict.fromkeys(("salun", "random_label", "boundary_shrink"), 1e-5),
}
POSITIONS = torch.tensor([0, 3, 7])
SEED = 5


@cache
def fixed(precision: str) -> BaseModel:
    """An untrained network that is right about all of its few random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (200, 1, 6, 6), generator=generator, dtype=torch.uint8)
    every = Split.of(images, torch.zeros(200, dtype=torch.int64), torch.arange(200))
    data = Dataset("random", every, every, ("0", "1", "2"), white=255)
    network, inputs = models.build("mlp", data).double(), data.inputs(every).double()
    head = list(network.parameters())[-2:]
    with torch.no_grad():
        head[1].sub_(network(inputs).mean(dim=0))
        highest = network(inputs).topk(2, dim=1).values
        margin = highest[:, 0] - highest[:, 1]
        scale = MARGIN[precision] / margin.mean()
        for p in head:
            p.mul_(scale)
        labels = network(inputs).argmax(dim=1)
    alike = ((margin * scale / MARGIN[precision]).sub(1).abs() < 0.3).nonzero().squeeze(1)
    train, test = (Split.of(images, labels, part) for part in (alike[:20], alike[20:32]))
    data = dataclasses.replace(data, train=train, test=test)
    if precision == "float32":
        network.float()
    recipe = Recipe(epochs=2, batch_size=5)
    return BaseModel(network, data, torch.device("cpu"), Origin("mlp", recipe))


def made(name: str, precision: str) -> Algorithm:
    """The algorithm with a small budget, and in float32 with SGD."""
    settings: dict[str, Any] = dict(SMALL)
    if precision == "float32":
        settings |= {"optimizer": "sgd", "lr": RATES[name], "max_steps": 2}
    fields = {field.name for field in dataclasses.fields(algorithms.get(name))}
    return algorithms.get(name).from_text({k: v for k, v in settings.items() if k in fields})


def members(name: str, precision: str) -> list[dict[str, Any]]:
    """What becomes of each member, as plain values."""
    base = fixed(precision)
    result = unlearn(base, made(name, precision), POSITIONS, SEED, Execution.SEQUENTIAL)
    rows = []
    for k in range(len(POSITIONS)):
        state = result.state_of(k)
        steps = [(state[n] - p).double().norm() for n, p in base.params.items()]
        of_test = logits(base.model.at(state), base.test_inputs).double()
        rows.append(
            {
                "status": str(result.status[k]),
                "steps": int(result.steps[k]),
                "kept": int(result.kept[k]),
                "distance": float(torch.stack(steps).norm()),
                "forget_loss": result.forget_loss[k].nan_to_num(-1.0).tolist(),
                "test_logits_norm": float(of_test.norm()),
                "details": {n: float(v[k].nan_to_num(-1.0)) for n, v in result.details.items()},
            }
        )
    return rows


def cases() -> list[tuple[str, str]]:
    """All algorithms in float64, some in float32 too."""
    return [(name, "float64") for name in algorithms.names()] + [
        (name, "float32") for name in RATES
    ]


@pytest.mark.parametrize(("name", "precision"), cases())
def test_no_number_changes_under_the_same_version(name: str, precision: str) -> None:
    kept = json.loads(KEPT.read_text("utf-8"))
    if kept["version"] != VERSION:
        pytest.fail(f"{KEPT.name} is of version {kept['version']}: {REWRITE}")
    now, before = members(name, precision), kept["members"][precision].get(name)
    if not _agree(now, before, TOLERANCE[precision]):
        pytest.fail(
            f"{name} in {precision} came to {before}\nand now comes to {now}:\nif that is meant, "
            f"raise VERSION in unlearning/version.py, and {REWRITE}; if not, look at "
            "what changed"
        )


def _agree(now: Any, before: Any, tolerance: float) -> bool:
    """Whether two nested values are equal, numbers nearly."""
    if isinstance(now, dict) and isinstance(before, dict) and now.keys() == before.keys():
        now, before = list(now.values()), [before[key] for key in now]
    if isinstance(now, list) and isinstance(before, list):
        pairs = zip(now, before, strict=False)
        return len(now) == len(before) and all(_agree(*pair, tolerance) for pair in pairs)
    if isinstance(now, float) and isinstance(before, (float, int)):
        return bool(now == pytest.approx(before, rel=tolerance, abs=1e-12))
    return bool(now == before)


def main() -> None:
    numbers: dict[str, dict[str, Any]] = {"float64": {}, "float32": {}}
    for name, precision in cases():
        numbers[precision][name] = members(name, precision)
    KEPT.write_text(json.dumps({"version": VERSION, "members": numbers}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
