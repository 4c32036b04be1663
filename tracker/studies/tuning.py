"""A tuning: looks for settings of algorithms for one base model, and writes each trial as a run.

It is a parent run, and its trials are its child runs: FINISHED when all of it is there. Called
again it tells the sampler of the trials that the store has, and so goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from mlflow.entities import Run

from tracker.base.base_models import BaseRun
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store.driver import close_stale_sweeps, driving
from tracker.store.records import (
    NOTE,
    Kind,
    Record,
    as_tag,
    code_version,
    milliseconds,
    sha256_of,
    this_process,
)
from tracker.store.write import PROCESS, Store
from tracker.studies.tune import Sampler, Space
from tracker.sweep.trials import ENOUGH, SEEN, Trial
from tracker.studies.trials import FIRST, Attempts, Ledger, Trier, as_words
from tracker.studies.tune import SAMPLES
from tracker.sweep.memory import workers_within
from tracker.sweep.settings import configure
from unlearning import algorithms, presets
from unlearning.algorithm import Algorithm
from unlearning.hyperparameters import Setting
from unlearning.errors import UserError
from unlearning.version import VERSION

DEFAULTS = "defaults"  # what is tried beside the presets
USUAL_SAMPLES, USUAL_TRIALS = 20, 25
CHOSEN = "chosen"  # the tag with the keys of the trials that were taken, by algorithm

Progress = Callable[[int, str], None]  # told how many trials were just made, and of which algorithm


@dataclass(frozen=True)
class Task:
    """What is looked for with one algorithm.

    Attributes:
        space: among which values of which settings. fixed: settings that are given.
        shipped: settings that are known, by the name of the preset, or DEFAULTS.
        trials: how many settings are tried, these among them.
    """

    algorithm: type[Algorithm]
    space: Space
    fixed: Mapping[str, Setting]
    shipped: Mapping[str, Algorithm]
    trials: int

    @property
    def name(self) -> str:
        """The algorithm's."""
        return self.algorithm.name

    @property
    def size(self) -> int:
        """How many settings are tried: all that are known at least."""
        return max(self.trials, len(set(self.shipped.values())))

    def made(self, settings: Mapping[str, Setting]) -> Algorithm | None:
        """The algorithm with settings that are searched; None where it refuses them together."""
        try:
            return self.algorithm.from_text({**self.fixed, **settings})
        except UserError:
            return None

    def sampler(self, seed: int) -> Sampler:
        """What asks for settings."""
        types = {each.name: type(each.default) for each in dataclasses.fields(self.algorithm)}
        whole = frozenset(name for name in self.space if types[name] is int)
        return Sampler(self.space, whole, seed)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name,
            "provider": str(algorithms.provider(self.name) or ""),
            "space": {name: list(among) for name, among in self.space.items()},
            "fixed": dict(self.fixed),
            "shipped": {name: each.settings() for name, each in self.shipped.items()},
            "trials": self.trials,
        }


@dataclass(frozen=True)
class Found:
    """What was found for one algorithm.

    Attributes:
        best: the trial of the settings that were found. shipped: those of known settings.
        seconds: that all trials took, whenever they were made.
    """

    task: Task
    best: Trial
    shipped: Mapping[str, Trial]
    trials: int
    seconds: float

    @property
    def best_shipped(self) -> str:
        """The name of the best of the known settings: a preset, or DEFAULTS."""
        return min(self.shipped, key=lambda name: self.shipped[name].rank)

    @property
    def given(self) -> str:
        """What `--set` gives all settings that are tried, in words; empty where that is nothing."""
        return ", ".join(f"{name}={value}" for name, value in self.task.fixed.items())

    @property
    def flips_nothing(self) -> bool:
        """Whether no settings flip any sample."""
        return self.best.flip_rate == 0

    def settings(self) -> dict[str, Setting]:
        """The settings that were found: those that were searched or given, and what no default is.

        Where nothing flips none is better than another, and what was given is all.
        """
        if self.flips_nothing:
            return dict(self.task.fixed)
        said = {*self.task.space, *self.task.fixed}
        defaults = self.task.algorithm().settings()
        settings = self.best.algorithm.settings()
        return {n: value for n, value in settings.items() if n in said or value != defaults[n]}


@dataclass(frozen=True)
class Tuned:
    """A tuning that is finished: its run, and what it found for each algorithm."""

    run: Run
    found: tuple[Found, ...]


