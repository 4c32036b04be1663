"""The trials of a base model in a store: each a child run of the tuning that made it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

from tracker.base.base_models import BaseRun
from tracker.base.workers import Pool, Stop
from tracker.commands.kinds import LONGEST_NAME
from tracker.store.records import (
    NOTE,
    Kind,
    Record,
    code_version,
    in_blocks,
    milliseconds,
    sha256_of,
)
from tracker.store.write import Store
from tracker.sweep.memory import chunk_size
from tracker.sweep.trials import SEEN, Attempt, Trial, attempts
from unlearning import algorithms, architectures
from unlearning.algorithm import Algorithm
from unlearning.execution import by_device
from unlearning.hyperparameters import Setting
from unlearning.version import VERSION

FIRST = 5  # samples that settings are tried on before the others
HOPELESS = 0.5  # of these: settings that flip fewer are not tried on the others
MEASURED = ("flip_rate", "points_lost", "prob_lost", "seconds")  # the metrics of a trial


@dataclass
class Trials:
    """The trials of a base model in a store, under one seed of unlearning.

    A trial is known by base model, settings and samples: another tuning may have made it.

    Attributes:
        tuning_id: of the tuning whose children new trials become.
        sample_ids: in the order in which they are tried.
    """

    store: Store
    base_run: BaseRun
    experiment_id: str
    tuning_id: str
    sample_ids: Sequence[int]
    seed: int
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        base, arch = self.base_run, architectures.provider(self.base_run.arch)
        data = base.model.dataset.fingerprint
        parts = (base.weights_sha256, data, base.arch, base.precision, str(arch or ""))
        self.digest = sha256_of("trial", *parts, self.seed, VERSION)[:16]
        made = self.store.finished_runs(Kind.TRIAL, f"tags.key LIKE '{self.digest}%'")
        self.known = {run.data.tags["key"]: run.data.metrics for run in made}

    def key(self, algorithm: Algorithm, sample_ids: Sequence[int]) -> str:
        """Equal keys mean that the same was done to the same samples."""
        provider = algorithms.provider(algorithm.name)
        own = (algorithm.name, algorithm.settings(), str(provider or ""), sorted(sample_ids))
        return self.digest + sha256_of(*own)[:32]

    def _find(self, algorithm: Algorithm, sample_ids: Sequence[int]) -> Trial | None:
        """The trial of these settings on exactly these samples, if it was made."""
        metrics = self.known.get(self.key(algorithm, sample_ids))
        if metrics is None:
            return None
        return Trial(algorithm, len(sample_ids), *(metrics[name] for name in MEASURED))

    def tried(self, pool: Pool, room: float, algorithm: Algorithm, whole: bool) -> Trial:
        """The trial of these settings, made now or before.

        Args:
            room: bytes that the chunk of one worker may take.
            whole: on all samples, also where few of the first flip.
        """
        first, rest = self.sample_ids[:FIRST], self.sample_ids[FIRST:]
        stopped = None if whole else self._find(algorithm, first)
        if stopped is not None and stopped.flip_rate < HOPELESS:
            return stopped  # though it may be there on all: a sampler is told the same each time
        if known := self._find(algorithm, self.sample_ids):
            return known
        started, found = time.perf_counter(), self._attempts(pool, room, algorithm, first)
        if rest and (whole or fmean(attempt.flipped for attempt in found) >= HOPELESS):
            found += self._attempts(pool, room, algorithm, rest)
        trial = Trial.of(algorithm, found, time.perf_counter() - started)
        self._write(trial)
        return trial

    def _attempts(
        self, pool: Pool, room: float, algorithm: Algorithm, sample_ids: Sequence[int]
    ) -> list[Attempt]:
        """What samples came to, shared out to all workers."""
        base = self.base_run.model
        most = chunk_size(base, algorithm, by_device(base.device), SEEN, room)
        blocks = in_blocks(sample_ids, min(most, math.ceil(len(sample_ids) / pool.count)))
        compute = partial(attempts, algorithm=algorithm, seed=self.seed, stop=self.stop)
        return [attempt for _, found in pool.map(compute, blocks) for attempt in found]

    def _write(self, trial: Trial) -> None:
        """Write a trial as a child run of the tuning."""
        name, settings = trial.algorithm.name, trial.algorithm.settings()
        defaults, now = type(trial.algorithm)().settings(), milliseconds()
        own = {setting: value for setting, value in settings.items() if value != defaults[setting]}
        key = self.key(trial.algorithm, self.sample_ids[: trial.samples])
        self.known[key] = {metric: getattr(trial, metric) for metric in MEASURED}
        record = Record(
            name=f"{name} {as_words(own)}".strip()[:LONGEST_NAME],
            params={
                "algorithm": name,
                "samples": trial.samples,
                "seed": self.seed,
                "engine_version": VERSION,
                "precision": self.base_run.precision,
                **settings,
            },
            tags={
                "key": key,
                "code_version": code_version(),
                NOTE: TRIAL_NOTE.format(name=name, samples=trial.samples),
            },
            metrics=self.known[key],
            started_ms=now - round(1000 * trial.seconds),
            ended_ms=now,
        )
        data = self.base_run.data
        self.store.log_once(Kind.TRIAL, self.experiment_id, record, data, parent=self.tuning_id)


def as_words(settings: Mapping[str, Setting]) -> str:
    """Settings in a line."""
    said = (f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}" for n, v in settings.items())
    return " ".join(said)


TRIAL_NOTE = """\
Settings of **{name}**, tried on {samples} samples by `indelible tune`. They are judged by \
`flip_rate` (the share of these samples that flip) and by what is lost on average: `points_lost` \
(percentage points of test accuracy) and `prob_lost` (mean test probability), and by nothing else.
"""
