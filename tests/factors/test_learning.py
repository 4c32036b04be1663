"""How the sample was learned, from what was recorded in training, and memorised."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from factors.family import pre_values
from factors.learning import LEARNING
from tests.oracles.factors import learning as oracle
from unlearning.base_model import BaseModel, Companions
from unlearning.training import Learning, Recorder

NAMES = [column.name for column in LEARNING.declared]


def known(base: BaseModel, recorded: Learning) -> BaseModel:
    """The base model, with how its samples were learned."""
    return BaseModel(
        base.network, base.dataset, base.device, companions=Companions(learning=recorded)
    )


def found(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    return pre_values(base, [LEARNING], positions)


@pytest.mark.parametrize("epochs", [1, 2, 9])
def test_every_factor_equals_the_oracle(base: BaseModel, epochs: int) -> None:
    random = np.random.default_rng(epochs)
    size, classes = base.train_logits.shape
    logits = torch.from_numpy(2 * random.normal(size=(epochs, size, classes)))
    logits[:, torch.arange(0, size, 2), base.train_labels[::2]] += 3  # right more often than not
    recorder = Recorder()
    for rows in logits:
        for batch in torch.from_numpy(random.permutation(size)).split(300):
            recorder.see(batch, rows[batch])
        recorder.end_epoch(base.train_labels)
    positions = torch.from_numpy(random.permutation(size)[:60].copy())
    values = found(known(base, recorder.learning), positions)
    for name in NAMES:
        of = getattr(oracle, name)
        expected = [of(list(logits[:, p]), int(base.train_labels[p])) for p in positions.tolist()]
        # Traces are kept in float32.
        np.testing.assert_allclose(values[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    if epochs > 2:
        assert values["forgetting_events"].unique().numel() > 2
        assert values["first_epoch_learned"].unique().numel() > 2
