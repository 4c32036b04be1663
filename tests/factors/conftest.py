"""Attempts of gradient ascent, and all factors of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import factors
from factors.evaluation import Chunk, evaluate
from factors.family import post_values, pre_values
from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn

SAMPLES = 12


@pytest.fixture(scope="session")
def positions(base: BaseModel) -> Tensor:
    """Random samples, the first of them one that the base model gets wrong."""
    wrong = (base.train_logits.argmax(1) != base.train_labels).nonzero().squeeze(1)
    some = torch.from_numpy(np.random.default_rng(1).permutation(1000)[:SAMPLES].copy())
    return torch.cat([wrong[:1], some[~torch.isin(some, wrong)]])


@pytest.fixture(scope="session")
def chunk(base: BaseModel, positions: Tensor) -> Chunk:
    algorithm = algorithms.get("ga").from_text({"lr": 1e-3})
    return evaluate(base, positions, unlearn(base, algorithm, positions, 0), base.some(None))


@pytest.fixture(scope="session")
def post(chunk: Chunk) -> dict[str, Tensor]:
    return post_values(chunk, factors.families())


@pytest.fixture(scope="session")
def pre(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    return pre_values(base, factors.families(), positions)
