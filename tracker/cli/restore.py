"""Write the weights of an unlearned model."""

from __future__ import annotations

from pathlib import Path

import click

from analysis.drafts import write_whole
from tracker.cli._session import Session, pass_session


@click.command()
@click.argument("run")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write, in the safetensors format.",
)
@pass_session
def command(session: Session, run: str, output: Path) -> None:
    """Write the full weights of the unlearned model of a child run.

    RUN is its name, such as ga-00042, or its id where several sweeps have one of that name.
    The checkpoint is a difference to the base model; both are verified by their SHA-256. The
    weights come back to the last bit: as float64 where the sweep had --precision float64.

    \b
    Example:
      indelible restore ga-00042 --output unlearned.safetensors
    """
    with session.reader() as reader:
        from safetensors.torch import save

        from tracker.reading.listing import member_of
        from tracker.record.weights import restore

        content = save(restore(reader, member_of(reader, run)))
    write_whole(output, content)
    click.echo(f"wrote {output}", err=True)
