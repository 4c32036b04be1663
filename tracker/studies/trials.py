"""Trials: settings of an algorithm on a few samples, judged by flips and by what is lost.

No factor is looked at, no GT and no correlation: settings that were chosen by these would make them
true.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from factors.evaluation import Chunk
from tracker.base.base_models import BaseRun
from tracker.base.workers import Pool, Stop
from tracker.store.blocks import in_blocks
from tracker.store.records import NOTE, Kind, Record, code_version, milliseconds, sha256_of
from tracker.store.write import Store
from unlearning.outcome import FLIPPED
from tracker.sweep.memory import chunk_size, halved
from tracker.sweep.planning import LONGEST_NAME
from tracker.sweep.summary import points_lost
from unlearning import algorithms, architectures
from unlearning.algorithm import Algorithm
from unlearning.hyperparameters import Setting
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.errors import Stopped
from unlearning.execution import by_device
from unlearning.losses import log_prob, wide
from unlearning.outcome import Status
from unlearning.version import VERSION

ENOUGH = 0.95  # of the samples: settings that flip as many are compared by what is lost
FIRST = 5  # samples that settings are tried on before the others
HOPELESS = 0.5  # of these: settings that flip fewer are not tried on the others
SEEN = 1  # training samples that a trial evaluates: as few as there can be
SAMPLES = "samples.txt"  # the artifact of a tuning with the ids, in the order of being tried
MEASURED = ("flip_rate", "points_lost", "prob_lost", "seconds")  # the metrics of a trial


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

    @property
    def is_enough(self) -> bool:
        """Whether enough flip for settings to be compared by what is lost."""
        return self.flip_rate >= ENOUGH

    @property
    def is_hopeless(self) -> bool:
        """Whether so few flip that more samples are not worth the time."""
        return self.flip_rate < HOPELESS

    @property
    def rank(self) -> tuple[bool, float, float, float]:
        """What orders trials, the best first.

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


class Attempt(NamedTuple):
    """What one sample came to: see Trial."""

    flipped: bool
    points_lost: float
    prob_lost: float


Work = tuple[int, Algorithm, list[int]]  # a number, an algorithm, and sample ids


@dataclass(frozen=True)
class Attempts:
    """Unlearns samples with a base model that is given.

    Attributes:
        seed: of unlearning.
    """

    seed: int
    stop: Stop

    def __call__(self, base: BaseModel, work: Work) -> list[Attempt]:
        """What each sample came to. Where memory runs out, of one half after the other.

        Raises Stopped between two steps.
        """
        _, algorithm, sample_ids = work
        base.forget(lambda what: isinstance(what, Algorithm) and what != algorithm)
        return halved(lambda some: self._of(base, algorithm, some), sample_ids, algorithm.name)

    def _of(self, base: BaseModel, algorithm: Algorithm, sample_ids: list[int]) -> list[Attempt]:
        positions = base.dataset.train.positions(sample_ids)
        how, stop = by_device(base.device), self.stop.is_set
        unlearned = unlearn(base, algorithm, positions, self.seed, how, stop)
        if stop():
            raise Stopped
        chunk = Chunk(base, positions.to(base.device), unlearned, base.some(SEEN))
        right = chunk.test_logits.argmax(dim=2) == base.test_labels
        accuracies = wide(right).mean(dim=1).tolist()
        probs, (accuracy, prob) = chunk.test_prob_diff.tolist(), _before(base)
        return [
            Attempt(status in FLIPPED, points_lost(accuracy, after), lost)
            if status is not Status.NON_FINITE and math.isfinite(lost)
            else Attempt(False, points_lost(accuracy, 0), prob)
            for status, after, lost in zip(unlearned.status, accuracies, probs, strict=True)
        ]


def _before(base: BaseModel) -> tuple[float, float]:
    """Test accuracy and mean p of the base model."""
    logits, labels = base.test_logits, base.test_labels
    right, prob = logits.argmax(dim=1) == labels, log_prob(logits, labels).exp()
    return wide(right).mean().item(), prob.mean().item()


