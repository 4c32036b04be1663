"""Settings of an algorithm that are looked for: among which, how, and what was found."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna import distributions
from optuna.trial import TrialState, create_trial

from tracker.sweep.choosing import configure
from tracker.sweep.trials import Trial
from unlearning import algorithms, presets
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.hyperparameters import Between, Setting

DEFAULTS = "defaults"  # what is tried beside the presets
USUAL_TRIALS = 25
DIGITS = 3  # of a number that is tried
SEEDS = 2**32  # of the sampler's generator

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

    def distribution(self, name: str) -> distributions.BaseDistribution:
        """The values of a setting, as the sampler takes them."""
        among = self.space[name]
        if not isinstance(among, Between):
            return distributions.CategoricalDistribution(among)
        if isinstance(self.algorithm().settings()[name], int):
            return distributions.IntDistribution(int(among.low), int(among.high), log=among.log)
        return distributions.FloatDistribution(among.low, among.high, log=among.log)


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

    def row(self) -> dict[str, Any]:
        """What was found, beside the best that is shipped."""
        name, shipped = min(self.shipped.items(), key=lambda item: item[1].rank)
        return {
            "algorithm": self.task.name,
            "flip_rate": self.best.flip_rate,
            "points_lost": self.best.points_lost,
            "prob_lost": self.best.prob_lost,
            "shipped": name,
            "shipped_flip_rate": shipped.flip_rate,
            "shipped_points_lost": shipped.points_lost,
            "trials": self.trials,
            "seconds": self.seconds,
            "settings": self.settings(),
        }

    def __str__(self) -> str:
        """A line of the run's description."""
        what = f"flips {self.best.flip_rate:.0%} and loses {self.best.points_lost:.2f} points"
        return f"- **{self.task.name}**: `{as_words(self.settings())}` {what}"


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
    space = {name: task.distribution(name) for name in task.space}
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


def as_words(settings: Mapping[str, Setting]) -> str:
    """Settings in a line."""
    said = (f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}" for n, v in settings.items())
    return " ".join(said)
