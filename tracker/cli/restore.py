"""Write the weights of unlearned models."""

from __future__ import annotations

import re

from safetensors.torch import save

from analysis.atomic import make_folder, write_atomically
from tracker.cli._session import Session, say
from tracker.commands.keep import Restore
from tracker.reading.listing import member_of
from tracker.store.weights import restore
from unlearning.checkpoints import as_pickled
from unlearning.errors import UserError


def run(session: Session, asked: Restore) -> None:
    """Write a file for each run: by the name of the run where there are several."""
    output = asked.output
    if len(asked.runs) == 1 and output.is_dir():
        raise UserError(f"--output {output} is a folder: of one run give the name of a file")
    with session.reader() as reader:
        found = list(dict.fromkeys(member_of(reader, run) for run in asked.runs))
        paths = [output]
        if len(asked.runs) > 1:
            names = [re.sub(r"[^\w.-]+|^\.+", "-", reader.run(run_id).name) for run_id in found]
            make_folder(output)
            paths = [
                output / f"{name if names.count(name) == 1 else f'{name}-{run_id}'}.safetensors"
                for name, run_id in zip(names, found, strict=True)
            ]
        for run_id, path in zip(found, paths, strict=True):
            state = restore(reader, run_id)
            write_atomically(path, as_pickled(state) if path.suffix == ".pt" else save(dict(state)))
            say(f"wrote {path}")
