"""Commands that make something: base models, predictions, sweeps, settings, advice, models."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from analysis.statuses import MAX_LOSS
from tracker.commands import Command, Spell, one_of, option, refuse
from tracker.commands.kinds import (
    FILE,
    FLAG,
    IDS,
    LAST_SEED,
    LONGEST_NAME,
    SETTINGS,
    choice,
    real,
    text,
    whole,
)
from unlearning import algorithms, presets
from unlearning.errors import UserError
from unlearning.naming import LATEST


class Computing(Command):
    """Who computes, and where."""

    device: str = option(
        text("auto|cpu|cuda|cuda:N|mps"),
        "Where to compute; auto takes an NVIDIA GPU where there is one.",
        "auto",
    )
    workers: int | None = option(whole(), "Threads.", shown="one a core", advanced=True)
    engine: str = option(
        choice("threads", "ray"),
        "Who computes: threads of this process, or the nodes of a Ray cluster.",
        "threads",
        advanced=True,
    )
    address: str | None = option(
        text("auto|local|HOST:PORT|ray://HOST:PORT"),
        "Address of the Ray cluster; local begins one on this machine.",
        shown="RAY_ADDRESS, or one that runs here, or else local",
        advanced=True,
    )
    slots: int | None = option(
        whole(), "CPUs of the Ray cluster to take, or GPUs.", shown="all", advanced=True
    )

    def check(self, given: Collection[str], spell: Spell) -> None:
        """Refuse options of the engine that is not asked for."""
        super().check(given, spell)
        if self.engine == "ray":
            refuse(given, ["workers"], spell, "with the engine ray, which takes slots")
        else:
            refuse(given, ["address", "slots"], spell, "without the engine ray")


class Members(Command):
    """Which attempts: base model, algorithms with their settings, samples, seed."""

    model: str = option(
        text("MODEL"),
        "Base model: its name, id, or the beginning of its id.",
        LATEST,
        completes="models",
    )
    algorithms: tuple[str, ...] = option(
        text("NAME"),
        f"Algorithm, once for each: {', '.join(algorithms.names())}, or "
        "module:package.module:Class.",
        flag="--algorithm",
        many=True,
        completes="algorithms",
    )
    samples: int | None = option(
        whole(word="all"), "How many samples, drawn by the seed, or all of them.", shown="all"
    )
    sample_ids: tuple[int, ...] | None = option(IDS, "The samples with these ids instead.")
    requests: Path | tuple[str, ...] | None = option(
        FILE,  # replaced by a kind of its own, which Python gives a list as well
        "File with samples by what they are called, one a line: the path or name of an image "
        "file, or an id; # begins a comment.",
    )
    only_correct: bool = option(
        FLAG,
        "Choose among the samples that the base model gets right: of no other is any unlearned.",
    )
    preset: str | None = option(
        text("NAME|FILE.toml"),
        f"Hyper-parameters: {', '.join(presets.names())}, or a file that 'indelible tune' wrote.",
        shown="the one for data set and architecture, or what flips most in a trial",
        completes="presets",
    )
    settings: tuple[str, ...] = option(
        SETTINGS, "Change a hyper-parameter, e.g. neggrad.lr=1e-3.", flag="--set", many=True
    )
    seed: int = option(whole(0, LAST_SEED), "Random seed of the unlearning.", 0)
    remaining: int | None = option(
        whole(word="all"),
        "Training samples that stand for the remaining data in the factors; N are drawn once.",
        shown="all",
        advanced=True,
    )
    precision: str = option(
        choice("float32", "float64"),
        "Precision of weights and inputs; a part of every member's key.",
        "float32",
        advanced=True,
    )

    def check(self, given: Collection[str], spell: Spell) -> None:
        """Refuse two ways at once to say which samples."""
        super().check(given, spell)
        one_of(given, ["samples", "sample_ids", "requests"], spell)


class Sweep(Computing, Members):
    """Unlearn samples one at a time, and log every attempt.

    Every attempt becomes a child run of the sweep's parent run. The same sweep called again goes on
    where it stopped. Repeats are sweeps of their own: they tell how far GT (the ground-truth
    difficulty score) agrees with itself.
    """

    group = "make"
    does = "tracker.cli.sweep:run"
    example = """
        indelible sweep --algorithm ga --algorithm salun --samples 100
        indelible --store shard-3 sweep --algorithm ga --samples 4000 --shard 3/16
        """

    repeats: int = option(
        whole(), "The same samples under this many seeds, one after the other.", 1, advanced=True
    )
    name: str | None = option(
        text("NAME", LONGEST_NAME), "Name of the sweep.", shown="what it does", advanced=True
    )
    max_loss: float = option(
        real(0, 100, metavar="POINTS"),
        "A flip that costs more percentage points of test accuracy counts as damage.",
        MAX_LOSS,
        advanced=True,
    )

    def check(self, given: Collection[str], spell: Spell) -> None:
        """Refuse a sweep without algorithms, and seeds that are too large together."""
        super().check(given, spell)
        if not self.algorithms:
            raise UserError(f"{spell('algorithms')} is missing: name one at least")
        if self.seed + self.repeats - 1 > LAST_SEED:
            raise UserError(
                f"{spell('seed')} is {self.seed}: with {self.repeats} repeats it is at most "
                f"2^63 - {self.repeats}"
            )
