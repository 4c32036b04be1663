"""Commands that keep a store: load it into the warehouse, check, merge, prune, restore."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tracker.commands import Command, Spell, option, refuse
from tracker.commands.kinds import FLAG, handle, path, real, text
from tracker.commands.shared import RESUMES, Printed
from unlearning.errors import UserError


class Load(Command):
    """Load what is new in MLflow into the DuckDB warehouse.

    Commands that ask do this by themselves. The warehouse can be deleted at any time and comes back
    the same.
    """

    group = "keep"
    does = "tracker.cli.keep:load"
    example = "indelible load --deep"

    deep: bool = option(FLAG, "Read everything again, edited tags too.")


class Agreed(Command):
    """Whether it is done without asking."""

    yes: bool = option(FLAG, "Do it without asking.", on="line")


class Check(Printed, Agreed):
    """Check the store, and print one row per problem.

    A damaged database; child runs without a sweep, finished without metrics, twice under one key,
    or half written; artifacts on this machine that are missing or damaged, or belong to no run; a
    GT (ground-truth difficulty score) that does not follow from its F and U.

    --repair lists what it would do and asks. It deletes such runs in MLflow (the same sweep does
    them again), deletes files that belong to no run, and loads the warehouse.
    """

    group = "keep"
    does = "tracker.api.answers:check"
    shows = "tracker.cli.keep:checked"
    example = "indelible check --repair"

    repair: bool = option(FLAG, "Mend what can be mended, and look again.", on="line")
    at_most: float = option(
        real(0, 1, metavar="SHARE"), "Of the store that may be deleted.", 0.1, on="line"
    )

    def check(self, given: Collection[str], spell: Spell) -> None:
        """Refuse options that change nothing."""
        super().check(given, spell)
        if not self.repair:
            refuse(given, ["yes", "at_most"], spell, f"without {spell('repair')}")


class Merge(Printed):
    """Bring what other stores have into this one.

    That is base models, sweeps, predictions, unlearnings and tunings, but not the names that models
    have in MLflow's registry. Each STORE is a folder that was --store elsewhere, such as that of a
    share of a sweep. Nothing is written into it. Runs are known by their keys: what is here already
    stays as it is, and the same command called again goes on where it stopped, or does nothing.
    Before anything is written all stores are checked, and one that is damaged is refused.

    A sweep of which all attempts are here is finished; with others 'indelible sweep' goes on.
    """

    group = "keep"
    does = "tracker.api.keeping:merge"
    shows = "tracker.cli.merge:merged"
    example = "indelible merge shard-1 shard-2 shard-3 shard-4"

    stores: tuple[str, ...] = option(
        text("STORE"), "Folders of stores.", required=True, many=True, flag="STORE..."
    )

    def stopped(self) -> str:
        """That nothing is lost."""
        return RESUMES


class Prune(Printed, Agreed):
    """Delete the checkpoints that no sweep wants.

    They are listed first. Every sweep wants what its --checkpoints said, in all calls of it, and no
    sweep deletes what another one wants. With --sweep and --checkpoints a sweep lets go of what it
    wanted; without them checkpoints go of sweeps that were deleted in MLflow. The child runs and
    their metrics stay.
    """

    group = "keep"
    does = "tracker.cli.keep:prune"
    example = "indelible prune --sweep latest --checkpoints hardest:20"

    sweep: str | None = option(
        handle("Sweep"), "A sweep that is to want less than it did.", completes="sweeps"
    )
    checkpoints: str | None = option(
        text("all|none|flipped|hardest:K|easiest:K"), "What that sweep wants from now on."
    )

    def check(self, given: Collection[str], spell: Spell) -> None:
        """Refuse one of the two without the other."""
        super().check(given, spell)
        if (self.sweep is None) != (self.checkpoints is None):
            both = f"{spell('sweep')} and {spell('checkpoints')}"
            raise UserError(f"{both} belong together: give both, or neither")


class Restore(Command):
    """Write the weights of unlearned models.

    RUN is the name of a child run, such as ga-00042, or its id where several sweeps have one of
    that name; of what 'indelible unlearn' made its run. The checkpoint is a difference to the base
    model; both are verified by their SHA-256. The weights come back to the last bit: as float64
    where the sweep had --precision float64.
    """

    group = "keep"
    does = "tracker.cli.restore:run"
    example = """
        indelible restore ga-00042 --output unlearned.safetensors
        indelible restore ga-00042 ga-00077 --output models
        """

    runs: tuple[str, ...] = option(
        text("RUN"), "Names or ids of child runs.", required=True, many=True, flag="RUN..."
    )
    output: Path = option(
        path(),
        "File to write: in the safetensors format, or as torch.load takes it if it ends in .pt. "
        "Of several runs the folder for their files.",
        required=True,
    )
