"""The same numbers on a GPU, where there is one."""

from __future__ import annotations

import copy

import pytest
import torch

import factors
from factors.evaluation import evaluate
from factors.family import post_values, pre_values
from tests.oracles import algorithms as oracles
from tests.unlearning.plain_loops import assert_same_weights
from unlearning import algorithms
from unlearning.algorithm import Stepwise
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.execution import Execution

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.mark.parametrize("name", [n for n in oracles.names() if oracles.find(n).SETTINGS])
@pytest.mark.parametrize("execution", Execution)
def test_a_gpu_gives_the_same_as_the_cpu(
    base64: BaseModel, name: str, execution: Execution
) -> None:
    settings = oracles.find(name).SETTINGS[0] | (
        {"max_steps": 5} if issubclass(algorithms.get(name), Stepwise) else {}
    )
    algorithm, positions = algorithms.get(name).from_text(settings), torch.arange(6)
    network = copy.deepcopy(base64.network)
    there = BaseModel(network, base64.dataset, torch.device("cuda"), base64.origin)
    here, found = (unlearn(model, algorithm, positions, 0, execution) for model in (base64, there))
    assert found.status == here.status
    assert torch.equal(found.steps, here.steps)
    for member in range(6):
        assert_same_weights(found.cpu().state_of(member), here.state_of(member), tolerance=1e-6)
    families = factors.families()
    values = []
    for model, outcome in ((base64, here), (there, found)):
        at = positions.to(model.device)
        chunk = evaluate(model, at, outcome, model.some(None))
        values.append(pre_values(model, families, at) | post_values(chunk, families))
    for column in values[0].keys() - {"elapsed_s"}:
        torch.testing.assert_close(
            values[1][column], values[0][column], rtol=1e-5, atol=1e-7, equal_nan=True
        )
