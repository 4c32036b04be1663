"""What is asked of a network that somebody brings, and that any that fits is computed with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import factors
from factors.family import pre_values
from unlearning import algorithms, models
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset
from unlearning.engine import unlearn
from unlearning.execution import Execution

CPU = torch.device("cpu")
OWN = """
import torch
from torch import nn

class Lazy(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.first, self.last = nn.LazyLinear(8), nn.LazyLinear(classes)

    def forward(self, images):
        return self.last(self.first(images.flatten(1)).relu())

class Attentive(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True)
        self.last = nn.Linear(8, classes)

    def forward(self, images):
        return self.last(self.layer(images[:, 0]).mean(dim=1))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `--arch` calls networks of one's own, up to the last colon."""
    (tmp_path / "brought_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "brought_nets", raising=False)
    return "module:brought_nets"


def test_lazy_layers_begin_as_the_seed_says(own: str, digits: Dataset) -> None:
    def weights(seed: int) -> str:
        torch.rand(1)  # what others draw meanwhile is of no account
        return models.weights_sha256(models.build(f"{own}:Lazy", digits, seed).state_dict())

    assert weights(0) == weights(0) != weights(1)


def test_attention_has_all_factors_and_is_the_same_stacked_and_one_by_one(
    own: str, digits: Dataset
) -> None:
    network = models.build(f"{own}:Attentive", digits).double()
    base = BaseModel(network, digits, CPU)
    right = (base.train_logits.argmax(1) == base.train_labels).nonzero()[:3, 0]
    families = [f for f in factors.families() if f.phase == "pre" and f.of_companions is None]
    assert pre_values(base, families, right)["own_curvature"].isfinite().all()
    ga = algorithms.get("ga").from_text({"lr": 1e-3, "max_steps": 3})
    stacked, alone = (unlearn(base, ga, right, 0, execution) for execution in Execution)
    for name, weights in stacked.params.items():
        torch.testing.assert_close(weights, alone.params[name], rtol=1e-6, atol=1e-8)
