"""What float32 does to factors and ranks: the digits preset against the same in float64."""

from __future__ import annotations

import copy
import math

import numpy as np
import scipy.stats
import torch

from indelible import factors
from indelible.factors.family import after, evaluate
from indelible.unlearning import algorithms, datasets, presets, training
from indelible.unlearning.base import BaseModel, Origin
from indelible.unlearning.engine import unlearn

SAMPLES = 100
CPU = torch.device("cpu")
SKIPPED = {"elapsed_s", "unlearning_gap", "relative_gap"}


def measured(base: BaseModel, name: str) -> dict[str, torch.Tensor]:
    algorithm = algorithms.get(name).from_text(presets.load("digits").get(name, {}))
    order = np.random.default_rng(0).permutation(len(base.train_labels))[:SAMPLES]
    found: dict[str, list[torch.Tensor]] = {}
    for positions in torch.from_numpy(order).split(32):
        chunk = evaluate(base, positions, unlearn(base, algorithm, positions, 0), base.some(None))
        for key, values in after(chunk, factors.families()).items():
            found.setdefault(key, []).append(values)
    return {key: torch.cat(values) for key, values in found.items()}


def main() -> None:
    digits, recipe = datasets.load("digits"), training.Recipe()
    network = training.train(digits, "small-cnn", recipe, CPU)
    origin = Origin("small-cnn", recipe)
    single = BaseModel(network, digits, CPU, origin)
    double = BaseModel(copy.deepcopy(network).double(), digits, CPU, origin)
    for name in algorithms.names():
        if name == "retrain":  # a whole training, of which nothing is the same twice
            continue
        a, b = measured(single, name), measured(double, name)
        steps = int((a["steps"] != b["steps"]).nansum())
        prob = float((a["test_prob_diff"] - b["test_prob_diff"]).abs().nan_to_num().max())
        ranks = {
            key: scipy.stats.spearmanr(a[key], b[key], nan_policy="omit").statistic
            for key in a.keys() - SKIPPED
        }
        ranks = {key: rho for key, rho in ranks.items() if not math.isnan(rho)}
        worst = min(ranks, key=ranks.__getitem__)
        print(
            f"{name:15} step counts differ for {steps} of {SAMPLES}; test_prob_diff by at most "
            f"{prob:.1e}; rank correlation with float64: gt {ranks['gt']:.5f}, "
            f"worst {worst} {ranks[worst]:.5f}",
            flush=True,
        )
