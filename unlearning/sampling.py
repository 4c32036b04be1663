"""What is drawn at random for a member: its retain samples and a number of its own.

All of it follows from the seed and the forget sample alone, so that the result of a member does
not depend on which others are unlearned with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unlearning.algorithm import Algorithm, Forget
from unlearning.base_model import BaseModel
from unlearning.losses import widest


def forget_samples(
    base: BaseModel, positions: Tensor, seed: int, target: Tensor | None = None
) -> Forget:
    """The training samples at `positions` (K,), each part with a leading axis of K.

    Args:
        target: (K,), log-odds of the labels; if None, those of one guess among the classes.
    """
    labels = base.train_labels[positions]
    if target is None:
        guess = -math.log(max(len(base.dataset.classes) - 1, 1))
        target = torch.full_like(labels, guess, dtype=widest(base.device))
    ids = base.dataset.train.ids[positions.cpu()].tolist()
    uniform = [np.random.default_rng([seed, sample_id, 1]).random() for sample_id in ids]
    return Forget(
        image=base.train_inputs[positions],
        label=labels,
        logits=base.train_logits[positions],
        position=positions,
        uniform=torch.tensor(uniform, dtype=widest(base.device), device=base.device),
        held_out_prob=base.held_out_prob[labels],
        target=target,
    )


def draw_retain(base: BaseModel, algorithm: Algorithm, positions: Tensor, seed: int) -> Tensor:
    """Positions in the training split of all that the members of an algorithm draw.

    Args:
        positions: (K,), of the forget samples.

    Returns: (K, steps, batches of a step, samples of a batch) int64.
    """
    shape = (algorithm.budget, *algorithm.retain_draws)
    size, draws = len(base.train_labels), math.prod(shape)
    drawn = [
        retain_positions(seed, int(base.dataset.train.ids[position]), position, size, draws)
        for position in positions.tolist()
    ]
    return torch.from_numpy(np.stack(drawn).reshape(len(drawn), *shape)).to(base.device)


def retain_positions(seed: int, sample_id: int, position: int, size: int, draws: int) -> np.ndarray:
    """Positions in the training split of a member's retain samples, in drawing order: (draws,).

    They come in the order of a data loader: the remaining data shuffled, and shuffled again
    whenever all of it was drawn.

    Args:
        seed: of the unlearning. sample_id: of the forget sample. position: the forget sample's
            in the training split, which is never drawn. size: of the training split.
        draws: how many samples.
    """
    drawn = shuffled([seed, sample_id], size - 1, draws)
    return drawn + (drawn >= position)


def shuffled(key: Sequence[int], size: int, draws: int) -> np.ndarray:
    """So many of the numbers below `size`, shuffled again whenever all were drawn: (draws,)."""
    shuffle = np.random.default_rng(key)
    order = [shuffle.permutation(size) for _ in range(-(-draws // size))]
    return np.concatenate(order)[:draws] if order else np.empty(0, dtype=np.int64)
