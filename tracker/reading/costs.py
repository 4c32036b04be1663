"""What was measured beside base models took, as rows for the warehouse."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
from safetensors.numpy import load

from analysis.warehouse import STAGING
from tracker.access.artifacts import Artifacts, Damaged
from tracker.base.parts import AT, FORECASTS, IDS, PRE_FACTORS, SECONDS, Parts
from tracker.reading.samples import UNREADABLE
from tracker.record.records import read_tag


def costs_of(
    artifacts: Artifacts, runs: Iterable[Mapping[str, Any]], tags: Mapping[str, Mapping[str, str]]
) -> pa.Table:
    """The rows of STAGING's `costs`: the seconds of each sample for whatever was asked of it.

    Parts that are lost or damaged, and those of versions that took no time, are left out.

    Args:
        runs: of base models. tags: by run.
    """
    tables = [STAGING["costs"].empty_table()]
    for run in runs:
        told = tags.get(run["run_id"], {})
        for parts in (PRE_FACTORS, FORECASTS):
            for name, says in parts.names(told).items():
                with suppress(Damaged, *UNREADABLE):
                    tables += _rows(artifacts, run, parts, name, says)
    return pa.concat_tables(tables)


def _rows(
    artifacts: Artifacts, run: Mapping[str, Any], parts: Parts, name: str, says: str
) -> Iterator[pa.Table]:
    """A row for each sample and thing asked of one part."""
    content = parts.content(artifacts, run["artifact_uri"], run["run_id"], name)
    part = load(content)
    size = len(part[IDS])
    at = int(read_tag(says).get(AT) or _text(content)[AT])
    for tensor in sorted(part):
        if tensor.startswith(SECONDS):
            columns = {
                "run_id": pa.repeat(run["run_id"], size),
                "asked": pa.repeat(tensor.removeprefix(SECONDS), size),
                "sample_id": part[IDS],
                "seconds": part[tensor],
                "at": pa.repeat(pa.scalar(at, pa.int64()), size),
            }
            yield pa.table(columns, schema=STAGING["costs"])


def _text(content: bytes) -> dict[str, str]:
    """The text that a part's file holds beside the tensors."""
    length = int.from_bytes(content[:8], "little")
    text: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return text
