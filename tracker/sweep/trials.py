"""Trials: settings of an algorithm on a few samples, judged by flips and by what is lost.

A tuning makes them of many settings; of those of the presets, where none is made for data set and
architecture, they are made before a sweep, which takes what flips the most.
No factor, GT or correlation is looked at: settings that were chosen by these would make them true.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from factors.evaluation import Chunk
from tracker.base.base_models import BaseRun
from tracker.base.workers import Stop
from tracker.store.records import Kind, sha256_of
from tracker.store.write import Store
from tracker.sweep.choosing import TRIAL, Choice, configure, draw_samples, misclassified
from tracker.sweep.memory import halved
from tracker.sweep.plan import Plan
from tracker.sweep.summary import points_lost
from unlearning import presets
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.errors import Stopped
from unlearning.execution import by_device
from unlearning.losses import log_prob, wide
from unlearning.outcome import FLIPPED, UNTIL_REFERENCE, Status

FIRST = "paper"  # of presets that are as good
SAMPLES, SEED = 5, 0  # of a trial of presets, whatever the sweep's own
ENOUGH = 0.95  # of the samples: settings that flip as many are compared by what is lost
SEEN = 1  # training samples that a trial evaluates: as few as there can be


class Attempt(NamedTuple):
    """What one sample came to: see Trial; until the reference, a flip is that it is there."""

    flipped: bool
    points_lost: float
    prob_lost: float


@dataclass(frozen=True)
class Trial:
    """What the settings of an algorithm came to.

    Attributes:
        samples: how many they were tried on.
        flip_rate: the share of these that flipped.
        points_lost: of test accuracy, in percentage points, on average; all of them where an
            attempt left the finite numbers. prob_lost: likewise of the mean p of test samples.
    """

    algorithm: Algorithm
    samples: int
    flip_rate: float
    points_lost: float
    prob_lost: float
    seconds: float

    @classmethod
    def of(cls, algorithm: Algorithm, found: Sequence[Attempt], seconds: float) -> Trial:
        """The means over attempts."""
        flip_rate, points, prob = map(fmean, zip(*found, strict=True))
        return cls(algorithm, len(found), flip_rate, points, prob, seconds)

    @property
    def is_enough(self) -> bool:
        """Whether enough flip for settings to be compared by what is lost."""
        return self.flip_rate >= ENOUGH

    @property
    def rank(self) -> tuple[bool, float, float, float]:
        """The order of trials, the best first.

        Those that flip enough, by points and then probability lost; after them the others, by flip
        rate and then by what is lost.
        """
        flips = 0.0 if self.is_enough else -self.flip_rate
        return not self.is_enough, flips, round(self.points_lost, 9), self.prob_lost

    @property
    def value(self) -> float:
        """Nearly the same order as a number, for a sampler: the least is the best."""
        lost = self.points_lost + self.prob_lost / 1000
        return lost if self.is_enough else 1000 * (2 - self.flip_rate) + lost


def attempts(
    base: BaseModel,
    sample_ids: list[int],
    algorithm: Algorithm,
    seed: int,
    stop: Stop,
    references: str | None = None,
) -> list[Attempt]:
    """What each sample comes to. Where memory runs out, of one half after the other.

    Args:
        seed: of unlearning. references: see `tracker.sweep.plan.ending`.

    Raises Stopped between two steps.
    """
    arrived = FLIPPED if references is None else UNTIL_REFERENCE
    base.forget(lambda what: isinstance(what, Algorithm) and what != algorithm)
    labels = base.test_labels
    accuracy = wide(base.test_logits.argmax(dim=1) == labels).mean().item()
    prob = log_prob(base.test_logits, labels).exp().mean().item()

    def come_to(some: list[int]) -> list[Attempt]:
        positions = base.dataset.train.positions(some)
        target = None if references is None else base.targets(positions)
        how = by_device(base.device), stop.is_set, target
        unlearned = unlearn(base, algorithm, positions, seed, *how)
        if stop.is_set():
            raise Stopped
        chunk = Chunk(base, positions.to(base.device), unlearned, base.some(SEEN))
        after = wide(chunk.test_logits.argmax(dim=2) == labels).mean(dim=1).tolist()
        lost = chunk.test_prob_diff.tolist()
        return [
            Attempt(status in arrived, points_lost(accuracy, own), diff)
            if status is not Status.NON_FINITE and math.isfinite(diff)
            else Attempt(False, points_lost(accuracy, 0), prob)
            for status, own, diff in zip(unlearned.status, after, lost, strict=True)
        ]

    return halved(come_to, list(sample_ids), algorithm.name)


def choose_presets(
    store: Store,
    base_run: BaseRun,
    names: Collection[str],
    asked: str | None,
    changes: Sequence[str],
    say: Callable[[str], None] = lambda line: None,
) -> Choice:
    """The preset asked for, the one made for data set and architecture, or what flips the most.

    The last is found in a trial on a few samples, of which nothing is logged but the choice. It
    follows from base model and settings alone, so that a sweep of more samples, or under another
    seed, has the settings of the first: it finds its choice in the store.

    Args:
        names: of the algorithms. asked: a preset, or the path of a file that is one.
        changes: to all presets, as `configure` takes them.
    """
    made_of, base = (base_run.dataset, base_run.arch), base_run.model
    if asked is not None and presets.is_file(asked):
        known, sha256 = presets.load(asked, names), hashlib.sha256(Path(asked).read_bytes())
        said = f"asked for, with SHA-256 {sha256.hexdigest()[:16]}"
        if missing := [name for name in names if name not in known]:
            said += f"; it says nothing of {', '.join(missing)}: defaults"
        return Choice.of(names, asked, said)
    if asked is not None:
        return Choice.of(names, asked, f"asked for, {presets.standing(asked, *made_of)}")
    for name in filter(presets.load, presets.made_for(*made_of)):
        return Choice.of(names, name, presets.standing(name, *made_of))
    why = "none is made for {} with {}".format(*made_of)
    candidates = sorted(presets.names(), key=lambda name: name != FIRST)
    tried = {name: configure(names, name, changes) for name in candidates}
    if all(alike == tried[FIRST] for alike in tried.values()):
        return Choice.of(names, FIRST, f"{why}, and all come to the same settings")
    ways = [way for each in tried.values() for way in each]
    trial = sha256_of([Plan.on(base_run, [way], (), SEED, "").digest(way) for way in ways])[:32]
    experiment_id = store.experiment_id(*made_of)
    same = f"tags.kind = '{Kind.SWEEP}' and tags.{TRIAL} = '{trial}'"
    for sweep in store.runs([experiment_id], same):
        return Choice.read(sweep.params, names, trial)
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    samples = draw_samples(ids, min(SAMPLES, len(ids) - len(wrong)), SEED, wrong)
    if not samples:
        return Choice.of(names, FIRST, f"{why}, and the base model gets no sample right")
    say(f"trying the presets {', '.join(candidates)} on {len(samples)} samples")
    chosen, flips = {}, []
    for name, *ways in zip(names, *tried.values(), strict=True):
        if len(set(ways)) == 1:
            chosen[name] = FIRST
            continue
        found = [attempts(base, samples, way, SEED, Stop()) for way in ways]
        flipped = [sum(attempt.flipped for attempt in each) for each in found]
        chosen[name] = candidates[flipped.index(max(flipped))]
        counts = (f"{preset} {count}" for preset, count in zip(candidates, flipped, strict=True))
        flips.append(f"{name} {', '.join(counts)}")
    return Choice(chosen, f"{why}; of {len(samples)} samples flipped: {'; '.join(flips)}", trial)
