"""The folder that an unlearning hands over: weights, the table, and the record."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from analysis.atomic import make_folder, write_atomically
from tracker.studies import RECORD
from tracker.studies.request_table import TABLE, as_csv
from tracker.studies.unlearn import Forgotten
from tracker.sweep.plan import as_file
from unlearning.checkpoints import as_pickled
from unlearning.errors import UserError

WEIGHTS, PICKLED, PAGE = "unlearned.safetensors", "unlearned.pt", "record.html"
FILES = (WEIGHTS, PICKLED, TABLE, RECORD, PAGE)
KEY = "indelible_unlearning"  # in the metadata of the weights: the key of the requests
TEMPLATE = Path(__file__).parent / "record.html.j2"


def refuse_folder(folder: Path, keys: Collection[str]) -> None:
    """Raise UserError for a folder that has the files of something else; it is made.

    Args:
        keys: of requests whose files may be replaced.

    Raises Failure where it cannot be made.
    """
    make_folder(folder, f"--output {folder}")
    there, known = [name for name in FILES if (folder / name).exists()], None
    with suppress(OSError, SafetensorError), safe_open(folder / WEIGHTS, "pt") as file:
        known = (file.metadata() or {}).get(KEY)
    if there and known not in keys:
        raise UserError(
            f"{folder} has the {there[0]} of something else: give another --output, or move it away"
        )


def record_in(folder: Path) -> dict[str, Any] | None:
    """The record in a folder that was handed over; None in another one.

    Raises UserError where it cannot be read.
    """
    if not (folder / RECORD).is_file():
        return None
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text("utf-8"))
        _ = record["run"], record["model"]["base_run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / RECORD} is no record of an unlearning: {error!r}") from error
    return record


def as_safetensors(state: Mapping[str, Tensor], key: str) -> bytes:
    """A state dict in the safetensors format, with the key of the requests."""
    content: bytes = save({name: t.contiguous() for name, t in state.items()}, {KEY: key})
    return content


def hand_over(folder: Path, done: Forgotten, also: Collection[str] = ()) -> None:
    """Write all files, the weights first: they say whose folder it is.

    Args:
        also: keys of other requests whose files are replaced.

    Raises UserError where another process has taken the folder meanwhile.
    """
    refuse_folder(folder, {done.key, *also})
    template = jinja2.Template(TEMPLATE.read_text("utf-8"), autoescape=True, trim_blocks=True)
    write_atomically(folder / WEIGHTS, as_safetensors(done.state, done.key))
    write_atomically(folder / PICKLED, as_pickled(done.state))
    write_atomically(folder / TABLE, as_csv(done.rows))
    write_atomically(folder / RECORD, as_file(done.record))
    write_atomically(folder / PAGE, template.render(done.record).encode())
