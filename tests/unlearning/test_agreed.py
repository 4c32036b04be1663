"""What an algorithm gives is refused where it is not what it should be, stacked and one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from unlearning import agreed
from unlearning.algorithm import Direct, Stepwise, forget_loss
from unlearning.engine import unlearn
from unlearning.errors import Raised
from unlearning.execution import Execution
from unlearning.several import unlearn_at_once
from unlearning.testing import small_base

EXECUTIONS = pytest.mark.parametrize("execution", list(Execution))


def ascent(model: Any, forget: Any, retain: Any, state: Any) -> Any:
    return -forget_loss(model, forget)


@dataclass(frozen=True, kw_only=True)
class Steps(Stepwise):
    """Gradient ascent, until it is made to give something else."""

    name = "odd_steps"
    citation = "nobody"

    def losses(self, step: int) -> Any:
        return (ascent,)


@dataclass(frozen=True, kw_only=True)
class Proposes(Direct):
    """Halves all weights, until it is made to give something else."""

    name = "odd_proposal"
    citation = "nobody"

    def propose(self, members: Any, step: int) -> Any:
        return halves(members)


def halves(members: Any) -> dict[str, Any]:
    count = len(members.forget.label)
    return {
        name: (p / 2).expand(count, *p.shape).clone() for name, p in members.base.params.items()
    }


def of_loss(change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda self, step: (lambda *given: change(ascent(*given)),)


WRONG: dict[str, tuple[type[Any], str, Callable[..., Any], str]] = {
    "one function": (Steps, "losses", lambda self, step: ascent, "gives a function in its method"),
    "no functions": (Steps, "losses", lambda self, step: (1,), "where it takes a tuple of funct"),
    "no loss": (Steps, "losses", of_loss(lambda loss: None), "gives a NoneType"),
    "losses": (Steps, "losses", of_loss(lambda loss: loss[None]), "(1,) in its method losses"),
    "complex": (Steps, "losses", of_loss(lambda loss: loss * 1j), "gives complex"),
    "state": (
        Steps,
        "prepare",
        lambda *_: None,
        "a NoneType in its method prepare",
    ),
    "constraint": (
        Steps,
        "constraint",
        lambda self: lambda params, base, state: {n: p.sum() for n, p in params.items()},
        "float64 (2,) in its method constraint, where it takes float64 (2, ",
    ),
    "regret": (
        Steps,
        "regret",
        lambda *_: torch.ones(1),
        "(1,) in its method regret",
    ),
    "nothing": (Proposes, "propose", lambda *_: None, "takes a mapping of names to tensors"),
    "shared": (
        Proposes,
        "propose",
        lambda self, members, step: dict(members.base.params),
        "in its method propose, where it takes float64 (2, ",
    ),
    "float32": (
        Proposes,
        "propose",
        lambda self, members, step: {n: p.float() for n, p in halves(members).items()},
        "gives float32 (2, ",
    ),
    "other names": (
        Proposes,
        "propose",
        lambda self, members, step: {"weight": torch.zeros(2)},
        "gives 'weight' in its method propose, where it takes names of the model's",
    ),
}


@EXECUTIONS
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_given_otherwise_is_refused(
    wrong: str, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm, method, gives, said = WRONG[wrong]
    monkeypatch.setattr(algorithm, method, gives)
    with pytest.raises(Raised, match=re.escape(said)) as refusal:
        unlearned(algorithm(), execution)
    assert (refusal.value.kind, refusal.value.name) == ("algorithm", algorithm.name)
    assert str(refusal.value).startswith(f"the algorithm '{algorithm.name}' gives ")


@pytest.mark.parametrize("wrong", [name for name, row in WRONG.items() if row[1] == "losses"])
def test_several_at_once_are_refused_the_same(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm, method, gives, said = WRONG[wrong]
    monkeypatch.setattr(algorithm, method, gives)
    monkeypatch.setattr(algorithm, "takes_sets", True)
    base, both = small_base(), torch.arange(2)
    with pytest.raises(Raised, match=re.escape(said)):
        unlearn_at_once(base, base.state, algorithm(), both, both, 0)


@EXECUTIONS
@pytest.mark.parametrize("gives", [torch.ones(1), torch.tensor(1.0), 1.0, torch.ones(3) * 1j])
def test_a_number_for_all_members_is_no_number_of_each(
    gives: Any, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Proposes, "logged", ("own",))
    monkeypatch.setattr(Proposes, "report", lambda *_: {"own": gives})
    with pytest.raises(Raised, match=r"in its method report, where it takes \(2,\) for 'own' of 2"):
        unlearned(Proposes(), execution)


def test_what_is_right_is_taken() -> None:
    for algorithm in (Steps(), Proposes()):
        assert unlearned(algorithm, Execution.STACKED).moved.all()
    state = small_base().state
    some = {name: torch.zeros(3, *p.shape, dtype=p.dtype) for name, p in state.items()}
    assert agreed.weights(Steps(), "propose", some, state, 3) is some
    nothing = torch.tensor([math.nan, 1])
    assert agreed.numbers(Steps(), "report", {"a": nothing}, ["a"], 2)["a"] is nothing


def unlearned(algorithm: Any, execution: Execution) -> Any:
    base = small_base()
    right = (base.train_logits.argmax(dim=1) == base.train_labels).nonzero()[:2, 0]
    return unlearn(base, algorithm, right, 0, execution)
