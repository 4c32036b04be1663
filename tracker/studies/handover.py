"""The folder that an unlearning hands over: weights, the table, and a note on what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import jinja2
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from analysis.atomic import make_folder, write_atomically
from tracker.base.base_models import BaseRun
from tracker.studies.request_table import TABLE, as_csv
from tracker.studies.requests import Requests
from tracker.studies.unlearn import Forgotten
from unlearning.checkpoints import as_pickled
from unlearning.errors import UserError
from unlearning.naming import counted

WEIGHTS, PICKLED, README = "unlearned.safetensors", "unlearned.pt", "README.md"
FILES = (WEIGHTS, PICKLED, TABLE, README)
KEY = "indelible_unlearning"  # in the metadata of the weights: the key of the requests
NOTE = Path(__file__).parent / "handover.md.j2"


def refuse_folder(folder: Path, key: str) -> None:
    """Raise UserError for a folder that has the files of something else; it is made.

    Raises Failure where it cannot be.
    """
    make_folder(folder, f"--output {folder}")
    there, known = [name for name in FILES if (folder / name).exists()], None
    with suppress(OSError, SafetensorError), safe_open(folder / WEIGHTS, "pt") as file:
        known = (file.metadata() or {}).get(KEY)
    if there and known != key:
        raise UserError(
            f"{folder} has the {there[0]} of something else: give another --output, or move it away"
        )


def as_safetensors(state: Mapping[str, Tensor], key: str) -> bytes:
    """A state dict in the safetensors format, with the key of the requests."""
    content: bytes = save({name: t.contiguous() for name, t in state.items()}, {KEY: key})
    return content


def hand_over(folder: Path, base_run: BaseRun, requests: Requests, done: Forgotten) -> None:
    """Write all files, the weights first: they say whose folder it is.

    Raises UserError where another process has taken the folder meanwhile.
    """
    refuse_folder(folder, done.key)
    note = jinja2.Template(NOTE.read_text("utf-8"), keep_trailing_newline=True).render(
        asked=counted(len(done.rows), "training sample"),
        base=base_run,
        requests=requests,
        done=done,
        said=done.metrics,
        numbers=json.dumps(dict(sorted(done.metrics.items())), indent=1),
    )
    write_atomically(folder / WEIGHTS, as_safetensors(done.state, done.key))
    write_atomically(folder / PICKLED, as_pickled(done.state))
    write_atomically(folder / TABLE, as_csv(done.rows))
    write_atomically(folder / README, note.encode())
