"""The `pre` factors that are kept beside base models, as rows for the warehouse."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load

from analysis.warehouse import STAGING
from tracker.access.artifacts import Artifacts, Damaged
from tracker.base.parts import AT, CATALOG, IDS, LABELS, POSITIONS, PRE_FACTORS
from tracker.record.records import read_tag

UNREADABLE = (SafetensorError, LookupError, ValueError, TypeError, AttributeError)


def of_base_models(
    artifacts: Artifacts, runs: Iterable[Mapping[str, Any]], tags: Mapping[str, Mapping[str, str]]
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The rows of STAGING's `samples`, and of `catalogs`, that the parts of base models hold.

    Parts that are lost or damaged are left out: `check` tells of them.

    Args:
        runs: of base models. tags: by run.
    """
    tables, catalogs = [STAGING["samples"].empty_table()], list[dict[str, Any]]()
    for run in runs:
        run_id, told = run["run_id"], tags.get(run["run_id"], {})
        for name, says in PRE_FACTORS.names(told).items():
            at = read_tag(says).get(AT, "")
            if not at.isdecimal():  # of a version that kept less
                continue
            with suppress(Damaged, *UNREADABLE):
                content = PRE_FACTORS.content(artifacts, run["artifact_uri"], run_id, name)
                catalog = _catalog(content)
                tables.append(_rows(run_id, int(at), content, catalog))
                catalogs += [
                    {**column, "run_id": run_id, "position": position}
                    for position, column in enumerate(catalog)
                ]
    return pa.concat_tables(tables), catalogs


def _catalog(content: bytes) -> list[dict[str, str]]:
    """The factors of a part, as rows of the catalog."""
    length = int.from_bytes(content[:8], "little")
    catalog: list[dict[str, str]] = json.loads(
        json.loads(content[8 : 8 + length])["__metadata__"][CATALOG]
    )
    return catalog


def _rows(run_id: str, at: int, content: bytes, catalog: list[dict[str, str]]) -> pa.Table:
    """A row for each sample and factor of a part."""
    part = load(content)
    size = len(part[IDS])
    return pa.concat_tables(
        pa.table(
            {
                "run_id": pa.repeat(run_id, size),
                "sample_id": part[IDS],
                "split_position": part[POSITIONS],
                "label": part[LABELS],
                "factor": pa.repeat(column["factor"], size),
                "value": part[column["factor"]],
                "at": pa.repeat(pa.scalar(at, pa.int64()), size),
            },
            schema=STAGING["samples"],
        )
        for column in catalog
    )
