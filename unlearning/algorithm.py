"""What an unlearning algorithm is: hyper-parameters as fields, pure functions of one member."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from unlearning import losses
from unlearning.base_model import BaseModel, Model, Params
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.hyperparameters import Between, Configured, hyperparameter
from unlearning.memory import Memory, at_work, differentiated, size_of

# Of the weights, at most, that a member holds: the result, those of the step and those before it,
# three gradients, two moments and an intermediate result; a mask, the best step, or float64.
COPIES = 12

State = Mapping[str, Any]  # what an algorithm prepares for a member: tensors, or mappings of them


class Forget(NamedTuple):
    """The forget sample of one member."""

    image: Tensor  # (C, H, W)
    label: Tensor  # (), int64
    logits: Tensor  # (classes,), under the base model
    position: Tensor  # (), int64, in the training split
    uniform: Tensor  # (), a random number in [0, 1) that follows from seed and sample
    held_out_prob: Tensor  # (), mean p of the test samples of its class, under the base model
    target: Tensor  # (), log-odds of the label that it is to come to; of a guess, at the flip


class Retain(NamedTuple):
    """The retain batches of one member and step; the first axis counts the batches."""

    images: Tensor  # (draws, B, C, H, W)
    labels: Tensor  # (draws, B), int64
    logits: Tensor  # (draws, B, classes), under the base model


class SetState(NamedTuple):
    """What an algorithm prepares for a forget set of M samples."""

    each: State  # of each sample, with a leading axis of M
    whole: State  # of the set


class Members(NamedTuple):
    """K members, as a direct algorithm gets them."""

    base: BaseModel
    forget: Forget  # each part with a leading axis of K
    state: State  # what was prepared, likewise
    execution: Execution
    stop: Callable[[], bool]  # whether to stop


Loss = Callable[[Model, Forget, Retain, State], Tensor]
Constraint = Callable[[Params, Params, State], Params]  # (parameters, the base model's, state)


@dataclass(frozen=True, kw_only=True)
class Algorithm(Configured):
    """Base of all algorithms. A subclass declares its hyper-parameters as fields.

    It derives from `Stepwise` if it takes optimiser steps, or from `Direct` if it computes the
    unlearned parameters itself. The engine knows nothing else about it.
    """

    citation: ClassVar[str]  # where it was published
    logged: ClassVar[tuple[str, ...]] = ()  # the names of what `report` returns
    is_exact: ClassVar[bool] = False  # whether it gives a model that never saw the sample
    takes_sets: ClassVar[bool] = False  # whether it unlearns several at once: see `several`

    @property
    def budget(self) -> int:
        """Steps after which unlearning gives up."""
        raise NotImplementedError

    @property
    def retain_draws(self) -> tuple[int, int]:
        """How many retain batches a step needs, and of how many samples each."""
        return 0, 0

    @property
    def has_chance(self) -> bool:
        """Whether the seed matters: retain batches are drawn, or `forget.uniform` is used."""
        return math.prod(self.retain_draws) > 0

    def shared_memory(self, base: BaseModel) -> float:
        """Bytes that `shared` takes, while it is computed as well; an upper bound."""
        return 0.0

    def shared(self, base: BaseModel) -> State:
        """What the algorithm computes once per base model, for all samples."""
        return {}

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        """What it computes for one member before the first step.

        Args:
            model: the base model. shared: as returned by `shared`.
        """
        return {}

    def prepare_set(self, model: Model, forget: Forget, shared: State) -> SetState:
        """What it computes for a forget set before the first step; as it stands, for each sample.

        Args:
            forget: the M samples, each part with a leading axis of M.
        """
        each = model.each(lambda one: dict(self.prepare(model, one, shared)))
        return SetState(each(forget), {})

    def regret(self, forget_prob: Tensor, state: State) -> Tensor | None:
        """How far the weights after a step are from those wanted; None to keep the last step's.

        The step with the least regret is kept, of equal ones the earliest.

        Args:
            forget_prob: p(x_f) of K members after the step, (K,) float64. state: of all of them.

        Returns: (K,) float64.
        """
        return None

    def report(self, state: State, steps: Tensor, kept: Tensor) -> Mapping[str, Tensor]:
        """The `logged` numbers of K members that end, by name, (K,) each.

        Args:
            state: what was prepared. steps: taken, (K,). kept: the step that is kept, (K,).
        """
        return {name: state[name] for name in self.logged}

    def memory(self, base: BaseModel, execution: Execution) -> Memory:
        """An upper bound of what a chunk of its members takes while they are unlearned.

        Counted are COPIES of the weights, the retain batches of a step, the positions drawn for all
        steps, and the gradient of a loss over a retain batch and the forget sample.
        """
        (draws, batch), image = self.retain_draws, base.train_inputs[:1]
        retain = draws * batch * size_of([image, base.train_logits[:1]])
        positions = draws * batch * self.budget * 2 * 8  # int64, in numpy and in torch
        held = Memory(COPIES * size_of(base.state.values()) + retain + positions)
        return held + at_work(differentiated(base, 1 + batch), execution)


@dataclass(frozen=True, kw_only=True)
class Stepwise(Algorithm):
    """An algorithm that takes optimiser steps on losses, until the prediction flips."""

    optimizer: str = hyperparameter(
        "adam",
        "optimiser of every update",
        choices=("adam", "sgd"),
        searched=("adam", "sgd"),
    )
    lr: float = hyperparameter(1e-4, "learning rate", above=0, searched=Between(1e-5, 0.1))
    momentum: float = hyperparameter(0.0, "momentum of SGD", at_least=0, at_most=1)
    weight_decay: float = hyperparameter(0.0, "L2 penalty added to gradients", at_least=0)
    batch_norm: str = hyperparameter(
        "frozen",
        "running statistics as they are, or each batch's own in the steps",
        choices=("frozen", "batch"),
    )
    max_steps: int = hyperparameter(20, "steps after which unlearning gives up", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum and self.optimizer != "sgd":
            raise UserError(
                f"{self.name}.momentum is {self.momentum}: only optimizer=sgd has momentum"
            )

    @property
    def budget(self) -> int:
        """`max_steps`."""
        return self.max_steps

    def losses(self, step: int) -> tuple[Loss, ...]:
        """The losses of a step (counted from 1), each followed by one optimiser step."""
        return (self.loss,)

    def loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        """The loss of a member, (), of algorithms whose steps have one."""
        raise NotImplementedError

    def constraint(self) -> Constraint | None:
        """A function that is applied to the parameters after each optimiser step; None if none."""
        return None

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """An elementwise optimiser, so that stacked members do not affect each other."""
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )


@dataclass(frozen=True, kw_only=True)
class Direct(Algorithm):
    """An algorithm that computes the unlearned parameters itself, in one step or a few."""

    @property
    def budget(self) -> int:
        """One step."""
        return 1

    def propose(self, members: Members, step: int) -> dict[str, Tensor]:
        """The parameters of K members after a step, by name, (K, ...) each.

        Buffers are among them where they change. An algorithm that takes long calls `members.stop`
        now and then, and raises Stopped when it returns true.

        Args:
            step: counted from 1.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class WithRetain(Stepwise):
    """A stepwise algorithm that also uses retain batches: one a step, unless it says otherwise."""

    retain_batch: int = hyperparameter(64, "samples in a retain batch", at_least=1)

    @property
    def retain_draws(self) -> tuple[int, int]:
        """One batch a step."""
        return 1, self.retain_batch


def cross_entropy(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch, ()."""
    return losses.cross_entropy(model(images), labels)


def forget_loss(model: Model, forget: Forget) -> Tensor:
    """CE(x_f, y_f), ()."""
    return cross_entropy(model, forget.image[None], forget.label[None])


def retain_loss(model: Model, retain: Retain, draw: int = 0) -> Tensor:
    """Mean cross-entropy of one retain batch, ()."""
    if not len(retain.images):
        raise TypeError("it draws no retain batches: derive it from WithRetain")
    return cross_entropy(model, retain.images[draw], retain.labels[draw])


def wrong_label(forget: Forget) -> Tensor:
    """A label drawn uniformly from all but the true one, (); it follows from `forget.uniform`."""
    classes = forget.logits.shape[0]
    offset = 1 + (forget.uniform * (classes - 1)).to(torch.int64)
    return (forget.label + offset) % classes


def relabel_loss(model: Model, forget: Forget, state: State) -> Tensor:
    """CE(x_f, y') of the member's `relabel_target`, ()."""
    return cross_entropy(model, forget.image[None], state["relabel_target"][None])
