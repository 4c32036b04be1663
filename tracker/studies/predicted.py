"""The file of a prediction: a row an algorithm and sample, and what its intervals come from."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.warehouse import STAGING
from tracker.store.files import Artifacts

TAG = "predictions"  # of a prediction's run: the SHA-256 of its file
CALIBRATED_ON = b"calibrated_on"  # in the file's metadata: keys of members, as JSON
SCHEMA = pa.schema([field for field in STAGING["predictions"] if field.name != "run_id"])


@dataclass(frozen=True)
class Predicted:
    """What a prediction says.

    Attributes:
        rows: in the columns of SCHEMA; NULL where the index or the calibration cannot say.
        calibrated_on: keys of the attempts from which the intervals come.
    """

    rows: pa.Table
    calibrated_on: tuple[str, ...] = ()

    def as_file(self) -> bytes:
        """The content of the file, the same for the same prediction."""
        metadata = {CALIBRATED_ON: json.dumps(self.calibrated_on).encode()}
        buffer = io.BytesIO()
        table = self.rows.cast(SCHEMA).replace_schema_metadata(metadata)
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    def staged(self, run_id: str) -> dict[str, pa.Table]:
        """The rows for the warehouse's staging."""
        keys = pa.table({"key": pa.array(self.calibrated_on, pa.string())})
        return {
            "predictions": _of_run(run_id, self.rows).cast(STAGING["predictions"]),
            "calibrations": _of_run(run_id, keys).cast(STAGING["calibrations"]),
        }


def _of_run(run_id: str, table: pa.Table) -> pa.Table:
    bare = table.replace_schema_metadata(None)
    return bare.add_column(0, "run_id", pa.array([run_id] * table.num_rows, pa.string()))


def file_name(sha256: str) -> str:
    """The file of a prediction, by the SHA-256 of its content."""
    return f"predictions-{sha256[:16]}.parquet"


def predicted_file(artifacts: Artifacts, uri: str, tags: Mapping[str, str]) -> bytes:
    """The content of the file of the prediction that a run's tags tell of.

    Raises Damaged if it is lost or is not what was written.
    """
    sha256 = tags.get(TAG, "")
    lost = "what was predicted cannot be graded any more: bring the file back, or delete the run"
    return artifacts.checked(uri, file_name(sha256), sha256, lost)


def read_predicted(artifacts: Artifacts, uri: str, tags: Mapping[str, str]) -> Predicted:
    """The prediction that a run's tags tell of. Raises Damaged as `predicted_file` does."""
    table = pq.read_table(io.BytesIO(predicted_file(artifacts, uri, tags)))
    keys = json.loads((table.schema.metadata or {}).get(CALIBRATED_ON, b"[]"))
    return Predicted(as_table({name: table[name] for name in table.column_names}), tuple(keys))


def as_table(columns: Mapping[str, Sequence[object] | pa.ChunkedArray]) -> pa.Table:
    """Columns as the rows of a prediction; NaN becomes NULL, and a column that is absent is."""
    size = len(next(iter(columns.values())))
    arrays = []
    for field in SCHEMA:
        values = columns.get(field.name, [None] * size)
        if isinstance(values, pa.ChunkedArray):
            arrays.append(values.cast(field.type))
        else:
            arrays.append(pa.array(values, field.type, from_pandas=True))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
