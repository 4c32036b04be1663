"""Options that several commands have, each with one meaning."""

from __future__ import annotations

from analysis.words import MAX_LOSS
from tracker.commands import RESUMES, Command, Spell, option
from tracker.commands.kinds import choice, handle, real, text, whole
from unlearning.errors import UserError
from unlearning.naming import LATEST


class Printed(Command):
    """What prints data."""

    style: str = option(
        choice("table", "csv", "json"),
        "How to print the data; json is a list of objects.",
        "table",
        flag="--format",
        on="line",
    )


class OfSweep(Command):
    """What looks at a sweep."""

    sweep: str = option(
        handle("Sweep"),
        "The sweep to look at: its name, id, or the beginning of its id ('indelible sweeps').",
        LATEST,
    )


class Limited(Command):
    """What calls a flip that costs too much damage."""

    max_loss: float = option(
        real(0, 100, metavar="POINTS"),
        "A flip that costs more percentage points of test accuracy counts as damage.",
        MAX_LOSS,
    )


class OnDevice(Command):
    """What computes."""

    device: str = option(
        text("auto|cpu|cuda|cuda:N|mps"),
        "Where to compute; auto takes an NVIDIA GPU where there is one.",
        "auto",
        advanced=True,
    )


class Computing(OnDevice):
    """What computes much: by threads, or by a Ray cluster."""

    stopped = RESUMES

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

    def check(self, spell: Spell) -> None:
        """Refuse options of the engine that is not asked for."""
        super().check(spell)
        is_ray = self.engine == "ray"
        for name in ("workers",) if is_ray else ("address", "slots"):
            if getattr(self, name) is not None:
                engine = f"{'with' if is_ray else 'without'} {spell('engine')} ray"
                raise UserError(f"{spell(name)} has no effect {engine}")
