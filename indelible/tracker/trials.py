"""Which preset each algorithm of a sweep takes its settings from: the data set's, or a trial's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from indelible.tracker.advice import FLIPPED
from indelible.tracker.base_models import BaseRun
from indelible.tracker.choosing import draw_samples, misclassified
from indelible.tracker.members import sha256_of
from indelible.tracker.plan import TRIAL, Choice, configure
from indelible.tracker.records import Kind
from indelible.tracker.store import Store
from indelible.unlearning import presets
from indelible.unlearning.algorithm import Algorithm
from indelible.unlearning.base import BaseModel
from indelible.unlearning.engine import unlearn
from indelible.unlearning.execution import by_device
from indelible.unlearning.version import VERSION

FIRST = "paper"  # of presets that are as good
SAMPLES, SEED = 5, 0  # of a trial, whatever the sweep's own


def choose_presets(
    store: Store,
    base: BaseRun,
    names: Collection[str],
    asked: str | None,
    changes: Sequence[str],
    say: Callable[[str], None] = lambda line: None,
) -> Choice:
    """The preset that is asked for, the one made for the data set, or those that flip the most.

    The last is found in a trial on a few samples, of which nothing is logged but the choice. It
    follows from base model and settings alone, so that a sweep of more samples, or under another
    seed, has the settings of the first: it finds its choice in the store.

    Args:
        names: of the algorithms. changes: to all presets, as `configure` takes them.
    """
    if asked is not None:
        return Choice.of(names, asked, f"asked for, {presets.standing(asked, base.dataset)}")
    for name in presets.made_for(base.dataset):
        return Choice.of(names, name, presets.standing(name, base.dataset))
    why = f"none is made for {base.dataset}"
    candidates = sorted(presets.names(), key=lambda name: name != FIRST)
    tried = {name: configure(names, name, changes) for name in candidates}
    if all(algorithms == tried[FIRST] for algorithms in tried.values()):
        return Choice.of(names, FIRST, f"{why}, and all come to the same settings")
    trial = _key(base, tried)
    experiment_id = store.experiment_id(base.dataset, base.arch)
    for sweep in store.runs(
        [experiment_id], f"tags.kind = '{Kind.SWEEP}' and tags.{TRIAL} = '{trial}'"
    ):
        return Choice.read(sweep.data.params, names, trial)
    samples = _samples(base.model)
    if not samples:
        return Choice.of(names, FIRST, f"{why}, and the base model gets no sample right")
    say(f"trying the presets {', '.join(candidates)} on {len(samples)} samples")
    chosen, flips = {}, []
    for name, *algorithms in zip(names, *tried.values(), strict=True):
        if len(set(algorithms)) == 1:
            chosen[name] = FIRST
            continue
        found = [_flips(base.model, algorithm, samples) for algorithm in algorithms]
        chosen[name] = candidates[found.index(max(found))]
        each = (f"{preset} {count}" for preset, count in zip(candidates, found, strict=True))
        flips.append(f"{name} {', '.join(each)}")
    return Choice(chosen, f"{why}; of {len(samples)} samples flipped: {'; '.join(flips)}", trial)


def _key(base: BaseRun, tried: Mapping[str, Sequence[Algorithm]]) -> str:
    """Of a trial: equal keys mean the same base model and data, and the same settings to try."""
    settings = {
        preset: {algorithm.name: algorithm.settings() for algorithm in algorithms}
        for preset, algorithms in tried.items()
    }
    data = base.model.dataset.fingerprint
    parts = (base.weights_sha256, data, base.arch, base.precision, VERSION)
    return sha256_of(*parts, settings)[:32]


def _samples(base: BaseModel) -> list[int]:
    """Samples for a trial: the same for every sweep of a base model, which gets them right."""
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    return draw_samples(ids, min(SAMPLES, len(ids) - len(wrong)), SEED, wrong)


def _flips(base: BaseModel, algorithm: Algorithm, samples: list[int]) -> int:
    positions = base.dataset.train.positions(samples)
    unlearned = unlearn(base, algorithm, positions, SEED, by_device(base.device))
    return sum(status in FLIPPED for status in unlearned.status)
