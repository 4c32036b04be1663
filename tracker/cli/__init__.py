"""The command line: one short module a command, imported when it is asked for.

Modules that begin with an underscore are shared by the commands.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import click

import tracker
from tracker.cli._ending import Ending
from tracker.cli._options import a_number
from tracker.cli._session import DEFAULT_FOLDER, Session
from tracker.cli._streams import Closed, escaped, standard_streams
from tracker.cli.options import ClickCommand
from tracker.commands.table import COMMANDS as TABLE
from unlearning.errors import Failure, Raised, UserError
from unlearning.naming import nearest
from unlearning.registry import LOGGER, Registry

COMMANDS: Registry[click.Command] = Registry("command", __name__, "command")


class _Commands(click.Group):
    """The commands are the modules beside this one."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All commands, by name."""
        others = {*COMMANDS.names()} - {"make", "studies", "options"}
        return sorted({*TABLE, *others})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        if name in TABLE:
            return ClickCommand(name, TABLE[name])
        return COMMANDS.get(name) if COMMANDS.is_ours(name) else None

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for; where there is none, the one that was likely meant."""
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            near = nearest(args[0], self.list_commands(context))
            raise click.UsageError(f"{error.message.rstrip('.')}{near}.", context) from error

    def invoke(self, context: click.Context) -> Any:
        """Run the command; Ctrl-C is one line, below the terminal's own ^C.

        What other people's code raises is one line too, and a traceback where that is asked for.
        """
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:
            if sys.stderr.isatty():
                click.echo(err=True)
            raise click.Abort from error
        except Raised as raised:
            if context.params["verbose"]:
                click.echo(raised.trace, err=True)
                raise
            hint = "'indelible --verbose ...' shows the traceback"
            raise Failure(f"{raised}. {hint}") from raised


class _Folder(click.Path):
    """A folder's path; not the empty one, which would be the working directory."""

    def convert(self, value: Any, *context: Any) -> Any:
        """The path. Fails where nothing is given."""
        if not str(value):
            self.fail("it is empty: give the path of a folder.", *context)
        return super().convert(value, *context)


FOLDER = _Folder(path_type=Path, file_okay=False)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--store",
    type=FOLDER,
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Folder of the embedded store, the warehouse and the reports.",
)
@click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    help="MLflow store to log to, instead of the SQLite file in the store's folder.",
)
@click.option(
    "--data-dir",
    type=FOLDER,
    default="data",
    envvar="INDELIBLE_DATA_DIR",
    show_default=True,
    show_envvar=True,
    help="Folder of torchvision's data sets.",
)
@click.option(
    "--server-timeout",
    type=click.FloatRange(1, 86_400),
    callback=a_number,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long a store that does not answer is waited for.",
)
@click.option("--verbose", is_flag=True, help="Show tracebacks and what libraries remark.")
@click.version_option(tracker.__version__, prog_name="indelible")
@click.pass_context
def cli(
    context: click.Context,
    store: Path,
    tracking_uri: str | None,
    data_dir: Path,
    server_timeout: float,
    verbose: bool,
) -> None:
    """Find out which training samples are hard to unlearn, and why.

    \b
    Start with:  indelible demo
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    context.obj = Session(store, tracking_uri or None, data_dir, verbose, server_timeout)


def main() -> None:
    """The console script. Told to end, as by a scheduler, it ends as by Ctrl-C.

    So it does where its terminal is closed.
    """
    ending = Ending()
    try:
        code = run(sys.argv[1:])
    except Exception:
        if ending.by is None:
            raise
        code = _stopped()  # some libraries make another exception of it
    sys.exit(ending.code(code))


def run(arguments: list[str]) -> int:
    """Run a command; its exit code: 0 done, 1 failed, 2 the user's mistake. One line says which."""
    completes = "_INDELIBLE_COMPLETE" in os.environ  # for a shell, to which click writes bytes
    with nullcontext() if completes else standard_streams(), _remarks(silent=completes):
        code = _ended(lambda: _command(arguments))
        return code or _ended(sys.stdout.flush)


@contextmanager
def _remarks(silent: bool) -> Iterator[None]:
    """Say on stderr what is left out of other people's packages, if it is to be said at all."""
    handler = logging.NullHandler() if silent else logging.StreamHandler(sys.stderr)
    logger = logging.getLogger(LOGGER)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _command(arguments: list[str]) -> None:
    try:
        cli.main(arguments, prog_name="indelible", standalone_mode=False)
    except click.NoSuchOption as error:
        own = {name: option for option in cli.params for name in option.opts}
        if error.option_name not in own:
            raise
        raise UserError(
            f"{error.option_name} is given before the command: {_corrected(arguments, own)}"
        ) from error


def _corrected(arguments: list[str], own: Mapping[str, click.Parameter]) -> str:
    """The command with its global options, which are `own`, in front."""
    from tracker.store.addresses import without_password

    words, front = iter(arguments), ["indelible"]
    behind: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        option = own.get(name)
        (behind if option is None else front).append(without_password(word))
        if isinstance(option, click.Option) and not (equals or option.is_flag):
            front.append(without_password(next(words, option.make_metavar(click.Context(cli)))))
    return shlex.join([*front, *behind])


def _ended(work: Callable[[], object]) -> int:
    """The exit code that a piece of work comes to."""
    try:
        work()
    except (click.Abort, KeyboardInterrupt):
        # CPython ends by the signal after all where it came within an exec, as some imports have;
        # another exec lets it forget that.
        exec("")  # noqa: S102
        return _stopped()
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "indelible"
        return _say(f"{error.format_message()} See '{path} --help'.", 2)
    except click.ClickException as error:
        return _say(error.format_message(), error.exit_code)
    except UserError as error:
        return _say(str(error), 2)
    except Failure as error:
        return _say(str(error), 1)
    except Closed:
        return 1
    return 0


def _stopped() -> int:
    return _say("stopped", 1)


def _say(message: str, code: int) -> int:
    with suppress(Failure, Closed):  # what was written before may not reach its reader either
        sys.stdout.flush()
    click.echo(f"indelible: {escaped(' '.join(message.split()))}", err=True)
    return code
