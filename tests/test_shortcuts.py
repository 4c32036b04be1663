"""What the shortcuts of other tests leave out."""

from __future__ import annotations

import torch

from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.engine import faster_execution
from unlearning.execution import Execution


def test_the_faster_execution_is_measured(base: BaseModel) -> None:
    positions = torch.arange(3)
    assert faster_execution(base, algorithms.get("ga")(), positions, 0) in Execution
