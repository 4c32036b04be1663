"""What several commands are given: options, and lists of sample ids."""

from __future__ import annotations

from pathlib import Path

import click

from indelible.errors import UserError

MOST_ROWS = 2**31 - 1  # what DuckDB takes in any place for a number of rows

format_option = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print the data; json is a list of objects.",
)

sweep_option = click.option(
    "--sweep",
    default="latest",
    show_default=True,
    metavar="ID",
    help="The sweep to look at ('indelible sweeps' lists them).",
)

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU where there is one.",
)


def read_ids(path: Path) -> list[int]:
    """Sample ids from a file, separated by white space or commas."""
    return parse_ids(path.read_text("utf-8"), str(path))


def parse_ids(text: str, where: str) -> list[int]:
    """Sample ids separated by white space or commas; `where` they come from, for the message."""
    words = text.replace(",", " ").split()
    wrong = next((word for word in words if not word.isdecimal()), None)
    if wrong is not None or not words:
        raise UserError(
            f"{where} holds {'no sample ids' if wrong is None else repr(wrong)}: "
            "it takes whole numbers separated by white space or commas"
        )
    return [int(word) for word in words]