def tasks(
    names: Collection[str],
    changes: Sequence[str],
    trials: int = USUAL_TRIALS,
    say: Callable[[str], None] = lambda line: None,
) -> list[Task]:
    """What is looked for with each algorithm; those with nothing to search are said and left out.

    Args:
        changes: settings that are not searched, `algorithm.name=value` each.

    Raises UserError where there is nothing to search at all, and for changes that are refused.
    """
    known: dict[str | None, list[Algorithm]] = {
        preset: configure(names, preset, changes) for preset in (None, *presets.names())
    }
    found = []
    for place, name in enumerate(names):
        given = [change.partition("=")[0].partition(".") for change in changes]
        fixed_names = [setting for algorithm, _, setting in given if algorithm == name]
        shipped = {preset or DEFAULTS: chosen[place] for preset, chosen in known.items()}
        settings = shipped[DEFAULTS].settings()
        fixed = {setting: settings[setting] for setting in fixed_names}
        algorithm = algorithms.get(name)
        if space := _space(algorithm, fixed):
            found.append(Task(algorithm, space, fixed, shipped, trials))
        else:
            say(f"{name} has nothing to search: it is left as it is")
    if not found:
        raise UserError(
            f"{', '.join(names)}: there is nothing to search; 'indelible algorithms --format json' "
            "says what is searched of each"
        )
    return found


def _space(algorithm: type[Algorithm], fixed: Mapping[str, Setting]) -> Space:
    """What is searched of an algorithm, by name."""
    space = {}
    for each in dataclasses.fields(algorithm):
        among = each.metadata["accepts"].searched
        if among is not None and each.name not in fixed:
            space[each.name] = among
    return space


def search(
    task: Task, seed: int, tried: Callable[[Algorithm, bool], Trial], progress: Progress
) -> Found:
    """Look for the best settings: first those that are known, then those that a sampler asks for.

    Settings that were not tried on all samples are, before they are taken for the best.

    Args:
        seed: of the sampler. tried: makes a trial; on all samples, if it is told so.
    """
    sampler, trials = task.sampler(seed), dict[Algorithm, Trial]()
    for algorithm in dict.fromkeys(task.shipped.values()):
        trials[algorithm] = trial = tried(algorithm, True)
        sampler.add(algorithm.settings(), trial.value)
        progress(1, task.name)
    shipped = {name: trials[algorithm] for name, algorithm in task.shipped.items()}
    for _ in range(task.size - len(trials)):
        asked = task.made(sampler.ask())
        if asked is None:
            sampler.tell(None)
        else:
            trials[asked] = trials.get(asked) or tried(asked, False)
            sampler.tell(trials[asked].value)
        progress(1, task.name)
    most = max(trial.samples for trial in trials.values())
    while (best := min(trials.values(), key=lambda trial: trial.rank)).samples < most:
        trials[best.algorithm] = tried(best.algorithm, True)
    seconds = sum(trial.seconds for trial in trials.values())
    return Found(task, best, shipped, len(trials), seconds)


def tune(
    store: Store,
    base_run: BaseRun,
    todo: Sequence[Task],
    sample_ids: Sequence[int],
    seed: int,
    engine: Engine = THREADS,
    progress: Progress = lambda trials, doing: None,
) -> Tuned:
    """Look for settings of algorithms, and write trials as runs. What is there is found.

    Args:
        sample_ids: on which settings are tried, in this order. seed: of unlearning and sampler.

    Raises UserError where memory has no room for one sample, or an algorithm spoils the model.
    """
    close_stale_sweeps(store)
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    ledger, stop = Ledger(store, base_run, experiment_id, seed), Stop()
    record = _record(base_run, todo, sample_ids, seed)
    known = store.find_sweep(experiment_id, record.key, Kind.TUNING)
    was_finished = known is not None and known.info.status == "FINISHED"
    if known is None:
        tuning_id = store.begin_sweep(experiment_id, record, base_run.data, Kind.TUNING)
    else:
        tuning_id = str(known.info.run_id)
    with driving(store, tuning_id, f"tuning {record.name} ({tuning_id})"):
        if not was_finished:
            store.resume_sweep(tuning_id)
        found = []
        try:
            for task in todo:
                most, room = _workers(base_run, task, engine)
                with engine.pool(base_run.model, stop, most) as pool:
                    attempts = Attempts(seed, stop)
                    trier = Trier(ledger, sample_ids, pool, attempts, room / pool.count)

                    def tried(algorithm: Algorithm, whole: bool, trier: Trier = trier) -> Trial:
                        return trier.tried(algorithm, tuning_id, whole)

                    found.append(search(task, seed, tried, progress))
        except BaseException:
            if not was_finished:
                store.interrupt(tuning_id)
            raise
        if not was_finished:
            store.client.set_tag(tuning_id, CHOSEN, as_tag(_chosen(ledger, found, sample_ids)))
            store.close_sweep(tuning_id, _metrics(found), record.tags[NOTE] + _told(found))
    return Tuned(store.run(tuning_id), tuple(found))


