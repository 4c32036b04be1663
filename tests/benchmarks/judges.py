"""Requests that one half of the reference models says where to bring, judged by the other half.

`unlearn` judges by the models that also say where each request is to end, so that what it reports
is partly by construction. Here these are others. Beside it, the same of the untouched model, and of
one that was trained without the requests.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.requests import command
from tracker.base import base_models
from tracker.store.opening import open_store
from tracker.studies.evidence import goals, standing
from unlearning import algorithms
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, Companions, logits
from unlearning.several import unlearn_at_once

CPU = torch.device("cpu")
TRAIN = ("train", "--references", "64", "--reference-share", "0.5")
DRAWS = 5  # of the requests
SMALLEST = {
    "TRAIN": ("train", "--epochs", "1", "--references", "24", "--reference-share", "0.5"),
    "DRAWS": 1,
}
WORDS = [("2",)]


def main(requests: str = "20", folder: str = "", ids: str = "") -> None:
    """Of digits, or of the latest base model of a store; of all samples, or of those in a file."""
    with tempfile.TemporaryDirectory() as temporary:
        if not folder:
            command(Path(temporary), *TRAIN)
        base = base_models.load(open_store(Path(folder or temporary)), "latest", CPU).model
        _judge(base, int(requests), Path(ids).read_text() if ids else "")


def _judge(base: BaseModel, count: int, ids: str) -> None:
    references = base.companions.references
    assert references is not None
    even, data = torch.arange(len(references)) % 2 == 0, base.dataset
    judges = {
        whose: BaseModel(base.network, data, CPU, base.origin, Companions(references=own))
        for whose, own in (("same", references.only(even)), ("others", references.only(~even)))
    }
    every = np.array([int(word) for word in ids.split()]) if ids else data.train.ids.numpy()
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for seed in range(DRAWS):
        drawn = np.random.default_rng([7, seed]).permutation(every)[:count]
        at = data.train.positions([int(sample) for sample in drawn])
        own, retrained = judges["same"], left_out_models(base, at[None])
        how = (algorithms.get("matching")(), at, at, seed)
        moved = unlearn_at_once(own, own.state, *how, target=goals(own, at)).state_of(0)
        models: dict[str, dict[str, Tensor]] = {
            "untouched": base.state,
            "matching": {**base.state, **moved},
            "trained without them": {name: part[0] for name, part in retrained.items()},
        }
        for model, state in models.items():
            for whose, judge in judges.items():
                z = standing(judge, state, at)
                assert z is not None
                inside = (z.z.abs() <= z.limit).double().mean().item()
                above = (z.z > z.limit).double().mean().item()
                lost = _accuracy(base, base.state) - _accuracy(base, state)
                found.setdefault((model, whose), []).append((inside, above, lost))
    print("| model | judged by | forgotten | remembered | points lost |")
    print("| --- | --- | --- | --- | --- |")
    for (model, whose), rows in found.items():
        inside, above, lost = map(fmean, zip(*rows, strict=True))
        print(f"| {model} | {whose} | {inside:.0%} | {above:.0%} | {lost:.2f} |")


def _accuracy(base: BaseModel, state: dict[str, Tensor]) -> float:
    right = logits(base.model.at(state), base.test_inputs).argmax(1) == base.test_labels
    return 100 * right.double().mean().item()
