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

    Raises UserError if there are not enough of them, or if one that is named is no training sample
    or is misclassified.
    """
    known = base.dataset.train.ids.tolist()
    wrong = misclassified(base) if only_correct else set()
    if named:
        base.dataset.train.positions(list(named))  # before any work, that they are there
        if refused := [str(sample) for sample in named if sample in wrong]:
            some = ", ".join(refused[:NAMED]) + (", ..." if len(refused) > NAMED else "")
            raise UserError(
                "--only-correct is given, but the base model misclassifies "
                f"{len(refused)} of the samples that are named ({some}): leave them out, or leave "
                "--only-correct out"
            )
        return list(named)
    return draw_samples(known, len(known) - len(wrong) if count is None else count, seed, wrong)


def misclassified(base: BaseModel) -> set[int]:
    """The training samples that the base model gets wrong."""
    wrong = base.train_logits.argmax(dim=1) != base.train_labels
    return set(base.dataset.train.ids[wrong.cpu()].tolist())


def draw_samples(
    ids: Sequence[int], count: int, seed: int, left_out: Collection[int] = ()
) -> list[int]:
    """`count` of the ids, in ascending order. A larger draw by a seed contains a smaller one.

    In place of each id that is left out comes the next one in the order of drawing.

    Raises UserError if there are not enough.
    """
    drawn = _in_order(ids, seed, left_out)
    if count > len(drawn):
        there = f"the training split has {len(ids)}"
        if left_out:
            there += f", of which the base model gets {len(drawn)} right (--only-correct)"
        raise UserError(f"{count} samples are asked for, but {there}")
    return sorted(drawn[:count])


def draw_to_try(
    base: BaseModel, count: int | None, usual: int, seed: int, avoided: Collection[int] = ()
) -> list[int]:
    """Samples to try settings on, in the order of drawing, of those that the base model gets right.

    They are the last that a sweep by that seed would draw, so that it draws others for as long as
    it can.

    Args:
        count: how many; `usual`, or as many as there are, if None.
        avoided: ids that are left out.

    Raises UserError if there are not enough, or where one that is left out is no training sample.
    """
    base.dataset.train.positions(list(avoided))
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    there = _in_order(ids, seed, wrong.union(avoided))[::-1]
    asked = min(usual, len(there)) if count is None else count
    if not there or asked > len(there):
        some = f"{asked} samples are asked for" if there else "there is no sample to try"
        raise UserError(
            f"{some}: of {len(ids)} in the training split the base model gets "
            f"{len(ids) - len(wrong)} right, and {len(there)} of these are not left out"
        )
    return there[:asked]


def _in_order(ids: Sequence[int], seed: int, left_out: Collection[int]) -> list[int]:
    """The ids in the order of drawing, without some."""
    order = np.random.default_rng([seed, 2]).permutation(len(ids))
    return [ids[position] for position in order if ids[position] not in left_out]
