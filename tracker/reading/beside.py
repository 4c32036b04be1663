"""What is kept beside base models, as rows for the warehouse: `pre` factors, and their costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
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
from tracker.store.artifacts import Artifacts, Damaged

UNREADABLE = (SafetensorError, LookupError, ValueError, TypeError, AttributeError)

Row = dict[str, Any]


def of_base_models(
    artifacts: Artifacts, runs: Iterable[Mapping[str, Any]], tags: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, pa.Table], list[Row]]:
    """The rows of STAGING's `samples` and `costs`, and of `catalogs`, that parts hold.

    Parts that are lost or damaged are left out: `check` tells of them. So are those of versions
    that kept less.

    Args:
        runs: of base models. tags: by run.
    """
    tables = {name: [STAGING[name].empty_table()] for name in ("samples", "costs")}
    catalogs: list[Row] = []
    for run in runs:
        told = tags.get(run["run_id"], {})
        for kind in (PRE_FACTORS, FORECASTS):
            for name in kind.names(told):
                with suppress(Damaged, *UNREADABLE):
                    uri, run_id = run["artifact_uri"], run["run_id"]
                    part = _Part.of(run_id, kind.content(artifacts, uri, run_id, name))
                    found = {"samples": [*part.samples()], "costs": [*part.costs()]}
                    for table, rows in found.items():
                        tables[table] += rows
                    catalogs += part.catalog()
    return {name: pa.concat_tables(parts) for name, parts in tables.items()}, catalogs


@dataclass(frozen=True)
class _Part:
    """A part as it was read, of one kind or the other."""

    run_id: str
    tensors: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any]

    @classmethod
    def of(cls, run_id: str, content: bytes) -> _Part:
        """From the content of its file. Raises one of UNREADABLE."""
        return cls(run_id, load(content), about(content))

    def samples(self) -> Iterator[pa.Table]:
        """A row for each sample and factor."""
        for column in self.about.get(CATALOG, ()):
            more: dict[str, Any] = {"label": self.tensors[LABELS], "sample_path": self._paths}
            more["split_position"] = self.tensors[POSITIONS]
            values = {"factor": column["factor"], "value": self.tensors[column["factor"]]}
            yield self._table("samples", **more, **values)

    @property
    def _paths(self) -> list[str] | str:
        """Of the samples' files; empty where they have none. Raises one of UNREADABLE."""
        paths = self.about.get(PATHS)
        if paths is None:
            return ""
        if len(paths) != len(self.tensors[IDS]):
            raise ValueError("a path for each sample is missing")
        return [str(path) for path in paths]

    def costs(self) -> Iterator[pa.Table]:
        """A row for each sample and thing that was asked of it."""
        for name in sorted(self.tensors):
            if name.startswith(SECONDS):
                asked = name.removeprefix(SECONDS)
                yield self._table("costs", asked=asked, seconds=self.tensors[name])

    def catalog(self) -> list[Row]:
        """The factors, as rows of the catalog."""
        columns = enumerate(self.about.get(CATALOG, ()))
        return [{**column, "run_id": self.run_id, "position": n} for n, column in columns]

    def _table(self, name: str, **columns: Any) -> pa.Table:
        """Rows for a table of STAGING, one a sample; what is no array is the same for all."""
        told = {"run_id": self.run_id, "sample_id": self.tensors[IDS], "at": self.about[AT]}
        size = len(self.tensors[IDS])
        arrays = {
            field: values
            if isinstance(values, (np.ndarray, list))
            else pa.repeat(pa.scalar(values, STAGING[name].field(field).type), size)
            for field, values in (told | columns).items()
        }
        return pa.table(arrays, schema=STAGING[name])
