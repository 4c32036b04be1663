"""How the sample was learned, from what was recorded in training, and memorised."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from factors.family import pre_values
from factors.learning import LEARNING, memorization_estimate
from tests.oracles.factors import learning as oracle
from tests.oracles.factors.memorization import memorization
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


def test_by_hand(base: BaseModel) -> None:
    margins = torch.full((5, len(base.train_labels)), -1.0)
    margins[:, 0] = torch.tensor([-1.0, 2.0, -0.5, 0.0, 3.0])  # a tie is not right
    margins[:, 1] = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    losses = margins.neg().exp()
    losses[:, 0] = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0])
    values = found(known(base, Learning(losses, margins)), torch.tensor([2, 0, 1]))
    assert values["forgetting_events"].tolist() == [5, 1, 2]
    assert values["first_epoch_learned"].tolist() == [5, 1, 0]
    assert values["area_under_margin"].tolist() == pytest.approx([-1, 0.7, 0.2])
    assert values["cumulative_loss"][1].item() == 3
    assert values["loss_iqr"][:2].tolist() == [0, 2]


def test_a_sample_alone_has_the_number_that_it_has_in_company(base: BaseModel) -> None:
    shape = (7, len(base.train_labels))
    generator = torch.Generator().manual_seed(0)
    traces = Learning(*(torch.randn(shape, generator=generator) for _ in range(2)))
    followed = known(base, traces)
    together = found(followed, torch.arange(20))
    for position in (0, 7, 19):
        alone = found(followed, torch.tensor([position]))
        for name in NAMES:
            assert alone[name].item() == pytest.approx(together[name][position].item(), abs=1e-12)


def test_memorization_equals_the_oracle_and_is_undefined_in_all_or_none() -> None:
    rng = np.random.default_rng(0)
    correct, included = rng.random((12, 30)) < 0.7, rng.random((12, 30)) < 0.7
    included[:, 0], included[:, 1] = True, False
    estimates = memorization_estimate(torch.from_numpy(correct), torch.from_numpy(included))
    expected = memorization(correct, included)
    np.testing.assert_allclose(estimates, expected, rtol=1e-12)
    assert estimates[:2].isnan().all()
