"""Delete checkpoints that no sweep wants."""

from __future__ import annotations

import click

from tracker.cli._completing import runs_completed
from tracker.cli._options import confirm, format_option, yes_option
from tracker.cli._output import show, with_short_ids
from tracker.cli._session import Session, pass_session, say
from unlearning.errors import UserError
from unlearning.naming import LATEST


@click.command()
@click.option(
    "--sweep",
    metavar="SWEEP",
    shell_complete=runs_completed("sweep", LATEST),
    help="A sweep that is to want less than it did.",
)
@click.option(
    "--checkpoints",
    metavar="all|none|flipped|hardest:K|easiest:K",
    help="What that sweep wants from now on.",
)
@yes_option
@format_option
@pass_session
def command(
    session: Session, sweep: str | None, checkpoints: str | None, yes: bool, style: str
) -> None:
    """Delete the checkpoints that no sweep wants; they are listed first.

    Every sweep wants what its --checkpoints said, in all calls of it, and no sweep deletes what
    another one wants. This is the way to let go: with --sweep and --checkpoints of what that sweep
    wanted, without them of what belongs to sweeps that were deleted in MLflow. The child runs and
    their metrics stay.

    \b
    Example:
      indelible prune --sweep latest --checkpoints hardest:20
    """
    if (sweep is None) != (checkpoints is None):
        raise UserError("--sweep and --checkpoints belong together: give both, or neither")
    from tracker.reading import listing, pruning
    from tracker.sweep.retention import Retention

    policy = None if checkpoints is None else Retention.parse(checkpoints)
    with session.reader() as reader:
        changed = {}
        if sweep is not None and policy is not None:
            changed = {listing.find_sweep(reader, sweep).run_id: policy}
        unwanted = pruning.unwanted(reader, changed)
        rows = [vars(one) for one in unwanted]
        show(rows, style, with_short_ids(rows, "run_id"))
        if unwanted:
            size = sum(one.bytes or 0 for one in unwanted) / 1e6
            confirm([f"delete {len(unwanted)} checkpoints, {size:.1f} MB"], yes)
            again = pruning.unwanted(reader, changed)  # a sweep may want them by now
            unwanted = [one for one in unwanted if one in again]
        if unwanted or changed:
            with session.store() as store:
                pruning.prune(store, reader, [one.run_id for one in unwanted], changed)
    say(f"{len(unwanted)} checkpoints deleted")
