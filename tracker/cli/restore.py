"""Write the weights of an unlearned model."""

from __future__ import annotations

from pathlib import Path

import click

from analysis.drafts import write_whole
from tracker.cli._session import Session, pass_session


@click.command()
@click.argument("run_id")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write, in the safetensors format.",
)
@pass_session
def command(session: Session, run_id: str, output: Path) -> None:
    """Write the full weights of the unlearned model of a child run.

    The checkpoint is a difference to the base model; both are verified by their SHA-256. The
    weights come back to the last bit: as float64 where the sweep had --precision float64.

    \b
    Example:
      indelible restore 0123456789abcdef0123456789abcdef --output unlearned.safetensors
    """
    with session.reader() as reader:
        from safetensors.torch import save

        from tracker.record.weights import restore

        content = save(restore(reader, run_id))
    write_whole(output, content)
    click.echo(f"wrote {output}", err=True)
