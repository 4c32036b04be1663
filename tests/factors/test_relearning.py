"""Relearning: as a plain loop has it, and only where it is asked for."""

from __future__ import annotations

import pytest
import torch

import factors
from factors import forgetting
from factors.evaluation import Chunk, evaluate
from factors.family import post_values, pre_values
from tests.oracles.factors import relearning as oracle
from tests.oracles.loops import Task
from tests.unlearning.plain_loops import retain_of
from unlearning import algorithms
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, Companions, Params
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.losses import log_odds
from unlearning.references import References
from unlearning.several import moved
from unlearning.testing import SEED, small_base, some_positions

BUDGET = 30
FAMILIES = (forgetting.CONTROL, forgetting.RELEARNING)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "BUDGET", BUDGET)


def known(below: float) -> BaseModel:
    """A base model with reference models whose log-odds are about so much below its own.

    All but the last of `some_positions` have a leave-one-out model.
    """
    base, positions = small_base(), some_positions()
    draw = torch.Generator().manual_seed(0)
    phi, test_phi = (
        log_odds(logits, labels) + torch.randn(6, len(labels), generator=draw).double() / 10
        for logits, labels in (
            (base.train_logits, base.train_labels),
            (base.test_logits, base.test_labels),
        )
    )
    included = torch.arange(6)[:, None] % 2 == torch.arange(phi.shape[1]) % 2
    ids = tuple(base.dataset.train.ids.tolist())
    told = References(included, phi - below * ~included, phi > 0, test_phi)
    nothing = base.test_logits[:0]  # of such a model only that there is one
    left_out = {ids[position]: nothing for position in positions[:-1].tolist()}
    friends = Companions(left_out=left_out, references=told)
    return BaseModel(base.network, base.dataset, base.device, base.origin, friends)


def attempts(base: BaseModel, name: str = "ga", **settings: float) -> Chunk:
    positions, algorithm = some_positions(), algorithms.get(name).from_text(settings)
    unlearned = unlearn(base, algorithm, positions, SEED, Execution.SEQUENTIAL)
    return evaluate(base, positions, unlearned, base.some(None))


def task_of(base: BaseModel, weights: Params, position: int) -> Task:
    """To relearn a sample with these weights, in the batches that are drawn for it."""
    return Task(
        moved(base, weights).network,
        base.train_inputs[position],
        int(base.train_labels[position]),
        retain_of(base, position, forgetting.SEED, (BUDGET, 1, 64)),
    )


@pytest.mark.parametrize("below", [-0.02, 0.1])
def test_relearning_equals_the_oracle(below: float) -> None:
    base, positions = known(below), some_positions()
    chunk = attempts(base, lr=3e-4)
    found = post_values(chunk, FAMILIES) | pre_values(base, FAMILIES, positions)
    expected: dict[str, list[float]] = {name: [] for name in found}
    left_out, references = left_out_models(base, positions), base.references
    assert references is not None
    for k, position in enumerate(positions.tolist()):
        label = base.train_labels[position]
        given = (
            log_odds(base.train_logits[position][None], label[None]).item(),
            references.outside.mean[position].item(),
            BUDGET,
        )
        after = task_of(base, chunk.unlearned.state_of(k), position)
        never = task_of(base, {name: part[k] for name, part in left_out.items()}, position)
        for name, task in zip(found, (after, after, never, never), strict=True):
            is_there = chunk.ran[k] if task is after else k < len(positions) - 1
            value = getattr(oracle, name)(task, *given) if is_there else torch.nan
            expected[name].append(value)
    for name, values in expected.items():
        assert found[name].tolist() == pytest.approx(values, rel=0, abs=0, nan_ok=True), name


def test_nothing_is_relearned_without_references() -> None:
    base = small_base()
    values = post_values(attempts(base), FAMILIES) | pre_values(base, FAMILIES, some_positions())
    assert all(column.isnan().all() for column in values.values())


def test_it_is_measured_only_where_it_is_asked_for() -> None:
    anyway, asked = factors.families(), factors.families(["relearning"])
    assert not any(family.is_optional for family in anyway)
    assert [family for family in asked if family not in anyway] == [*FAMILIES]
    assert asked == factors.every()
    with pytest.raises(UserError, match=r"'relerning' \(did you mean 'relearning'\?\): choose"):
        factors.families(["relerning"])
