"""A tuning: looks for settings of algorithms for one base model, and writes each trial as a run.

It is a parent run, and its trials are its child runs. Called again it finds the trials that the
store has: the sampler, which has the same seed, asks for the same settings, and goes on where it
stopped. What was found becomes rows, and the file of a preset.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

import jinja2

from tracker.base.base_models import BaseRun
from tracker.base.workers import THREADS, Engine, Pool, Stop
from tracker.commands.kinds import LONGEST_NAME
from tracker.store.driver import close_stale_sweeps
from tracker.store.records import (
    NOTE,
    Kind,
    Record,
    Run,
    as_tag,
    code_version,
    in_blocks,
    milliseconds,
    sha256_of,
    this_process,
)
from tracker.store.write import PROCESS, Store
from tracker.studies import SAMPLES
from tracker.studies.search import Found, Progress, Task, as_words, search
from tracker.studies.study import at_work, begun
from tracker.sweep.memory import chunk_size, workers_within
from tracker.sweep.plan import FLIP, REFERENCE, ending
from tracker.sweep.trials import ENOUGH, SEEN, Attempt, Trial, attempts
from unlearning import algorithms, architectures
from unlearning.algorithm import Algorithm
from unlearning.execution import by_device
from unlearning.version import VERSION

USUAL_SAMPLES = 20
FIRST = 5  # samples that settings are tried on before the others
HOPELESS = 0.5  # of these: settings that flip fewer are not tried on the others
MEASURED = ("flip_rate", "points_lost", "prob_lost", "seconds")  # the metrics of a trial
CHOSEN = "chosen"  # the tag with the keys of the trials that were taken, by algorithm
LOGGED = (*MEASURED, "shipped_flip_rate", "shipped_points_lost")  # of a tuning, by algorithm
BEGINS = "# Found by 'indelible tune'"  # a file that may be written anew
PRESET = Path(__file__).parent / "preset.toml.j2"


@dataclass(frozen=True)
class Tuned:
    """A tuning that is finished: its run, and what it found for each algorithm."""

    run: Run
    found: tuple[Found, ...]


@dataclass
class Trials:
    """The trials of a base model in a store, under one seed of unlearning.

    A trial is known by base model, settings and samples: another tuning may have made it.

    Attributes:
        tuning_id: of the tuning whose children new trials become.
        sample_ids: in the order in which they are tried. references: see `ending`.
    """

    store: Store
    base_run: BaseRun
    experiment_id: str
    tuning_id: str
    sample_ids: Sequence[int]
    seed: int
    references: str | None = None
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        base, arch = self.base_run, architectures.provider(self.base_run.arch)
        data = base.model.dataset.fingerprint
        parts = (base.weights_sha256, data, base.arch, base.precision, str(arch or ""))
        end = _ends(self.references).values()
        self.digest = sha256_of("trial", *parts, self.seed, VERSION, *end)[:16]
        made = self.store.finished_runs(Kind.TRIAL, f"tags.key LIKE '{self.digest}%'")
        self.known = {run.tags["key"]: run.metrics for run in made}

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
        base, found, started = self.base_run.model, list[Attempt](), time.perf_counter()
        most = chunk_size(base, algorithm, by_device(base.device), SEEN, room)
        how, seed, stop = self.references, self.seed, self.stop
        compute = partial(attempts, algorithm=algorithm, seed=seed, stop=stop, references=how)
        for some in (first, rest):
            if found and not whole and fmean(attempt.flipped for attempt in found) < HOPELESS:
                break
            blocks = in_blocks(some, min(most, math.ceil(len(some) / pool.count) or 1))
            found += [attempt for _, each in pool.map(compute, blocks) for attempt in each]
        trial = Trial.of(algorithm, found, time.perf_counter() - started)
        self._write(trial)
        return trial

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
                **_ends(self.references),
                **settings,
            },
            tags={"key": key, "code_version": code_version(), NOTE: TRIAL_NOTE.format(name)},
            metrics=self.known[key],
            started_ms=now - round(1000 * trial.seconds),
            ended_ms=now,
        )
        data = self.base_run.data
        self.store.log_once(Kind.TRIAL, self.experiment_id, record, data, parent=self.tuning_id)


def tune(
    store: Store,
    base_run: BaseRun,
    todo: Sequence[Task],
    sample_ids: Sequence[int],
    seed: int,
    engine: Engine = THREADS,
    progress: Progress = lambda trials, doing: None,
    until: str = FLIP,
) -> Tuned:
    """Look for settings of algorithms, and write trials as runs. What is there is found.

    Args:
        sample_ids: on which settings are tried, in this order. seed: of unlearning and sampler.
        until: what ends attempts: FLIP or REFERENCE.

    Raises UserError where memory has no room for one sample, where an algorithm spoils the model,
    or too few reference models tell of a sample.
    """
    references = ending(base_run.model, sample_ids, until)
    close_stale_sweeps(store)
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    record = _record(base_run, todo, sample_ids, seed, references)
    tuning_id = store.begin_sweep(experiment_id, record, base_run.data, Kind.TUNING)
    is_done = store.run(tuning_id).status == "FINISHED"
    trials = Trials(store, base_run, experiment_id, tuning_id, sample_ids, seed, references)
    with nullcontext() if is_done else at_work(store, tuning_id, f"tuning {record.name}"):
        found = [_searched(task, trials, engine, progress) for task in todo]
        if not is_done:
            chosen = {
                each.task.name: trials.key(each.best.algorithm, sample_ids[: each.best.samples])
                for each in found
                if not each.flips_nothing
            }
            rows = [each.row() for each in found]
            metrics = {f"{row['algorithm']}/{name}": row[name] for row in rows for name in LOGGED}
            store.client.set_tag(tuning_id, CHOSEN, as_tag(chosen))
            store.close_sweep(tuning_id, metrics, record.tags[NOTE] + "\n".join(map(str, found)))
    return Tuned(store.run(tuning_id), tuple(found))


def _searched(task: Task, trials: Trials, engine: Engine, progress: Progress) -> Found:
    """Search with as many workers as there is room for."""
    base = trials.base_run.model
    most, room = workers_within(base, [*task.shipped.values()], SEEN, engine.room(base))
    with engine.pool(base, trials.stop, most) as pool:
        tried = partial(trials.tried, pool, room / pool.count)
        return search(task, trials.seed, tried, progress)


def _ends(references: str | None) -> dict[str, str]:
    """What ends attempts, as params and parts of keys; nothing where it is the flip."""
    return {"until": REFERENCE, "references": references} if references else {}


def _record(
    base_run: BaseRun,
    todo: Sequence[Task],
    sample_ids: Sequence[int],
    seed: int,
    references: str | None,
) -> Record:
    """The run of a tuning as it begins.

    The same algorithms, settings and samples looked at in the same way are the same tuning.
    """
    base = (base_run.weights_sha256, base_run.model.dataset.fingerprint, base_run.arch)
    how = (base_run.precision, VERSION, version("optuna"), ENOUGH, FIRST)
    names, end = [task.name for task in todo], _ends(references).values()
    who = {name: str(of) for name in names if (of := algorithms.provider(name))}
    each = [
        {
            "name": task.name,
            "provider": who.get(task.name, ""),
            "space": {name: list(among) for name, among in task.space.items()},
            "fixed": dict(task.fixed),
            "shipped": {name: shipped.settings() for name, shipped in task.shipped.items()},
            "trials": task.trials,
        }
        for task in todo
    ]
    note = NOTE_OF_TUNING.format(
        names=", ".join(names), base=base_run.run_id, samples=len(sample_ids), seed=seed
    )
    return begun(
        base_run,
        f"tuning-{'-'.join(names) if len(names) <= 4 else f'{len(names)}-algorithms'}",
        params={
            "algorithms": ",".join(names),
            "samples": len(sample_ids),
            "trials": max(task.trials for task in todo),
            "seed": seed,
            "sampler": f"TPE of optuna {version('optuna')}",
            **_ends(references),
        },
        tags={
            "key": sha256_of("tuning", *base, *how, each, list(sample_ids), seed, *end)[:32],
            PROCESS: this_process(),
            NOTE: note,
            **({"algorithm_providers": json.dumps(who)} if who else {}),
        },
        artifacts={SAMPLES: "".join(f"{sample}\n" for sample in sample_ids).encode()},
    )


def as_toml(tuned: Tuned, base_run: BaseRun) -> bytes:
    """The file of a preset that `sweep --preset` takes; the same for the same tuning."""
    template = jinja2.Template(PRESET.read_text("utf-8"), trim_blocks=True, lstrip_blocks=True)
    said: str = template.render(
        begins=BEGINS,
        run=tuned.run,
        day=datetime.fromtimestamp(tuned.run.started_ms / 1000, UTC).date(),
        base=base_run,
        enough=f"{ENOUGH:.0%}",
        every=tuned.found,
    )
    return said.encode()


NOTE_OF_TUNING = f"""\
### Settings of {{names}}

Looked for with base model `{{base}}` on {{samples}} samples that it gets right, with seed \
{{seed}}, by flips and test accuracy alone. Of the settings that flip {ENOUGH:.0%} of the samples, \
the best are those that lose the least test accuracy on average; where none do, those that flip \
the most. Each trial is a child run. One that flips under half of the first {FIRST} samples was \
not tried on the others. The best so far was tried on all.

"""

TRIAL_NOTE = """\
Settings of **{}**, tried on a few samples by `indelible tune`. They are judged by `flip_rate` \
(the share of these samples that flip) and by what is lost on average: `points_lost` (percentage \
points of test accuracy) and `prob_lost` (mean test probability), and by nothing else.
"""
