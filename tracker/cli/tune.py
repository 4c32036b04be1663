"""Look for hyper-parameters that fit a base model."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli._engines import Computing, engine_options
from tracker.cli._members import algorithm_option, ids_requested, model_option, set_option
from tracker.cli._options import OutputPath, as_one, device_option, format_option, max_loss_option
from tracker.cli._output import progress, show
from tracker.cli._session import Session, pass_session, say
from tracker.sweep.planning import LAST_SEED
from unlearning import algorithms
from unlearning.errors import Failure, UserError

if TYPE_CHECKING:
    from tracker.base.base_models import BaseRun
    from tracker.studies.tune import Tuned

SUFFIX = ".toml"


@dataclass(frozen=True)
class Arguments(Computing):
    """The options of the command, by the names that they have there.

    Attributes:
        names: of the algorithms. samples: None for as many as usual.
        left_out: files with samples that settings are not tried on.
        changes: settings that are given, and not searched.
    """

    model: str
    names: tuple[str, ...]
    samples: int | None
    left_out: tuple[Path, ...]
    trials: int
    max_loss: float
    changes: tuple[str, ...]
    seed: int
    output: Path
    style: str

    def check(self) -> None:
        """Raise UserError where the file cannot be written, or is not this command's."""
        from tracker.studies.tune import BEGINS

        super().check()
        path = self.output
        if path.suffix != SUFFIX:
            raise UserError(f"--output is {path}: it takes the name of a file that ends in .toml")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise UserError(f"--output is {path}: {path.parent} is no folder that can be written")
        if path.exists() and _beginning(path, len(BEGINS)) != BEGINS.encode():
            raise UserError(
                f"--output is {path}, which is there and was not written by 'indelible tune': give "
                "another name, or move it away"
            )

    def avoided(self) -> list[tuple[Path, list[str]]]:
        """What samples are called that settings are not tried on, by file. Raises UserError."""
        from unlearning.requests import read_requests

        return [(path, read_requests(path)) for path in self.left_out]


@click.command()
@model_option
@algorithm_option(required=True)
@click.option(
    "--samples",
    type=click.IntRange(1),
    help="Samples to try settings on, of those that the base model gets right.  [default: 20]",
)
@click.option(
    "--leave-out-samples",
    "left_out",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="File with samples to try nothing on, such as those to be unlearned later: as --requests "
    "of other commands has them.",
    metavar="FILE",
)
@click.option(
    "--trials",
    type=click.IntRange(1, 10_000),
    default=25,
    show_default=True,
    help="Settings to try of each algorithm; its defaults and those of the presets at least.",
)
@max_loss_option
@set_option
@click.option(
    "--seed",
    type=click.IntRange(0, LAST_SEED),
    default=0,
    show_default=True,
    help="Of samples, unlearning and search.",
)
@device_option
@engine_options
@click.option(
    "--output",
    type=OutputPath(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE.toml",
    help="The preset to write.",
)
@format_option
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """Look for hyper-parameters that fit a base model, and write them as a preset.

    Settings are judged on a few samples, by how many of them flip and how much test accuracy that
    costs, and by nothing else: of those that flip 95%, the ones that lose the least are taken;
    where none do, the ones that flip the most. The defaults and the presets are tried first, so
    that what is found is as good on these samples at least. Settings that flip under half of the
    first 5 samples are not tried on the others. What --set gives is not searched.

    Every trial is an MLflow run, a child of the tuning's. The same command called again goes on
    where it stopped, and writes the same file.

    \b
    Example:
      indelible tune --algorithm ga --algorithm scrub --output mine.toml
      indelible sweep --algorithm ga --algorithm scrub --preset mine.toml
    """
    arguments.check()
    avoided = arguments.avoided()
    with session.store() as store, arguments.computing() as engine:
        from analysis.drafts import write_whole
        from tracker.base import base_models, devices
        from tracker.studies import tune
        from tracker.sweep.choosing import draw_to_try

        todo = tune.tasks(
            algorithms.named(arguments.names), arguments.changes, arguments.trials, say
        )
        device = devices.pick_device(arguments.device)
        base_run = base_models.load(store, arguments.model, device, session.data_dir)
        usual = tune.USUAL_SAMPLES
        data, base, seed = base_run.model.dataset, base_run.model, arguments.seed
        out = {s for where, asked in avoided for s in ids_requested(asked, data, where)}
        ids = draw_to_try(base, arguments.samples, usual, seed, out)
        say(f"trying settings on {len(ids)} samples of {base_run.name}")
        try:
            with progress("tuning", sum(task.size for task in todo)) as advance:
                made = tune.tune(store, base_run, todo, ids, arguments.seed, engine, advance)
        except KeyboardInterrupt:
            raise Failure("stopped; the same command goes on where it stopped") from None
        write_whole(arguments.output, tune.as_toml(made, base_run))
        rows = tune.rows(made.found)
    show(rows, arguments.style, [_shown(row) for row in rows], "Settings", below=("settings",))
    for line in _remarks(made, arguments.max_loss):
        say(line)
    say(_next(session, arguments, base_run, {found.task.name for found in made.found}))


def _beginning(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise UserError(f"--output is {path}, which cannot be read: {error.strerror}") from error


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table has it."""
    from tracker.studies.trials import as_words

    return {
        "algorithm": row["algorithm"],
        "flips": f"{row['flip_rate']:.0%}",
        "points lost": f"{row['points_lost']:.2f}",
        "shipped": row["shipped"],
        "its flips": f"{row['shipped_flip_rate']:.0%}",
        "its points lost": f"{row['shipped_points_lost']:.2f}",
        "settings": as_words(row["settings"]) or "defaults",
    }


def _remarks(made: Tuned, max_loss: float) -> Iterator[str]:
    """A line for each algorithm whose settings flip too few samples, cost too much or are given."""
    from tracker.studies.tune import kept

    for found in made.found:
        name, best = found.task.name, found.best
        if found.given:
            yield f"{name}: what is shipped was tried with {found.given} as well, not as it is"
        if found.flips_nothing:
            yield f"{name}: nothing that was tried flips a sample; it keeps {kept(found)}"
        elif not best.is_enough:
            yield f"{name}: no settings that were tried flip more than {best.flip_rate:.0%}"
        if best.flip_rate and best.points_lost > max_loss:
            yield (
                f"{name}: what was found loses {best.points_lost:.1f} points of test accuracy on "
                f"average, more than {max_loss:g} (--max-loss): more --trials may find better"
            )


def _next(session: Session, arguments: Arguments, base_run: BaseRun, tuned: Collection[str]) -> str:
    """The sweep with what was found; of algorithms that were left as they are, with what is set."""
    chosen = [word for name in arguments.names for word in ("--algorithm", name)]
    left = [each for each in arguments.changes if each.partition(".")[0] not in tuned]
    words = ["sweep", *chosen, "--model", base_run.run_id, "--preset", str(arguments.output)]
    words += [word for each in left for word in ("--set", each)]
    return f"next: {session.command} {shlex.join(words)} --samples 100"
