"""Where the settings of a sweep's algorithms come from: presets, trials of them, changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tracker.base.base_models import BaseRun
from unlearning import algorithms, presets
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.hyperparameters import Setting

TRIAL = "preset_trial"  # the tag of a sweep that says which trial chose its presets
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
