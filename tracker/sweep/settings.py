"""Where the settings of a sweep's algorithms come from: presets, and changes to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from unlearning import algorithms, presets
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.hyperparameters import Setting

TRIAL = "preset_trial"  # the tag of a sweep that says which trial chose its presets


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
