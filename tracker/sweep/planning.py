"""From what is asked for to plans: which algorithms, with which settings, on which samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import factors
from tracker.base.base_models import BaseRun
from tracker.store.write import Store
from tracker.sweep.choosing import choose_samples
from tracker.sweep.plan import Plan
from tracker.sweep.settings import configure
from tracker.sweep.trials import choose_presets
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError


@dataclass(frozen=True)
class Wanted:
    """Which members are asked for, beside samples that are named.

    Attributes:
        names: of the algorithms. samples: how many, drawn by the seed; None for all.
        remaining: training samples that stand for the remaining data; None for all.
        preset: of all algorithms; None for the data set's, or what a trial finds.
        changes: of settings, `algorithm.name=value` each. repeats: under how many seeds.
    """

    names: tuple[str, ...]
    samples: int | None
    only_correct: bool
    remaining: int | None
    preset: str | None
    changes: tuple[str, ...]
    seed: int
    repeats: int

    def remaining_of(self, size: int) -> int | None:
        """How many of `size` training samples stand for the remaining data; None for all."""
        if self.remaining is not None and self.remaining > size:
            raise UserError(
                f"--remaining is '{self.remaining}': it takes all or a number of samples from 1 to "
                f"{size}, which the training split has"
            )
        return None if self.remaining == size else self.remaining


def plans(
    store: Store,
    base_run: BaseRun,
    wanted: Wanted,
    named: Sequence[int],
    say: Callable[[str], None],
    name: str | None = None,
    own_factors: Sequence[str] = (),
) -> Iterator[Plan]:
    """The plan of each repeat. What is found out on the way is said.

    Args:
        named: the ids of samples that were named. name: of the plans; what they do if None.
        own_factors: `module:package.module:FAMILY` each.
    """
    base, names = base_run.model, algorithms.named(wanted.names)
    families = factors.families(own_factors)
    ids = choose_samples(base, named, wanted.samples, wanted.seed, wanted.only_correct)
    preset = choose_presets(store, base_run, names, wanted.preset, wanted.changes, say)
    chosen = configure(names, preset, wanted.changes)
    say(str(preset))
    others = (wanted.remaining_of(len(base.dataset.train)), preset, families)
    called = name or default_name(chosen, len(ids))
    for repeat in range(wanted.repeats):
        seed = wanted.seed + repeat
        title = f"{called}-seed{seed}" if wanted.repeats > 1 else called
        yield Plan.on(base_run, chosen, ids, seed, title, *others)


def default_name(chosen: Sequence[Algorithm], samples: int) -> str:
    """What a sweep is called that was given no name: what it does to how many."""
    names = "-".join(algorithm.name for algorithm in chosen)
    return f"{names if len(chosen) <= 4 else f'{len(chosen)}-algorithms'}-{samples}-samples"
