"""Which settings to try next: a tree-structured Parzen estimator of Optuna's, asked and told."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial, TrialState, create_trial

from unlearning.hyperparameters import Between, Setting

Space = Mapping[str, Between | tuple[str, ...]]
DIGITS = 3  # of a number that is tried
SEEDS = 2**32  # of the sampler's generator


class Sampler:
    """Asks for settings, and learns from what they came to. The same seed asks for the same ones.

    Args:
        space: among which values of each setting it looks. whole: the names of whole numbers.
    """

    def __init__(self, space: Space, whole: frozenset[str], seed: int) -> None:
        self.space = {name: _distribution(among, name in whole) for name, among in space.items()}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that considering settings together is experimental
            sampler = optuna.samplers.TPESampler(seed=seed % SEEDS, multivariate=True)
            self.study = optuna.create_study(sampler=sampler)
        self.asked: Trial | None = None

    def ask(self) -> dict[str, Setting]:
        """The settings to try next."""
        self.asked = self.study.ask(self.space)
        return {
            name: _rounded(value, self.space[name]) for name, value in self.asked.params.items()
        }

    def tell(self, value: float | None) -> None:
        """What the last ones came to, the least being the best; None if they cannot be tried."""
        assert self.asked is not None
        if value is None:
            self.study.tell(self.asked, state=TrialState.FAIL)
        else:
            self.study.tell(self.asked, value)

    def add(self, settings: Mapping[str, Setting], value: float) -> None:
        """What others came to; left out where they are not among those that it looks at."""
        own = {name: settings[name] for name in self.space}
        if all(_holds(self.space[name], setting) for name, setting in own.items()):
            self.study.add_trial(create_trial(params=own, distributions=self.space, value=value))


def _distribution(among: Between | tuple[str, ...], is_whole: bool) -> BaseDistribution:
    if not isinstance(among, Between):
        return CategoricalDistribution(among)
    if is_whole:
        return IntDistribution(int(among.low), int(among.high), log=among.log)
    return FloatDistribution(among.low, among.high, log=among.log)


def _rounded(value: Setting, among: BaseDistribution) -> Setting:
    """A number as a user would write it."""
    if not isinstance(among, FloatDistribution):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), among.low), among.high)


def _holds(among: BaseDistribution, value: Setting) -> bool:
    if isinstance(among, (FloatDistribution, IntDistribution)):
        return not isinstance(value, str) and among.low <= value <= among.high
    assert isinstance(among, CategoricalDistribution)
    return value in among.choices
