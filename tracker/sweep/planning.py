"""From what is asked for to plans: which algorithms, with which settings, on which samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import factors
from tracker.base.base_models import BaseRun
from tracker.commands.make import Members, Repeated, Sweep
from tracker.store.write import Store
from tracker.sweep.choosing import choose_samples, configure
from tracker.sweep.plan import Plan, ending
from tracker.sweep.trials import choose_presets
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError


def plans(
    store: Store,
    base_run: BaseRun,
    asked: Members,
    named: Sequence[int],
    say: Callable[[str], None],
    names: Sequence[str] = (),
) -> Iterator[Plan]:
    """The plan of each repeat. What is found out on the way is said.

    Args:
        named: the ids of samples that were named; none where they are drawn.
        names: of the algorithms, where none is asked for.
    """
    base, names = base_run.model, algorithms.named(asked.algorithms or tuple(names))
    only_correct, repeats, until = False, 1, asked.until
    if isinstance(asked, Repeated):
        only_correct, repeats = asked.only_correct, asked.repeats
    called, own = (asked.name, asked.factors) if isinstance(asked, Sweep) else (None, ())
    families, size = factors.families(own), len(base.dataset.train)
    ids = choose_samples(base, named, asked.samples, asked.seed, only_correct)
    ending(base, ids, until)  # that it is known, before presets are tried
    preset = choose_presets(store, base_run, names, asked.preset, asked.settings, say)
    chosen = configure(names, preset, asked.settings)
    say(str(preset))
    if asked.remaining is not None and asked.remaining > size:
        raise UserError(
            f"--remaining is '{asked.remaining}': it takes all or a number of samples from 1 to "
            f"{size}, which the training split has"
        )
    remaining = None if asked.remaining == size else asked.remaining
    name = called or default_name(chosen, len(ids))
    for seed in range(asked.seed, asked.seed + repeats):
        title = f"{name}-seed{seed}" if repeats > 1 else name
        yield Plan.on(base_run, chosen, ids, seed, title, remaining, preset, families, until)


def default_name(chosen: Sequence[Algorithm], samples: int) -> str:
    """What a sweep is called that was given no name: what it does to how many."""
    names = "-".join(algorithm.name for algorithm in chosen)
    return f"{names if len(chosen) <= 4 else f'{len(chosen)}-algorithms'}-{samples}-samples"
