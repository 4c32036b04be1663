"""Which samples a sweep unlearns: those that are named, or some that are drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from unlearning.base_model import BaseModel
from unlearning.errors import UserError

NAMED = 5  # sample ids that a message names


def choose_samples(
    base: BaseModel, named: Sequence[int], count: int | None, seed: int, only_correct: bool
) -> list[int]:
    """The ids that are named, or `count` of the training samples drawn by the seed; all if None.

    Args:
        only_correct: whether the base model has to get them right.

    Raises UserError where too few are, or one that is named is none or one that it gets wrong.
    """
    known = base.dataset.train.ids.tolist()
    wrong = misclassified(base) if only_correct else set()
    if named:
        base.dataset.train.positions(list(named))  # before any work, that they are there
        _refuse([sample for sample in named if sample in wrong])
        return list(named)
    return draw_samples(known, len(known) - len(wrong) if count is None else count, seed, wrong)


def misclassified(base: BaseModel) -> set[int]:
    """The training samples that the base model gets wrong."""
    wrong = base.train_logits.argmax(dim=1) != base.train_labels
    return set(base.dataset.train.ids[wrong.cpu()].tolist())


def draw_samples(
    ids: Sequence[int], count: int, seed: int, left_out: Collection[int] = ()
) -> list[int]:
    """`count` of the ids, in ascending order; more samples under a seed contain fewer.

    What is left out gives way to the next in the order of drawing: the others stay.

    Raises UserError if there are not so many.
    """
    order = np.random.default_rng([seed, 2]).permutation(len(ids))
    drawn = [ids[position] for position in order if ids[position] not in left_out]
    if count > len(drawn):
        there = f"the training split has {len(ids)}"
        if left_out:
            there += f", of which the base model gets {len(drawn)} right (--only-correct)"
        raise UserError(f"{count} samples are asked for, but {there}")
    return sorted(drawn[:count])


def _refuse(wrong: Sequence[int]) -> None:
    if wrong:
        some = ", ".join(map(str, wrong[:NAMED])) + (", ..." if len(wrong) > NAMED else "")
        raise UserError(
            f"--only-correct is given, but the base model misclassifies {len(wrong)} of the "
            f"samples that are named ({some}): leave them out, or leave --only-correct out"
        )
