"""What an audit says, of the log-odds that models came to: attacks and intervals; and its file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis import attacks
from analysis.statistics import Floats
from analysis.warehouse import STAGING
from tracker.store.files import Artifacts

UNTOUCHED, NEVER_SAW = "untouched", "never_saw"  # controls, beside the algorithms
TAG = "audited"  # of an audit's run: the SHA-256 of its file
SCHEMA = pa.schema([field for field in STAGING["audit_phi"] if field.name != "run_id"])
SCORES = ("ratio", "z", "copies_z", "neighbours_z")  # by each of them there is an AUC

Row = dict[str, Any]


def evaluated(table: pa.Table) -> tuple[list[Row], list[Row]]:
    """A row for each algorithm and control over all samples, and one for each of them and sample.

    Args:
        table: in the columns of SCHEMA.
    """
    frame = table.to_pandas()
    frame = frame[frame["is_audited"]]
    never = frame[(frame["algorithm"] == UNTOUCHED) & ~frame["saw"]]
    models = np.sort(frame["model"].unique())
    half = np.isin(never["model"], models[::2])
    pairs = {name: (of[of["saw"]], never) for name, of in frame.groupby("algorithm", sort=False)}
    pairs[NEVER_SAW] = never[half], never[~half]
    ids, both, each = np.unique(frame["sample_id"]), list[Row](), list[Row]()
    for name, (unlearned, others) in pairs.items():
        u, o = (_grids(part, ids, models) for part in (unlearned, others))
        rows = [_of_sample(name, s, row, u, o) for row, s in enumerate(ids.tolist())]
        both.append(_of_all(name, unlearned, u, o, rows))
        each += rows
    return both, each


def _grids(part: Any, ids: NDArray[np.int64], models: NDArray[np.int64]) -> dict[str, Floats]:
    """Columns as (samples, models); NaN where there is no such model."""
    place = ids.searchsorted(part["sample_id"]), models.searchsorted(part["model"])
    grids = {}
    for name in ("phi", "z", "copies_z", "neighbours_z"):
        grids[name] = np.full((len(ids), len(models)), np.nan)
        grids[name][place] = part[name]
    return grids


def _of_sample(name: str, sample: int, row: int, u: dict[str, Floats], o: dict[str, Floats]) -> Row:
    """What is said of one sample; the scores of the likelihood ratio become a part of the grids."""
    known_u, known_o = (~np.isnan(of["phi"][row]) for of in (u, o))
    a, b = u["phi"][row][known_u], o["phi"][row][known_o]
    of_u, of_o = attacks.likelihood_ratio(a, b)
    for grid, known, scores in ((u, known_u, of_u), (o, known_o, of_o)):
        grid.setdefault("ratio", np.full_like(grid["phi"], np.nan))[row][known] = scores
    told = {score: (_known(u[score][row]), _known(o[score][row])) for score in SCORES}
    return {
        "algorithm": name,
        "sample_id": sample,
        **{f"auc_{score}": attacks.auc(*both) for score, both in told.items()},
        **{f"tpr_at_{k}": attacks.tpr_at(*told["ratio"], k / 100) for k in (1, 5)},
        "epsilon": attacks.epsilon(a, b),
        "epsilon_cap": attacks.epsilon_cap(min(len(a), len(b))),
        "klom": attacks.klom(a, b),
        "p": attacks.permutation_p(a, b, seed=sample),
        "models_saw": float(len(a)),
        "models_never_saw": float(len(b)),
    }


def _known(scores: Floats) -> Floats:
    """Those that are numbers."""
    return scores[~np.isnan(scores)]


def _of_all(
    name: str, part: Any, u: dict[str, Floats], o: dict[str, Floats], rows: Sequence[Row]
) -> Row:
    """What is said over all samples; intervals are over samples and models."""
    row: Row = {"algorithm": name, "samples": len(rows)}
    for score in SCORES:
        names = (f"auc_{score}", f"auc_{score}_low", f"auc_{score}_high")
        row |= zip(names, attacks.bootstrap_auc(u[score], o[score]), strict=True)
    of_u, of_o = (_known(grid["ratio"]) for grid in (u, o))
    row |= {f"tpr_at_{k}": attacks.tpr_at(of_u, of_o, k / 100) for k in (1, 5)}
    epsilons, caps, kloms, p = (
        np.array([of[column] for of in rows]) for column in ("epsilon", "epsilon_cap", "klom", "p")
    )
    is_within = (part["z"].abs() <= part["z_limit"]).where(part["z"].notna())
    return row | {
        "epsilon": float(np.nanmean(epsilons)),
        "epsilon_cap": float(np.nanmean(caps)),
        "separated": float((epsilons == attacks.CAP).mean()),
        "klom": float(np.nanmean(kloms)),
        "significant": float((p <= 0.05).mean()),
        "forgotten": float(is_within.mean()),
        "points_lost": float(part["points_lost"].mean()),
        "worst_points_lost": float(part["points_lost"].max()),
        "steps": float(part["steps"].mean()),
    }


# Files


def as_file(table: pa.Table) -> bytes:
    """The content of the file of an audit."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def file_name(sha256: str) -> str:
    """The file of an audit, by the SHA-256 of its content."""
    return f"audit-{sha256[:16]}.parquet"


def audited_file(artifacts: Artifacts, uri: str, tags: Mapping[str, str]) -> bytes:
    """The content of the file that an audit's tags tell of. Raises Damaged if it is not that."""
    sha256 = tags.get(TAG, "")
    lost = "delete the run, and the same audit makes it again"
    return artifacts.checked(uri, file_name(sha256), sha256, lost)


def read_audited(artifacts: Artifacts, uri: str, tags: Mapping[str, str]) -> pa.Table:
    """The rows of an audit, in the columns of SCHEMA. Raises Damaged as `audited_file` does."""
    return pq.read_table(io.BytesIO(audited_file(artifacts, uri, tags)))
