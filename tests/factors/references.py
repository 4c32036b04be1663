"""Reference models that say anything, for base models of a few samples."""

from __future__ import annotations

import numpy as np
import torch

from tests.oracles.factors.forgetting import Models
from unlearning.base_model import BaseModel, Companions
from unlearning.losses import log_odds
from unlearning.references import References


def drawn(base: BaseModel, models: int, seed: int = 0, share: float = 0.5) -> References:
    """Log-odds at random, higher where a sample was seen; means and spreads differ by sample."""
    random, ids = np.random.default_rng(seed), base.dataset.train.ids.tolist()
    tests = len(base.test_labels)
    included = random.random((models, len(ids))) < share
    spread = np.exp(random.normal(0, 0.5, len(ids)))
    phi = random.normal(0, 2, len(ids)) + spread * random.normal(size=included.shape)
    phi += 1.5 * included
    test_phi = random.normal(0, 1, tests) + random.normal(size=(models, tests))
    right = random.random(included.shape) < 0.7
    tables = (included, phi, right, test_phi)
    seen, log_odds_, correct, of_tests = map(torch.from_numpy, tables)
    return References(seen, log_odds_, correct, of_tests)


def with_references(base: BaseModel, references: References) -> BaseModel:
    """The base model with reference models beside it."""
    beside = Companions(references=references)
    return BaseModel(base.network, base.dataset, base.device, base.origin, beside)


def as_oracle(base: BaseModel) -> Models:
    """What the reference models of a base model say, for the oracle."""
    said = base.companions.references
    assert said is not None
    test_phi = log_odds(base.test_logits, base.test_labels)
    tables = (said.phi, said.included, said.test_phi, test_phi)
    return Models(*(table.tolist() for table in tables))
