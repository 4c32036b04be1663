"""The command line: one short module a command, imported when it is asked for.

Modules that begin with an underscore are shared by the commands.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import click

import indelible
from indelible.errors import Failure, UserError
from indelible.tracker.cli._session import Session


class _Commands(click.Group):
    """The commands are the modules beside this one."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All commands, by name."""
        return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of a module of that name."""
        if name not in self.list_commands(context):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{name}").command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default="mlruns",
    show_default=True,
    help="Folder of the embedded store, the warehouse and the reports.",
)
@click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    help="MLflow store to log to, instead of the SQLite file in the store's folder.",
)
@click.option("--verbose", is_flag=True, help="Show tracebacks and what libraries remark.")
@click.version_option(indelible.__version__, prog_name="indelible")
@click.pass_context
def cli(context: click.Context, store: Path, tracking_uri: str | None, verbose: bool) -> None:
    """Find out which training samples are hard to unlearn, and why.

    \b
    Start with:  indelible demo
    """
    context.obj = Session(store, tracking_uri or None, verbose)


def main() -> None:
    """Run a command. Exit code 0 done, 1 failed, 2 the user's mistake; one line says which."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(0)
    except click.Abort:
        sys.exit(_say("stopped", 1))
    except click.ClickException as error:
        sys.exit(_say(error.format_message(), error.exit_code))
    except UserError as error:
        sys.exit(_say(str(error), 2))
    except Failure as error:
        sys.exit(_say(str(error), 1))
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(0)


def _say(message: str, code: int) -> int:
    click.echo(f"indelible: {' '.join(message.split())}", err=True)
    return code
