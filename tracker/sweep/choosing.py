"""What a sweep is about: which samples, named or drawn, and which settings of its algorithms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unlearning import algorithms, presets
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.hyperparameters import Setting

TRIAL = "preset_trial"  # the tag of a sweep that says which trial chose its presets
NAMED = 5  # sample ids that a message names

# Samples


def choose_samples(
    base: BaseModel, named: Sequence[int], count: int | None, seed: int, only_correct: bool
) -> list[int]:
    """The ids that are named, or `count` of the training samples drawn by the seed; all if None.

    Args:
        only_correct: whether the base model has to get them right.

    Raises UserError if there are not enough of them, or if one that is named is no training sample
    or is misclassified.
    """
    known = base.dataset.train.ids.tolist()
    wrong = misclassified(base) if only_correct else set()
    if not named:
        return draw_samples(known, len(known) - len(wrong) if count is None else count, seed, wrong)
    base.dataset.train.positions(list(named))  # before any work, that they are there
    if refused := [str(sample) for sample in named if sample in wrong]:
        some = ", ".join(refused[:NAMED]) + (", ..." if len(refused) > NAMED else "")
        raise UserError(
            f"--only-correct is given, but the base model misclassifies {len(refused)} of the "
            f"samples that are named ({some}): leave them out, or leave --only-correct out"
        )
    return list(named)


def misclassified(base: BaseModel) -> set[int]:
    """The training samples that the base model gets wrong."""
    wrong = base.train_logits.argmax(dim=1) != base.train_labels
    return set(base.dataset.train.ids[wrong.cpu()].tolist())


def draw_samples(
    ids: Sequence[int], count: int, seed: int, left_out: Collection[int] = ()
) -> list[int]:
    """`count` of the ids, in ascending order. A larger draw by a seed contains a smaller one.

    In place of each id that is left out comes the next one in the order of drawing.

    Raises UserError if there are not enough.
    """
    drawn = _in_order(ids, seed, left_out)
    if count > len(drawn):
        right = f", of which the base model gets {len(drawn)} right (--only-correct)"
        there = f"the training split has {len(ids)}{right if left_out else ''}"
        raise UserError(f"{count} samples are asked for, but {there}")
    return sorted(drawn[:count])


def draw_to_try(
    base: BaseModel, count: int | None, usual: int, seed: int, avoided: Collection[int] = ()
) -> list[int]:
    """Samples to try settings on, in the order of drawing, of those that the base model gets right.

    They are the last that a sweep by that seed would draw, so that it draws others for as long as
    it can.

    Args:
        count: how many; `usual`, or as many as there are, if None.
        avoided: ids that are left out.

    Raises UserError if there are not enough, or where one that is left out is no training sample.
    """
    base.dataset.train.positions(list(avoided))
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    there = _in_order(ids, seed, wrong.union(avoided))[::-1]
    asked = min(usual, len(there)) if count is None else count
    if not there or asked > len(there):
        some = f"{asked} samples are asked for" if there else "there is no sample to try"
        raise UserError(
            f"{some}: of {len(ids)} in the training split the base model gets "
            f"{len(ids) - len(wrong)} right, and {len(there)} of these are not left out"
        )
    return there[:asked]


def _in_order(ids: Sequence[int], seed: int, left_out: Collection[int]) -> list[int]:
    """The ids in the order of drawing, without some."""
    order = np.random.default_rng([seed, 2]).permutation(len(ids))
    return [ids[position] for position in order if ids[position] not in left_out]


# Settings


@dataclass(frozen=True)
class Choice:
    """The preset of each algorithm, by its name, and why it is this one.

    Attributes:
        trial: the key of the trial that chose, if one did.
    """

    presets: Mapping[str, str]
    reason: str
    trial: str | None = None

    @classmethod
    def of(cls, names: Iterable[str], preset: str, reason: str) -> Choice:
        """One preset for all algorithms."""
        return cls(dict.fromkeys(names, preset), reason)

    @classmethod
    def read(cls, params: Mapping[str, str], names: Iterable[str], trial: str) -> Choice:
        """What `params` gave, of these algorithms."""
        said = params["preset"]
        found = dict(pair.split("=") for pair in said.split(", ")) if "=" in said else {}
        return cls({name: found.get(name, said) for name in names}, params["preset_reason"], trial)

    @property
    def params(self) -> dict[str, str]:
        """The choice as a sweep's params."""
        pairs = [f"{name}={preset}" for name, preset in self.presets.items()]
        different = len(set(self.presets.values())) > 1
        said = ", ".join(pairs) if different else next(iter(self.presets.values()))
        if presets.is_file(said):
            said = Path(said).name.encode("utf-8", "replace").decode()
        return {"preset": said, "preset_reason": self.reason}

    def __str__(self) -> str:
        """One line."""
        return "preset {preset}: {preset_reason}".format(**self.params)


def configure(
    names: Iterable[str], preset: str | Choice | None, changes: Iterable[str]
) -> list[Algorithm]:
    """The algorithms of those names with a preset's settings and single changes to them.

    Args:
        preset: of all, or the choice for each; their defaults if None.
        changes: `algorithm.name=value` each.

    Raises UserError for an unknown algorithm, preset or hyper-parameter, or a value out of range.
    """
    classes = {name: algorithms.get(name) for name in names}
    settings = dict[str, dict[str, Setting]]()
    for name in classes:
        own = preset.presets[name] if isinstance(preset, Choice) else preset
        settings[name] = dict(presets.load(own, classes).get(name, {})) if own is not None else {}
    for change in changes:
        target, equals, value = change.partition("=")
        algorithm, dot, name = target.partition(".")
        if not (equals and dot and algorithm in classes):
            raise UserError(
                f"--set {change} is not understood: write ALGORITHM.NAME=VALUE with one of the "
                f"sweep's algorithms ({', '.join(classes)})"
            )
        settings[algorithm][name] = value
    made = []
    for name, found in classes.items():
        with algorithms.REGISTRY.by(name):
            made.append(found.from_text(settings[name]))
    return made
