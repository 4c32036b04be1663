"""The command line: what does a command is imported when it is asked for.

Commands and their options are in `tracker.commands`. Modules that begin with an underscore are
shared by the commands.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

import tracker
from tracker.cli._output import DEFAULT_FOLDER, Session, escaped
from tracker.cli.options import ClickCommand
from tracker.commands.table import COMMANDS, GROUPS
from unlearning.errors import Failure, Raised, UserError
from unlearning.naming import nearest
from unlearning.registry import LOGGER

FOLDER = click.Path(path_type=Path)
_option = partial(click.option, show_default=True, show_envvar=True)


class _Commands(click.Group):
    """The commands, in groups."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All commands, in the order of help."""
        return [*COMMANDS]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name. Raises UsageError, with the one that was likely meant."""
        if name not in COMMANDS and not context.resilient_parsing and name[:1] != "-":
            raise click.UsageError(f"No such command '{name}'{nearest(name, COMMANDS)}.", context)
        return ClickCommand(name, COMMANDS[name]) if name in COMMANDS else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with a sentence each, group by group."""
        for title, commands in GROUPS.items():
            docs = {name: " ".join(str(kind.__doc__).split()) for name, kind in commands.items()}
            with formatter.section(title):
                firsts = [(name, doc.partition(". ")[0]) for name, doc in docs.items()]
                formatter.write_dl([(name, f"{first.rstrip('.')}.") for name, first in firsts])


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@_option(
    "--store",
    type=FOLDER,
    default=DEFAULT_FOLDER,
    metavar="DIR",
    help="Folder of the embedded store, the warehouse and the reports.",
)
@_option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    metavar="URI",
    help="MLflow store to log to, instead of the SQLite file in the store's folder.",
)
@_option(
    "--data-dir",
    type=FOLDER,
    default="data",
    envvar="INDELIBLE_DATA_DIR",
    metavar="DIR",
    help="Folder of torchvision's data sets.",
)
@_option(
    "--server-timeout",
    type=click.FloatRange(1, 86_400),
    default=60.0,
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
    told: list[int] = []

    def end(number: int, frame: object) -> None:
        told.append(number)
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, end)
    code = run(sys.argv[1:])
    sys.exit(128 + told[-1] if told else code)


def run(arguments: list[str]) -> int:
    """Run a command; its exit code: 0 done, 1 failed, 2 the user's mistake. One line says which."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # letters that the locale has not
    if "_INDELIBLE_COMPLETE" in os.environ:  # a shell asks at each press of a key
        logging.getLogger(LOGGER).disabled = True
    try:
        cli.main(arguments, prog_name="indelible", standalone_mode=False)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return _ended("stopped", 1)
    except click.UsageError as error:
        path, said = error.ctx.command_path if error.ctx else "indelible", error.format_message()
        name = getattr(error, "option_name", "")
        if any(name in option.opts for option in cli.params):
            said = f"{name} is given before the command: indelible {name} ...{path[9:]} ..."
        return _ended(f"{said} See '{path} --help'.", 2)
    except click.ClickException as error:
        return _ended(error.format_message(), error.exit_code)
    except UserError as error:
        return _ended(str(error), 2)
    except Raised as raised:
        if "--verbose" in arguments:
            click.echo(raised.trace, err=True)
        return _ended(f"{raised}. 'indelible --verbose ...' shows the traceback", 1)
    except Failure as error:
        return _ended(str(error), 1)
    except BrokenPipeError:  # the reader has gone; what is buffered is to fail no second time
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _ended(message: str, code: int) -> int:
    """The exit code, after its one line."""
    with suppress(OSError):
        sys.stdout.flush()
    click.echo(f"indelible: {escaped(' '.join(message.split()))}", err=True)
    return code
