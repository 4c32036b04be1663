"""Write the weights of unlearned models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analysis.drafts import make_folder, write_whole
from tracker.cli._options import OutputPath
from tracker.cli._session import Session, pass_session
from unlearning.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from tracker.store.read import Reader


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--output",
    type=OutputPath(path_type=Path),
    required=True,
    help="File to write: in the safetensors format, or as torch.load takes it if it ends in .pt. "
    "Of several runs the folder for their files.",
)
@pass_session
def command(session: Session, runs: tuple[str, ...], output: Path) -> None:
    """Write the full weights of the unlearned model of a child run, or of several.

    RUN is its name, such as ga-00042, or its id where several sweeps have one of that name. What
    'indelible unlearn' made is restored by the name or id of its run too. The checkpoint is a
    difference to the base model; both are verified by their SHA-256. The weights come back to the
    last bit: as float64 where the sweep had --precision float64.

    \b
    Example:
      indelible restore ga-00042 --output unlearned.safetensors
      indelible restore ga-00042 ga-00077 --output models
    """
    if len(runs) == 1 and output.is_dir():
        raise UserError(f"--output {output} is a folder: of one run give the name of a file")
    with session.reader() as reader:
        from tracker.reading.listing import member_of
        from tracker.store.weights import restore

        found = [*dict.fromkeys(member_of(reader, run) for run in runs)]
        paths = [output] if len(runs) == 1 else _paths(reader, found, output)
        for run_id, path in zip(found, paths, strict=True):
            write_whole(path, _as_file(restore(reader, run_id), path))
            click.echo(f"wrote {path}", err=True)


def _paths(reader: Reader, run_ids: Sequence[str], folder: Path) -> list[Path]:
    """A file for each run, named by it; with its id where others have that name."""
    names = [re.sub(r"[^\w.-]+|^\.+", "-", reader.run(run_id).name) for run_id in run_ids]
    make_folder(folder)
    return [
        folder / f"{name if names.count(name) == 1 else f'{name}-{run_id}'}.safetensors"
        for name, run_id in zip(names, run_ids, strict=True)
    ]


def _as_file(state: Mapping[str, Tensor], path: Path) -> bytes:
    """A state dict in the format that the file's name says."""
    if path.suffix == ".pt":
        from unlearning.checkpoints import as_pickled

        return as_pickled(state)
    from safetensors.torch import save

    content: bytes = save(dict(state))
    return content
