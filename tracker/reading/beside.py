"""What is kept beside base models, as rows for the warehouse: `pre` factors, and their costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load

from analysis.warehouse import STAGING
from tracker.base.parts import (
    AT,
    CATALOG,
    FORECASTS,
    IDS,
    LABELS,
    PATHS,
    POSITIONS,
    PRE_FACTORS,
    SECONDS,
    about,
)
from tracker.store.files import Artifacts, Damaged
from tracker.store.records import Known

UNREADABLE = (Damaged, SafetensorError, LookupError, ValueError, TypeError, AttributeError)


def rows_beside(artifacts: Artifacts, run: Known) -> Iterator[tuple[str, pa.Table]]:
    """The rows of STAGING's `samples`, `costs` and `catalogs` that the parts of a base model hold.

    Parts that are lost or damaged are left out: `check` tells of them.
    """
    for kind in (PRE_FACTORS, FORECASTS):
        for name in kind.names(run.tags):
            with suppress(*UNREADABLE):
                content = kind.content(artifacts, run.artifact_uri, run.run_id, name)
                yield from list(_part(run.run_id, load(content), about(content)))


def _part(
    run_id: str, tensors: Mapping[str, Any], told: Mapping[str, Any]
) -> Iterator[tuple[str, pa.Table]]:
    """The rows of one part. Raises one of UNREADABLE."""
    ids, columns = tensors[IDS], told.get(CATALOG, ())
    paths: Any = ""  # where the samples have no files
    if PATHS in told:
        paths = [str(path) for path in told[PATHS]]
        if len(paths) != len(ids):
            raise ValueError("a path for each sample is missing")

    def table(name: str, **values: Any) -> pa.Table:
        """Rows, one a sample; what is no array is the same for all."""
        values = {"run_id": run_id, "sample_id": ids, "at": told[AT]} | values
        arrays = {
            field: value
            if isinstance(value, (np.ndarray, list))
            else pa.repeat(pa.scalar(value, STAGING[name].field(field).type), len(ids))
            for field, value in values.items()
        }
        return pa.table(arrays, schema=STAGING[name])

    for column in columns:
        yield (
            "samples",
            table(
                "samples",
                label=tensors[LABELS],
                sample_path=paths,
                split_position=tensors[POSITIONS],
                factor=column["factor"],
                value=tensors[column["factor"]],
            ),
        )
    for name in sorted(tensors):
        if name.startswith(SECONDS):
            seconds = {"asked": name.removeprefix(SECONDS), "seconds": tensors[name]}
            yield "costs", table("costs", **seconds)
    catalog = [{**column, "run_id": run_id, "position": n} for n, column in enumerate(columns)]
    yield "catalogs", pa.Table.from_pylist(catalog, schema=STAGING["catalogs"])
