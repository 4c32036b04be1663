"""A tuning: looks for settings of algorithms for one base model, and writes each trial as a run.

It is a parent run, and its trials are its child runs. Called again it finds the trials that the
store has: the sampler, which has the same seed, asks for the same settings, and goes on where it
stopped. What was found becomes rows, and the file of a preset.
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import optuna
from mlflow.entities import Run
from optuna import distributions
from optuna.trial import TrialState, create_trial

from tracker.base.base_models import BaseRun
from tracker.base.workers import THREADS, Engine
from tracker.store.driver import close_stale_sweeps
from tracker.store.records import NOTE, Kind, Record, as_tag, sha256_of, this_process
from tracker.store.write import PROCESS, Store
from tracker.studies.study import at_work, begun
from tracker.studies.tune import FIRST, MEASURED, Trials
from tracker.studies.search import as_words
from tracker.sweep.choosing import configure
from tracker.sweep.memory import workers_within
from tracker.sweep.trials import ENOUGH, SEEN, Trial
from unlearning import algorithms, presets
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.hyperparameters import Between, Setting
from unlearning.version import VERSION

DEFAULTS = "defaults"  # what is tried beside the presets
USUAL_SAMPLES, USUAL_TRIALS = 20, 25
DIGITS = 3  # of a number that is tried
SEEDS = 2**32  # of the sampler's generator
SAMPLES = "samples.txt"  # the artifact of a tuning with the ids, in the order of being tried
CHOSEN = "chosen"  # the tag with the keys of the trials that were taken, by algorithm
LOGGED = (*MEASURED, "shipped_flip_rate", "shipped_points_lost")  # of a tuning, by algorithm
BEGINS = "# Found by 'indelible tune'"  # a file that may be written anew
BARE = re.compile("[A-Za-z0-9_-]+")  # what TOML takes for a key without quotes
PRESET = Path(__file__).parent / "preset.toml.j2"

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
    space: Mapping[str, Between | tuple[str, ...]]
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

    def made(self, searched: Mapping[str, Setting]) -> Algorithm | None:
        """The algorithm with settings that are searched; None where it refuses them together.

        Fractions are rounded, as a user would write them.
        """
        settings = dict(searched)
        for name, value in searched.items():
            if isinstance(value, float) and isinstance(among := self.space[name], Between):
                rounded = float(f"{value:.{DIGITS}g}")
                settings[name] = min(max(rounded, among.low), among.high)
        try:
            return self.algorithm.from_text({**self.fixed, **settings})
        except UserError:
            return None

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
    known = {
        preset or DEFAULTS: configure(names, preset, changes) for preset in (None, *presets.names())
    }
    given = [change.partition("=")[0].partition(".")[::2] for change in changes]
    found = []
    for place, name in enumerate(names):
        shipped = {preset: chosen[place] for preset, chosen in known.items()}
        settings, algorithm = shipped[DEFAULTS].settings(), algorithms.get(name)
        fixed = {setting: settings[setting] for of, setting in given if of == name}
        searched = {f.name: f.metadata["accepts"].searched for f in dataclasses.fields(algorithm)}
        space = {n: among for n, among in searched.items() if among and n not in fixed}
        if space:
            found.append(Task(algorithm, space, fixed, shipped, trials))
        else:
            say(f"{name} has nothing to search: it is left as it is")
    if not found:
        raise UserError(
            f"{', '.join(names)}: there is nothing to search; 'indelible algorithms --format json' "
            "says what is searched of each"
        )
    return found


def search(
    task: Task, seed: int, tried: Callable[[Algorithm, bool], Trial], progress: Progress
) -> Found:
    """Look for the best settings: first those that are known, then those that a sampler asks for.

    The sampler is Optuna's tree-structured Parzen estimator. Settings that were not tried on all
    samples are, before they are taken for the best.

    Args:
        seed: of the sampler. tried: makes a trial; on all samples, if it is told so.
    """
    space = {name: _distribution(task, name) for name in task.space}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that considering settings together is experimental
        sampler = optuna.samplers.TPESampler(seed=seed % SEEDS, multivariate=True)
        study = optuna.create_study(sampler=sampler)
    trials: dict[Algorithm, Trial] = {}
    for algorithm in dict.fromkeys(task.shipped.values()):
        trials[algorithm] = trial = tried(algorithm, True)
        own = {name: value for name, value in algorithm.settings().items() if name in space}
        with suppress(ValueError):  # one of them is outside of what is searched
            study.add_trial(create_trial(params=own, distributions=space, value=trial.value))
        progress(1, task.name)
    shipped = {name: trials[algorithm] for name, algorithm in task.shipped.items()}
    for _ in range(task.size - len(trials)):
        asked = study.ask(space)
        made = task.made(asked.params)
        if made is None:
            study.tell(asked, state=TrialState.FAIL)
        else:
            trials[made] = trials.get(made) or tried(made, False)
            study.tell(asked, trials[made].value)
        progress(1, task.name)
    most = max(trial.samples for trial in trials.values())
    while (best := min(trials.values(), key=lambda trial: trial.rank)).samples < most:
        trials[best.algorithm] = tried(best.algorithm, True)
    seconds = sum(trial.seconds for trial in trials.values())
    return Found(task, best, shipped, len(trials), seconds)


def _distribution(task: Task, name: str) -> distributions.BaseDistribution:
    among = task.space[name]
    if not isinstance(among, Between):
        return distributions.CategoricalDistribution(among)
    if isinstance(task.algorithm().settings()[name], int):
        return distributions.IntDistribution(int(among.low), int(among.high), log=among.log)
    return distributions.FloatDistribution(among.low, among.high, log=among.log)


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
    record = _record(base_run, todo, sample_ids, seed)
    tuning_id = store.begin_sweep(experiment_id, record, base_run.data, Kind.TUNING)
    is_done = store.run(tuning_id).info.status == "FINISHED"
    trials = Trials(store, base_run, experiment_id, tuning_id, sample_ids, seed)
    with nullcontext() if is_done else at_work(store, tuning_id, f"tuning {record.name}"):
        found = [_searched(task, trials, engine, progress) for task in todo]
        if not is_done:
            chosen = {
                each.task.name: trials.key(each.best.algorithm, sample_ids[: each.best.samples])
                for each in found
                if not each.flips_nothing
            }
            metrics = {f"{row['algorithm']}/{n}": row[n] for row in rows(found) for n in LOGGED}
            store.client.set_tag(tuning_id, CHOSEN, as_tag(chosen))
            store.close_sweep(tuning_id, metrics, record.tags[NOTE] + "\n".join(map(_told, found)))
    return Tuned(store.run(tuning_id), tuple(found))


def _searched(task: Task, trials: Trials, engine: Engine, progress: Progress) -> Found:
    """Search with as many workers as there is room for, whatever is chosen."""
    base = trials.base_run.model
    choices = [(name, c) for name, among in task.space.items() for c in among if isinstance(c, str)]
    made = [task.made({name: choice}) for name, choice in choices]
    ways = [*task.shipped.values(), *filter(None, made)]
    most, room = workers_within(base, ways, SEEN, engine.room(base))
    with engine.pool(base, trials.stop, most) as pool:
        tried = partial(trials.tried, pool, room / pool.count)
        return search(task, trials.seed, tried, progress)


def _record(
    base_run: BaseRun, todo: Sequence[Task], sample_ids: Sequence[int], seed: int
) -> Record:
    """The run of a tuning as it begins.

    The same algorithms, settings and samples looked at in the same way are the same tuning.
    """
    base = (base_run.weights_sha256, base_run.model.dataset.fingerprint, base_run.arch)
    how = (base_run.precision, VERSION, version("optuna"), ENOUGH, FIRST)
    each, names = [task.as_json() for task in todo], [task.name for task in todo]
    who = {task["name"]: task["provider"] for task in each if task["provider"]}
    note = NOTE_OF_TUNING.format(
        names=", ".join(names),
        base=base_run.run_id,
        samples=len(sample_ids),
        seed=seed,
        enough=f"{ENOUGH:.0%}",
        first=FIRST,
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
        },
        tags={
            "key": sha256_of("tuning", *base, *how, each, list(sample_ids), seed)[:32],
            PROCESS: this_process(),
            NOTE: note,
            **({"algorithm_providers": json.dumps(who)} if who else {}),
        },
        artifacts={SAMPLES: "".join(f"{sample}\n" for sample in sample_ids).encode()},
    )


# What was found, in words


def rows(every: Iterable[Found]) -> list[dict[str, Any]]:
    """A row for each algorithm: what was found, beside the best that is shipped."""
    return [
        {
            "algorithm": found.task.name,
            "flip_rate": found.best.flip_rate,
            "points_lost": found.best.points_lost,
            "prob_lost": found.best.prob_lost,
            "shipped": found.best_shipped,
            "shipped_flip_rate": found.shipped[found.best_shipped].flip_rate,
            "shipped_points_lost": found.shipped[found.best_shipped].points_lost,
            "trials": found.trials,
            "seconds": found.seconds,
            "settings": found.settings(),
        }
        for found in every
    ]


def kept(found: Found) -> str:
    """What an algorithm keeps of which nothing flips a sample, in words."""
    return "its defaults" + (f", with {found.given}" if found.given else "")


def _told(found: Found) -> str:
    """A line of the run's description."""
    if found.flips_nothing:
        return f"- **{found.task.name}**: nothing that was tried flips a sample"
    flips, lost = f"flips {found.best.flip_rate:.0%}", f"loses {found.best.points_lost:.2f} points"
    return f"- **{found.task.name}**: `{as_words(found.settings())}` {flips} and {lost}"


