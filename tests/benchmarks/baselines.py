"""The same job as people write it: a plain loop, a deep copy and an MLflow run a sample."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from torch import Tensor, nn
from torch.nn import functional as F

from tests.oracles import algorithms as oracles
from tests.oracles.loops import Data, Result, Task
from unlearning import algorithms, presets
from unlearning.base_model import BaseModel

Job = tuple[str, int]  # algorithm and position in the training split


def _kl(before: Tensor, after: Tensor) -> float:
    return F.kl_div(after.log_softmax(0), before.softmax(0), reduction="sum").item()


def settings_of(name: str) -> dict[str, Any]:
    """Every hyper-parameter, as the sweep logs them."""
    return dict(algorithms.get(name).from_text(presets.load("digits")[name]).settings())


def unlearn(base: BaseModel, job: Job) -> Result:
    """One sample with one algorithm, with retain batches from a shuffled loader."""
    name, position = job
    settings = settings_of(name)
    settings.pop("retain_batch", None)
    image, label = base.train_inputs[position], int(base.train_labels[position])
    rest = np.delete(np.arange(len(base.train_labels)), position)
    batches = _loader(rest, np.random.default_rng(position))

    def retain(step: int, slot: int) -> Data:
        at = next(batches)
        return base.train_inputs[at], base.train_labels[at]

    settings.pop("batch_norm")  # frozen, as everywhere here
    task = Task(base.network, image, label, retain, relabel_target=(label + 1) % 10)
    result: Result = oracles.find(name).unlearn(task, **settings)
    return result


def _loader(rest: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        order = random.permutation(rest)
        yield from (order[start : start + 64] for start in range(0, len(order) - 64, 64))


@torch.no_grad()
def measure(base: BaseModel, result: Result) -> dict[str, float]:
    """The factors that need the unlearned model, written down one by one."""
    model = result.model

    def outputs(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float, float]:
        logits = torch.cat([network(batch) for batch in images.split(256)])
        loss = F.cross_entropy(logits, labels).item()
        prob = logits.softmax(1).gather(1, labels[:, None]).mean().item()
        return (logits.argmax(1) == labels).float().mean().item(), loss, prob

    test = outputs(model, base.test_inputs, base.test_labels)
    remaining = outputs(model, base.train_inputs, base.train_labels)
    before = base.test_logits.softmax(1).gather(1, base.test_labels[:, None]).mean().item()
    pairs = list(zip(base.network.parameters(), model.parameters(), strict=True))
    utility = 1 - (before - test[2])
    forgetting = result.forget_probs[0] - result.forget_probs[-1]
    lam = 1 / len(base.test_labels)
    return {
        "test_accuracy": test[0],
        "test_loss_diff": F.cross_entropy(base.test_logits, base.test_labels).item() - test[1],
        "test_prob_diff": before - test[2],
        "remaining_accuracy": remaining[0],
        "forget_prob_diff": forgetting,
        "forget_loss_diff": result.forget_losses[0] - result.forget_losses[-1],
        "model_distance_abs": float(np.mean([(a - b).abs().mean().item() for a, b in pairs])),
        "model_distance_kl": float(np.mean([_kl(a.flatten(), b.flatten()) for a, b in pairs])),
        "steps": float(result.steps),
        "gt": lam * utility * forgetting / (lam * utility + forgetting),
    }


def params_of(job: Job) -> dict[str, Any]:
    """The params that the sweep logs."""
    return {"algorithm": job[0], "seed": 0, **settings_of(job[0])}


def tags_of(base: BaseModel, job: Job, result: Result) -> dict[str, str]:
    """As many tags as the sweep sets."""
    sample = str(int(base.dataset.train.ids[job[1]]))
    return {
        "sample_id": sample,
        "label": str(int(base.train_labels[job[1]])),
        "status": result.status,
        "key": f"{job[0]}-{sample}",
        "kind": "member",
        "code_version": "1",
    }


def tutorial(base: BaseModel, jobs: list[Job], uri: str, as_model: bool = False) -> None:
    """The fluent API as tutorials show it: a nested run, and a call for each value.

    The weights are an artifact, or `as_model` one of MLflow's models, as most tutorials have it.
    """
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tutorial")
    with mlflow.start_run(run_name="parent"):
        for job in jobs:
            with mlflow.start_run(run_name=f"{job[0]}-{job[1]}", nested=True):
                result = unlearn(base, job)
                for name, value in params_of(job).items():
                    mlflow.log_param(name, value)
                for name, value in tags_of(base, job, result).items():
                    mlflow.set_tag(name, value)
                for step, (prob, loss) in enumerate(
                    zip(result.forget_probs, result.forget_losses, strict=True)
                ):
                    mlflow.log_metric("forget_prob", prob, step=step)
                    mlflow.log_metric("forget_loss", loss, step=step)
                for name, value in measure(base, result).items():
                    mlflow.log_metric(name, value)
                if as_model:
                    mlflow.pytorch.log_model(
                        result.model, name="model", serialization_format="pickle"
                    )
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "model.pt"
                    torch.save(result.model.state_dict(), path)
                    mlflow.log_artifact(str(path))


def careful(base: BaseModel, jobs: list[Job], uri: str) -> None:
    """A careful user's loop: one `log_batch` a run, all of its values at once."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("careful")
    parent = client.create_run(experiment, run_name="parent").info.run_id
    for job in jobs:
        result = unlearn(base, job)
        values = measure(base, result)
        tags = {"mlflow.parentRunId": parent}
        run = client.create_run(experiment, tags=tags, run_name=f"{job[0]}-{job[1]}").info
        metrics = [Metric(name, value, 0, 0) for name, value in values.items()]
        for step, (prob, loss) in enumerate(
            zip(result.forget_probs, result.forget_losses, strict=True)
        ):
            metrics += [Metric("forget_prob", prob, 0, step), Metric("forget_loss", loss, 0, step)]
        params = [Param(name, str(value)) for name, value in params_of(job).items()]
        own = [RunTag(name, value) for name, value in tags_of(base, job, result).items()]
        client.log_batch(run.run_id, metrics, params, own)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.pt"
            torch.save(result.model.state_dict(), path)
            client.log_artifact(run.run_id, str(path))
        client.set_terminated(run.run_id)
