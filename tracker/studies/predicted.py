"""A prediction as it is kept: a row an algorithm and sample, and what its intervals come from."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.warehouse import STAGING
from tracker.store.files import Artifacts
from tracker.sweep.plan import FLIP

TAG = "predictions"  # of a prediction's run: the SHA-256 of its file
CALIBRATED_ON = b"calibrated_on"  # in the file's metadata: keys of members, as JSON
SCHEMA = pa.schema([field for field in STAGING["predictions"] if field.name != "run_id"])


@dataclass(frozen=True)
class Prediction:
    """What a prediction says.

    Attributes:
        run_id: of its run.
        rows: in the columns of SCHEMA; NULL where the index or the calibration cannot say.
        calibrated_on: keys of the attempts that gave the intervals.
        until: what ends the attempts: FLIP or REFERENCE.
    """

    run_id: str
    rows: pa.Table
    calibrated_on: tuple[str, ...] = ()
    until: str = FLIP

    @property
    def spoilt(self) -> int:
        """How many of its rows no sweep can grade.

        Their attempts were made before it, or it was calibrated on them.
        """
        keys = {*self.calibrated_on}
        return sum(row["attempted"] or row["key"] in keys for row in self.rows.to_pylist())

    def ranked(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each algorithm, by its name, the hardest first, with their rank.

        Rank 1 has the lowest GT or, of attempts until the reference, the most points lost; ties
        get their average rank, and those without the number come last.
        """
        rows, found = self.rows.drop_columns(["attempted"]), {}
        for name in pc.unique(rows["algorithm"]).to_pylist():
            own = rows.filter(pc.equal(rows["algorithm"], name))
            easier = own["gt"] if self.until == FLIP else pc.negate(own["points_lost"])
            rank = pa.array(easier.to_pandas().rank(), pa.float64(), from_pandas=True)
            by_rank = [("rank", "ascending"), ("sample_id", "ascending")]
            found[name] = own.add_column(1, "rank", rank).sort_by(by_rank).to_pylist()
        return found

    def staged(self) -> dict[str, pa.Table]:
        """The rows for the warehouse's staging."""
        keys = pa.table({"key": pa.array(self.calibrated_on, pa.string())})
        tables = {"predictions": self.rows, "calibrations": keys}
        return {
            name: table.append_column("run_id", pa.array([self.run_id] * len(table), pa.string()))
            .select(STAGING[name].names)
            .cast(STAGING[name])
            for name, table in tables.items()
        }


def as_table(columns: Mapping[str, Any]) -> pa.Table:
    """Columns as the rows of a prediction; NaN and columns that are absent become NULL."""
    nothing = [None] * len(columns["sample_id"])
    arrays = [pa.array(columns.get(f.name, nothing), f.type, from_pandas=True) for f in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def as_file(rows: pa.Table, calibrated_on: tuple[str, ...]) -> bytes:
    """The content of the file, the same for the same prediction."""
    metadata = {CALIBRATED_ON: json.dumps(calibrated_on).encode()}
    buffer = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata(metadata), buffer, compression="zstd")
    return buffer.getvalue()


def file_name(sha256: str) -> str:
    """The file of a prediction, by the SHA-256 of its content."""
    return f"predictions-{sha256[:16]}.parquet"


def predicted_file(artifacts: Artifacts, uri: str, tags: Mapping[str, str]) -> bytes:
    """The content of the file that a prediction's tags tell of.

    Raises Damaged if it is lost or is not what was written.
    """
    sha256 = tags.get(TAG, "")
    lost = "what was predicted cannot be graded any more: bring the file back, or delete the run"
    return artifacts.checked(uri, file_name(sha256), sha256, lost)


def read_predicted(
    artifacts: Artifacts, uri: str, run_id: str, tags: Mapping[str, str]
) -> Prediction:
    """The prediction that a run's tags tell of. Raises Damaged as `predicted_file` does."""
    table = pq.read_table(io.BytesIO(predicted_file(artifacts, uri, tags)))
    keys = json.loads(table.schema.metadata[CALIBRATED_ON])
    return Prediction(run_id, table.replace_schema_metadata(None), tuple(keys))
