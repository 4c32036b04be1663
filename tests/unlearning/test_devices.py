"""The same numbers on a GPU, and nearly the same on a device without float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import factors
from factors.evaluation import evaluate
from factors.family import post_values, pre_values
from factors.index import forecast
from factors.outcome import ground_truth
from tests.oracles import algorithms as oracles
from tests.unlearning.plain_loops import assert_same_weights
from unlearning import algorithms, losses
from unlearning.algorithm import Stepwise
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.outcome import Unlearned

POSITIONS = torch.arange(8)
NEAR = {  # absolute, and a ten thousandth of the value
    **dict.fromkeys(("test_prob_diff", "activation_distance", "gt"), 1e-4),
    **dict.fromkeys(("forget_prob_diff", "forget_loss_diff", "margin", "el2n"), 1e-4),
    **dict.fromkeys(("test_accuracy", "remaining_accuracy", "knn_agreement"), 1e-6),
    **dict.fromkeys(("flip_probe_step_adam", "flip_probe_step_sgd"), 1e-3),
}


def found(base: BaseModel, name: str) -> tuple[Unlearned, dict[str, Tensor]]:
    """Of a copy, so that nothing is remembered that was computed otherwise."""
    model = BaseModel(copy.deepcopy(base.network), base.dataset, base.device, base.origin)
    short = {"max_steps": 5} if issubclass(algorithms.get(name), Stepwise) else {}
    algorithm = algorithms.get(name).from_text(short)
    unlearned = unlearn(model, algorithm, POSITIONS, 0, Execution.STACKED)
    chunk, families = evaluate(model, POSITIONS, unlearned, model.some(None)), factors.families()
    values = post_values(chunk, families)
    return unlearned, values | (pre_values(model, families, POSITIONS) if name == "ga" else {})


@pytest.mark.parametrize("name", ["ga", "scrub", "influence"])
def test_the_numbers_are_near(base: BaseModel, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wide, wanted = found(base, name)
    monkeypatch.setattr(losses, "NO_FLOAT64", ("cpu",))
    narrow, values = found(base, name)
    assert narrow.status == wide.status
    assert narrow.steps.equal(wide.steps)
    assert narrow.forget_prob.dtype == torch.float64
    assert values.keys() == wanted.keys()
    for column in NEAR.keys() & values.keys():
        torch.testing.assert_close(
            values[column], wanted[column], atol=NEAR[column], rtol=1e-4, equal_nan=True
        )
    assert not values["test_prob_diff"].equal(wanted["test_prob_diff"])  # or nothing was narrow
    lost, forgotten = values["test_prob_diff"], values["forget_prob_diff"]
    assert values["gt"].equal(ground_truth(1 - lost, forgotten, 1 / len(base.test_labels)))


# The same numbers on a GPU, where there is one

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def on_gpu(base: BaseModel) -> BaseModel:
    network = copy.deepcopy(base.network)
    return BaseModel(network, base.dataset, torch.device("cuda"), base.origin)


@GPU
@pytest.mark.parametrize("name", [n for n in oracles.names() if oracles.find(n).SETTINGS])
@pytest.mark.parametrize("execution", Execution)
def test_a_gpu_gives_the_same_as_the_cpu(
    base64: BaseModel, name: str, execution: Execution
) -> None:
    settings = oracles.find(name).SETTINGS[0] | (
        {"max_steps": 5} if issubclass(algorithms.get(name), Stepwise) else {}
    )
    algorithm, positions = algorithms.get(name).from_text(settings), torch.arange(6)
    there = on_gpu(base64)
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


@GPU
@pytest.mark.parametrize("name", ["ga", "salun", "boundary_shrink", "scrub"])
def test_a_gpu_forecasts_the_same_as_the_cpu(base64: BaseModel, name: str) -> None:
    algorithm, there = algorithms.get(name)(), on_gpu(base64)
    wanted = forecast(base64, algorithm, POSITIONS)
    found = forecast(there, algorithm, POSITIONS.to(there.device))
    for column, here in wanted._asdict().items():
        torch.testing.assert_close(
            getattr(found, column).cpu(), here, rtol=1e-5, atol=1e-7, equal_nan=True
        )
