"""Where the settings of a sweep's algorithms come from: presets, trials of them, changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracker.base.base_models import BaseRun
from tracker.store.records import Kind, sha256_of
from tracker.store.write import Store
from unlearning.outcome import FLIPPED
from tracker.sweep.choosing import draw_samples, misclassified
from unlearning import algorithms, architectures, presets
from unlearning.algorithm import Algorithm
from unlearning.hyperparameters import Setting
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import by_device
from unlearning.version import VERSION

TRIAL = "preset_trial"  # the tag of a sweep that says which trial chose its presets
FIRST = "paper"  # of presets that are as good
SAMPLES, SEED = 5, 0  # of a trial, whatever the sweep's own
TUNED_FOR = re.compile(rb"^#.* weights ([0-9a-f]{64})\r?$", re.MULTILINE)  # says a tuning's file


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
    def from_file(cls, names: Collection[str], path: str, base_run: BaseRun) -> Choice:
        """The preset of a file for all algorithms; what it does not know keeps its defaults.

        The reason says which these are, and whether a preset that would be taken without the file
        knows more of them. It says too where the file is of a tuning of another base model.

        Raises UserError where the file is no preset.
        """
        known = presets.load(path, names)
        content = Path(path).read_bytes()
        reason = f"asked for, with SHA-256 {hashlib.sha256(content).hexdigest()[:16]}"
        tuned_for = TUNED_FOR.search(content)
        if tuned_for and tuned_for[1].decode() != base_run.weights_sha256:
            reason += "; it was tuned for another base model"
        if missing := [name for name in names if name not in known]:
            reason += f"; it says nothing of {', '.join(missing)}: defaults"
            for made in presets.made_for(base_run.dataset, base_run.arch)[:1]:
                if better := [name for name in missing if name in presets.load(made)]:
                    reason += f", not what preset {made} has for {', '.join(better)}"
        return cls.of(names, path, reason)

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
    of = preset.presets if isinstance(preset, Choice) else dict.fromkeys(classes, preset)
    settings = {name: _settings(name, of[name], classes) for name in classes}
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


def _settings(name: str, preset: str | None, names: Collection[str]) -> dict[str, Setting]:
    """What a preset says of an algorithm; nothing if there is none."""
    return dict(presets.load(preset, names).get(name, {})) if preset is not None else {}


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
    if asked is not None and presets.is_file(asked):
        return Choice.from_file(names, asked, base_run)
    made_of = base_run.dataset, base_run.arch
    if asked is not None:
        return Choice.of(names, asked, f"asked for, {presets.standing(asked, *made_of)}")
    for name in presets.made_for(*made_of):
        return Choice.of(names, name, presets.standing(name, *made_of))
    why = "none is made for {} with {}".format(*made_of)
    candidates = sorted(presets.names(), key=lambda name: name != FIRST)
    tried = {name: configure(names, name, changes) for name in candidates}
    if all(alike == tried[FIRST] for alike in tried.values()):
        return Choice.of(names, FIRST, f"{why}, and all come to the same settings")
    trial = _key(base_run, tried)
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    for sweep in store.runs(
        [experiment_id], f"tags.kind = '{Kind.SWEEP}' and tags.{TRIAL} = '{trial}'"
    ):
        return Choice.read(sweep.data.params, names, trial)
    samples = _samples(base_run.model)
    if not samples:
        return Choice.of(names, FIRST, f"{why}, and the base model gets no sample right")
    say(f"trying the presets {', '.join(candidates)} on {len(samples)} samples")
    chosen, flips = {}, []
    for name, *ways in zip(names, *tried.values(), strict=True):
        if len(set(ways)) == 1:
            chosen[name] = FIRST
            continue
        flipped = [_flips(base_run.model, way, samples) for way in ways]
        chosen[name] = candidates[flipped.index(max(flipped))]
        each = (f"{preset} {count}" for preset, count in zip(candidates, flipped, strict=True))
        flips.append(f"{name} {', '.join(each)}")
    return Choice(chosen, f"{why}; of {len(samples)} samples flipped: {'; '.join(flips)}", trial)


def _key(base_run: BaseRun, tried: Mapping[str, Sequence[Algorithm]]) -> str:
    """Of a trial: equal keys mean the same base model and data, and the same settings to try.

    Of what other people bring the version counts.
    """
    settings = {
        preset: {algorithm.name: algorithm.settings() for algorithm in chosen}
        for preset, chosen in tried.items()
    }
    data = base_run.model.dataset.fingerprint
    parts = (base_run.weights_sha256, data, base_run.arch, base_run.precision, VERSION)
    who = [architectures.provider(base_run.arch), *map(algorithms.provider, settings[FIRST])]
    brought = [str(provider) for provider in who if provider]
    return sha256_of(*parts, settings, *brought)[:32]


def _samples(base: BaseModel) -> list[int]:
    """Samples for a trial: the same for every sweep of a base model, which gets them right."""
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    return draw_samples(ids, min(SAMPLES, len(ids) - len(wrong)), SEED, wrong)


def _flips(base: BaseModel, algorithm: Algorithm, samples: list[int]) -> int:
    positions = base.dataset.train.positions(samples)
    unlearned = unlearn(base, algorithm, positions, SEED, by_device(base.device))
    return sum(status in FLIPPED for status in unlearned.status)
