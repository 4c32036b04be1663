"""Commands on the command line: click's options of their fields, help, and completion."""

from __future__ import annotations

import functools
import inspect
import sqlite3
import textwrap
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click

from tracker.commands import NOT_GIVEN, Command, Option, default_of, function, made, options
from tracker.commands.kinds import FLAG, SWITCH
from unlearning import algorithms, architectures, datasets, presets
from unlearning.errors import Failure
from unlearning.naming import LATEST

NOTHING: tuple[object, ...] = (NOT_GIVEN, None, ())  # defaults that help does not show


def flag_of(kind: type[Command], name: str) -> str:
    """How the command line writes the name of a field."""
    known = options(kind)
    return known[name].flag if name in known and known[name].flag else f"--{name.replace('_', '-')}"


def given(command: Command, *names: str) -> list[str]:
    """What was given for options, by the names of their fields, as words of a command line."""
    kind, words = type(command), list[str]()
    for name in names:
        value = getattr(command, name)
        if value != default_of(kind, name):
            is_one = not options(kind)[name].many
            whole = ",".join(map(str, value)) if isinstance(value, tuple) else value
            for each in (whole,) if is_one else value:
                words += [flag_of(kind, name), str(each)]
    return words


class ClickCommand(click.Command):
    """A command of click's for one of ours.

    What does it is imported when it is called, so that help needs nothing heavy.
    """

    def __init__(self, name: str, kind: type[Command]) -> None:
        lines = inspect.cleandoc(kind.__doc__ or "")
        example = textwrap.indent(inspect.cleandoc(kind.example), "  ")
        params = [_param(kind, field, one) for field, one in options(kind).items()]
        help_ = f"{lines}\n\n\b\nExample:\n{example}"
        super().__init__(name, callback=self._do, params=params, help=help_)
        self.kind = kind

    def _do(self, **values: Any) -> None:
        session = click.get_current_context().obj
        given = {name: value for name, value in values.items() if value not in (None, ())}
        spell = functools.partial(flag_of, self.kind)
        command = made(self.kind, given, spell, session.owns)
        try:
            result = command.do(session)
            if command.shows:
                function(command.shows)(session, command, result)
        except KeyboardInterrupt:
            if command.stopped:
                raise Failure(command.stopped) from None
            raise

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that people use, then the others."""
        parts: dict[str, list[tuple[str, str]]] = {"Options": [], "Advanced": []}
        known = options(self.kind)
        for param in self.get_params(context):
            is_advanced = param.name in known and known[param.name].advanced
            if (record := param.get_help_record(context)) is not None:
                parts["Advanced" if is_advanced else "Options"].append(record)
        for title, records in parts.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _param(kind: type[Command], name: str, one: Option) -> click.Parameter:
    """What click takes for one field; the value stays as it is written until `made` reads it."""
    completes = COMPLETIONS.get(name)
    flag, default = flag_of(kind, name), default_of(kind, name)
    if not flag.startswith("-"):
        count = -1 if one.many else 1
        return click.Argument(
            [name], nargs=count, required=False, metavar=flag, shell_complete=completes
        )
    number = f"{default:g}" if isinstance(default, float) else default
    shown = one.shown or ("" if default is False or default in NOTHING else str(number))
    said = f"{one.help}  [default: {shown}]" if shown else one.help
    if one.kind in (FLAG, SWITCH):
        flags = flag if one.kind is FLAG else f"{flag}/--no-{flag[2:]}"
        return click.Option([flags, name], is_flag=True, default=None, help=said)
    return click.Option(
        [flag, name],
        multiple=one.many,
        metavar=one.kind.metavar,
        help=said,
        shell_complete=completes,
    )


# What a shell offers for the beginning of a word. It asks at each press of a key: neither torch,
# MLflow nor DuckDB is imported, and a store is looked into without writing anything.

NAMES = """
    select distinct r.name from runs as r
    join tags as t on t.run_uuid = r.run_uuid and t.key = 'kind' and t.value = ?
    where r.lifecycle_stage = 'active' order by r.start_time desc
"""

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def _runs(kind: str) -> Completion:
    """Completes to `latest`, and to the names of the store's runs of a kind, newest first.

    To no run where the store is no file, or cannot be read.
    """

    def complete(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
        given, names = context.find_root().params, [LATEST]
        if given.get("store") and not given.get("tracking_uri"):
            file = Path(given["store"]).absolute() / "mlflow.db"
            # Immutable: no lock is taken, and no file -wal or -shm is made beside it.
            uri = f"{file.as_uri()}?mode=ro&immutable=1"
            with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as database:
                names += [name for (name,) in database.execute(NAMES, (kind,))]
        return [name for name in names if name.startswith(begun)]

    return complete


def _listed(names: Callable[[], list[str]]) -> Completion:
    """Completes to these names."""
    return lambda context, option, begun: [name for name in names() if name.startswith(begun)]


SWEEPS, ALGORITHMS = _runs("sweep"), _listed(algorithms.names)
COMPLETIONS: dict[str, Completion] = {  # by the names of fields
    **dict.fromkeys(("sweep", "sweeps", "score"), SWEEPS),
    **dict.fromkeys(("algorithm", "algorithms"), ALGORITHMS),
    "model": _runs("base_model"),
    "preset": _listed(presets.names),
    "dataset": _listed(datasets.names),
    "arch": _listed(architectures.every_name),
}