def as_toml(tuned: Tuned, base_run: BaseRun) -> bytes:
    """The file of a preset that `sweep --preset` takes; the same for the same tuning."""

    def printable(value: object) -> object:  # so that no name ends a comment
        if not isinstance(value, str):
            return value
        shown = "".join(letter if letter.isprintable() else "?" for letter in value)
        return shown.encode("utf-8", "replace").decode()

    template = jinja2.Template(
        PRESET.read_text("utf-8"), trim_blocks=True, lstrip_blocks=True, finalize=printable
    )
    said: str = template.render(
        begins=BEGINS,
        run=tuned.run,
        day=datetime.fromtimestamp(tuned.run.info.start_time / 1000, UTC).date(),
        base=base_run,
        enough=f"{ENOUGH:.0%}",
        every=tuned.found,
        kept=kept,
        key=lambda name: name if BARE.fullmatch(name) else json.dumps(name),
        value=lambda value: json.dumps(value) if isinstance(value, str) else repr(value),
    )
    return said.encode()


NOTE_OF_TUNING = """\
### Settings of {names}

Looked for with base model `{base}` on {samples} samples that it gets right, with seed {seed}, by \
flips and test accuracy alone. Of the settings that flip {enough} of the samples, the best are \
those that lose the least test accuracy on average; where none do, those that flip the most. Each \
trial is a child run. One that flips under half of the first {first} samples was not tried on the \
others. The best so far was tried on all.

"""
