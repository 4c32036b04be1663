"""Commands that keep a store: load it into the warehouse, check, merge, prune, restore."""

from __future__ import annotations

from pathlib import Path

from tracker.commands import RESUMES, Command, option
from tracker.commands.kinds import FLAG, handle, path, real, text
from tracker.commands.shared import Printed


class Load(Command):
    """Load what is new in MLflow into the DuckDB warehouse.

    Commands that ask do this by themselves. The warehouse can be deleted at any time and comes back
    the same.
    """

    does = "tracker.cli.load:load"
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

    does = "tracker.api.checking:check"
    shows = "tracker.cli.keep:check"
    example = "indelible check --repair"
    needs = (("yes", "repair"), ("at_most", "repair"))

    repair: bool = option(FLAG, "Mend what can be mended, and look again.", on="line")
    at_most: float = option(
        real(0, 1, metavar="SHARE"), "Of the store that may be deleted.", 0.1, on="line"
    )


class Merge(Printed):
    """Bring what other stores have into this one.

    That is base models, sweeps, predictions, unlearnings and tunings, but not the names that models
    have in MLflow's registry. Each STORE is a folder that was --store elsewhere, such as that of a
    share of a sweep. Nothing is written into it. Runs are known by their keys: what is here already
    stays as it is, and the same command called again goes on where it stopped, or does nothing.
    Before anything is written all stores are checked, and one that is damaged is refused.

    A sweep of which all attempts are here is finished; with others 'indelible sweep' goes on.
    """

    does = "tracker.api.keeping:merge"
    shows = "tracker.cli.keep:merge"
    example = "indelible merge shard-1 shard-2 shard-3 shard-4"
    stopped = RESUMES

    stores: tuple[str, ...] = option(
        text("STORE"), "Folders of stores.", required=True, many=True, flag="STORE..."
    )


class Prune(Printed, Agreed):
    """Delete the checkpoints that no sweep wants.

    They are listed first. Every sweep wants what its --checkpoints said, in all calls of it, and no
    sweep deletes what another one wants. With --sweep and --checkpoints a sweep lets go of what it
    wanted; without them checkpoints go of sweeps that were deleted in MLflow. The child runs and
    their metrics stay.
    """

    does = "tracker.cli.keep:prune"
    example = "indelible prune --sweep latest --checkpoints hardest:20"
    needs = (("sweep", "checkpoints"), ("checkpoints", "sweep"))

    sweep: str | None = option(handle("Sweep"), "A sweep that is to want less than it did.")
    checkpoints: str | None = option(
        text("all|none|flipped|hardest:K|easiest:K"), "What that sweep wants from now on."
    )


class Restore(Command):
    """Write the weights of unlearned models.

    RUN is the name of a child run, such as ga-00042, or its id where several sweeps have one of
    that name; of what 'indelible unlearn' made its run. The checkpoint is a difference to the base
    model; both are verified by their SHA-256. The weights come back to the last bit: as float64
    where the sweep had --precision float64.
    """

    does = "tracker.cli.keep:restore"
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
