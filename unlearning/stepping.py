"""How members change their weights: by optimiser steps, or as the algorithm proposes."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unlearning import agreed
from unlearning.algorithm import Constraint, Direct, Forget, Loss, Members, Retain, State, Stepwise
from unlearning.base_model import Params
from unlearning.errors import UserError, words_of
from unlearning.execution import gradients, map_members, stacked_copies
from unlearning.outcome import Unlearned
from unlearning.stack import Job, Stack


class StepwiseStack(Stack[Stepwise]):
    """Members that take optimiser steps."""

    def __init__(self, algorithm: Stepwise, job: Job, rows: Tensor, result: Unlearned) -> None:
        super().__init__(algorithm, job, rows, result)
        self.train_model = self.model  # the one whose losses are differentiated
        if algorithm.batch_norm == "batch":
            network = _with_batch_statistics(job.base.network)
            self.train_model = job.base.as_model(network)
            self.buffers = {
                name: stacked_copies(buffer, len(rows)) for name, buffer in network.named_buffers()
            }
        for p in self.params.values():
            p.requires_grad_()
        self.optimizer = algorithm.make_optimizer(list(self.params.values()))

    def change_weights(self, step: int) -> None:
        """An optimiser step for each loss."""
        at, base = self.retain[:, step - 1], self.job.base
        retain = Retain(base.train_inputs[at], base.train_labels[at], base.train_logits[at])
        constraint = self.algorithm.constraint()
        for loss in agreed.losses(self.algorithm, step):
            for name, gradient in self._gradients(loss, retain).items():
                self.params[name].grad = gradient
            self.optimizer.step()
            if constraint is not None:
                self._constrain(constraint)

    def _gradients(self, loss: Loss, retain: Retain) -> Mapping[str, Tensor]:
        """Those of the members' losses, by parameter, (K, ...) each."""

        def member_loss(
            params: Params, buffers: Params, forget: Forget, retain: Retain, state: State
        ) -> Tensor:
            model = self.train_model.at({**params, **buffers})
            return agreed.loss(self.algorithm, loss(model, forget, retain, state))

        gradient_of = gradients(member_loss, self.job.execution)
        try:
            return gradient_of(self.params, self.buffers, self.forget, retain, self.state)
        except ValueError as error:
            if "more than 1 value per channel" not in words_of(error):
                raise
            raise UserError(
                "batch_norm is 'batch', but one image of this size has no statistics of its own: "
                "leave it frozen"
            ) from error

    @torch.no_grad()
    def _constrain(self, constraint: Constraint) -> None:
        constrain = map_members(
            lambda params, state: dict(constraint(params, self.job.base.params, state)),
            self.job.execution,
        )
        found = constrain(self.params, self.state)
        known, size = self.job.base.params, len(self)
        constrained = agreed.weights(self.algorithm, "constraint", found, known, size)
        for name, weights in constrained.items():
            self.params[name].copy_(weights)

    def keep(self, stay: Tensor) -> None:
        """Drop all members but those that stay, with their optimiser's state."""
        size = len(self)
        super().keep(stay)
        for p in self.params.values():
            p.data, p.grad = p.data[stay], None
            for name, value in self.optimizer.state[p].items():
                if isinstance(value, Tensor) and value.shape[:1] == (size,):
                    self.optimizer.state[p][name] = value[stay]


class DirectStack(Stack[Direct]):
    """Members of an algorithm that gives their parameters itself."""

    def change_weights(self, step: int) -> None:
        """Take what the algorithm proposes."""
        job = self.job
        members = Members(job.base, self.forget, self.state, job.execution, job.stop)
        found = self.algorithm.propose(members, step)
        proposed = agreed.weights(self.algorithm, "propose", found, job.base.state, len(self))
        for name, weights in proposed.items():
            (self.params if name in self.params else self.buffers)[name] = weights

    def keep(self, stay: Tensor) -> None:
        """Drop all members but those that stay."""
        super().keep(stay)
        self.params = {name: p[stay] for name, p in self.params.items()}


def _with_batch_statistics(network: nn.Module) -> nn.Module:
    """A copy whose batch normalisation uses, and keeps track of, the statistics of each batch."""
    network = copy.deepcopy(network)
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        raise UserError("batch_norm is 'batch', but the base model has no batch normalisation")
    for layer in layers:
        layer.train()
    return network