@dataclass
class Ledger:
    """The trials of a base model in a store, under one seed of unlearning.

    A trial is known by base model, settings and samples: another tuning may have made it.
    """

    store: Store
    base_run: BaseRun
    experiment_id: str
    seed: int
    known: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base = self.base_run
        data, arch = base.model.dataset.fingerprint, architectures.provider(base.arch)
        parts = (base.weights_sha256, data, base.arch, base.precision, str(arch or ""))
        self.digest = sha256_of("trial", *parts, self.seed, VERSION)[:16]
        for run in self.store.finished_runs(Kind.TRIAL, f"tags.key LIKE '{self.digest}%'"):
            if all(name in run.data.metrics for name in MEASURED):
                self.known[run.data.tags["key"]] = run.data.metrics

    def key(self, algorithm: Algorithm, sample_ids: Sequence[int]) -> str:
        """Equal keys mean that the same was done to the same samples."""
        provider = algorithms.provider(algorithm.name)
        own = (algorithm.name, algorithm.settings(), str(provider or ""), sorted(sample_ids))
        return self.digest + sha256_of(*own)[:32]

    def find(self, algorithm: Algorithm, sample_ids: Sequence[int]) -> Trial | None:
        """The trial of these settings on exactly these samples, if it was made."""
        metrics = self.known.get(self.key(algorithm, sample_ids))
        if metrics is None:
            return None
        return Trial(algorithm, len(sample_ids), *(metrics[name] for name in MEASURED))

    def write(self, trial: Trial, sample_ids: Sequence[int], tuning_id: str) -> None:
        """Write a trial as a child run of a tuning."""
        key, name, now = self.key(trial.algorithm, sample_ids), trial.algorithm.name, milliseconds()
        metrics = {name: getattr(trial, name) for name in MEASURED}
        settings, defaults = trial.algorithm.settings(), type(trial.algorithm)().settings()
        own = {name: value for name, value in settings.items() if value != defaults[name]}
        record = Record(
            name=f"{name} {as_words(own)}".strip()[:LONGEST_NAME],
            params={
                "algorithm": name,
                "samples": len(sample_ids),
                "seed": self.seed,
                "engine_version": VERSION,
                "precision": self.base_run.precision,
                **settings,
            },
            tags={
                "key": key,
                "code_version": code_version(),
                NOTE: TRIAL_NOTE.format(name=name, samples=len(sample_ids)),
            },
            metrics=metrics,
            started_ms=now - round(1000 * trial.seconds),
            ended_ms=now,
        )
        self.store.log_once(
            Kind.TRIAL, self.experiment_id, record, self.base_run.data, parent=tuning_id
        )
        self.known[key] = metrics


@dataclass(frozen=True)
class Trier:
    """Tries settings, unless the store has the trial.

    Attributes:
        sample_ids: in the order in which they are tried.
        room: bytes that the chunk of one worker may take.
    """

    ledger: Ledger
    sample_ids: Sequence[int]
    pool: Pool
    attempts: Attempts
    room: float

    def tried(self, algorithm: Algorithm, tuning_id: str, whole: bool = False) -> Trial:
        """The trial of these settings, made now or before.

        Args:
            tuning_id: of the tuning that it becomes a child of.
            whole: on all samples, also where few of the first flip.
        """
        first, rest = self.sample_ids[:FIRST], self.sample_ids[FIRST:]
        stopped = None if whole else self.ledger.find(algorithm, first)
        if stopped is not None and stopped.is_hopeless:
            return stopped  # though it may be there on all: a sampler is told the same each time
        if known := self.ledger.find(algorithm, self.sample_ids):
            return known
        started, found = time.perf_counter(), [*self._attempts(algorithm, first)]
        flips = fmean(attempt.flipped for attempt in found)
        if rest and (whole or flips >= HOPELESS):
            found += self._attempts(algorithm, rest)
        trial = Trial(
            algorithm,
            len(found),
            fmean(attempt.flipped for attempt in found),
            fmean(attempt.points_lost for attempt in found),
            fmean(attempt.prob_lost for attempt in found),
            time.perf_counter() - started,
        )
        self.ledger.write(trial, self.sample_ids[: len(found)], tuning_id)
        return trial

    def _attempts(self, algorithm: Algorithm, sample_ids: Sequence[int]) -> Iterator[Attempt]:
        """What samples came to, shared out to all workers."""
        base = self.ledger.base_run.model
        most = chunk_size(base, algorithm, by_device(base.device), SEEN, self.room)
        size = min(most, math.ceil(len(sample_ids) / self.pool.count))
        blocks = enumerate(in_blocks(sample_ids, size))
        work = [(number, algorithm, [*block]) for number, block in blocks]
        for _, found in self.pool.map(self.attempts, work):
            yield from found


def as_words(settings: Mapping[str, Setting]) -> str:
    """Settings in a line."""
    said = (f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}" for n, v in settings.items())
    return " ".join(said)


TRIAL_NOTE = """\
Settings of **{name}**, tried on {samples} samples by `indelible tune`. They are judged by \
`flip_rate` (the share of these samples that flip) and by what is lost on average: `points_lost` \
(percentage points of test accuracy) and `prob_lost` (mean test probability), and by nothing else.
"""