def _workers(base_run: BaseRun, task: Task, engine: Engine) -> tuple[int, float]:
    """How many workers have room whatever is chosen, and the room of all."""
    base = base_run.model
    ways = [
        task.made({name: choice})
        for name, among in task.space.items()
        for choice in (among if isinstance(among[0], str) else ())
    ]
    each = [
        workers_within(base, [way], SEEN, engine.room(base))
        for way in (*task.shipped.values(), *ways)
        if way is not None
    ]
    return min(most for most, _ in each), min(room for _, room in each)


def tuning_key(
    base_run: BaseRun, todo: Iterable[Task], sample_ids: Sequence[int], seed: int
) -> str:
    """The same algorithms, settings and samples looked at in the same way are the same tuning."""
    base = (base_run.weights_sha256, base_run.model.dataset.fingerprint, base_run.arch)
    how = (base_run.precision, VERSION, version("optuna"), ENOUGH, FIRST)
    each = [task.as_json() for task in todo]
    return sha256_of("tuning", *base, *how, each, list(sample_ids), seed)[:32]


def _record(
    base_run: BaseRun, todo: Sequence[Task], sample_ids: Sequence[int], seed: int
) -> Record:
    """The run of a tuning as it begins."""
    now, names = milliseconds(), [task.name for task in todo]
    who = {name: str(provider) for name in names if (provider := algorithms.provider(name))}
    said = ", ".join(names)
    return Record(
        name=f"tuning-{'-'.join(names) if len(names) <= 4 else f'{len(names)}-algorithms'}",
        params={
            "dataset": base_run.dataset,
            "arch": base_run.arch,
            "base_run_id": base_run.run_id,
            "algorithms": ",".join(names),
            "samples": len(sample_ids),
            "trials": max(task.trials for task in todo),
            "seed": seed,
            "sampler": f"TPE of optuna {version('optuna')}",
            "engine_version": VERSION,
            "precision": base_run.precision,
        },
        tags={
            "key": tuning_key(base_run, todo, sample_ids, seed),
            "code_version": code_version(),
            "base_weights_sha256": base_run.weights_sha256,
            "data_fingerprint": base_run.model.dataset.fingerprint,
            PROCESS: this_process(),
            NOTE: NOTE_OF_TUNING.format(
                names=said,
                base=base_run.run_id,
                samples=len(sample_ids),
                seed=seed,
                enough=f"{ENOUGH:.0%}",
                first=FIRST,
            ),
            **({"algorithm_providers": json.dumps(who)} if who else {}),
        },
        metrics={},
        artifacts={SAMPLES: "".join(f"{sample}\n" for sample in sample_ids).encode()},
        started_ms=now,
        ended_ms=now,
    )


def _chosen(ledger: Ledger, found: Iterable[Found], sample_ids: Sequence[int]) -> dict[str, str]:
    """The keys of the trials that were taken, by algorithm; not where nothing flips."""
    return {
        each.task.name: ledger.key(each.best.algorithm, sample_ids[: each.best.samples])
        for each in found
        if not each.flips_nothing
    }


def _metrics(found: Iterable[Found]) -> dict[str, float]:
    """What the settings that were found came to, and those that are shipped."""
    return {
        f"{each.task.name}/{name}": value
        for each in found
        for name, value in {
            "flip_rate": each.best.flip_rate,
            "points_lost": each.best.points_lost,
            "prob_lost": each.best.prob_lost,
            "shipped_flip_rate": each.shipped[each.best_shipped].flip_rate,
            "shipped_points_lost": each.shipped[each.best_shipped].points_lost,
            "seconds": each.seconds,
        }.items()
    }


def _told(found: Iterable[Found]) -> str:
    """What was found, for the description of the run."""
    return "\n".join(
        f"- **{each.task.name}**: "
        + (
            "nothing that was tried flips a sample"
            if each.flips_nothing
            else f"`{as_words(each.settings())}` flips {each.best.flip_rate:.0%} and loses "
            f"{each.best.points_lost:.2f} points"
        )
        for each in found
    )


NOTE_OF_TUNING = """\
### Settings of {names}

Looked for with base model `{base}` on {samples} samples that it gets right, with seed {seed}, by \
flips and test accuracy alone. Of the settings that flip {enough} of the samples, the best are \
those that lose the least test accuracy on average; where none do, those that flip the most. Each \
trial is a child run. One that flips under half of the first {first} samples was not tried on the \
others. The best so far was tried on all.

"""
