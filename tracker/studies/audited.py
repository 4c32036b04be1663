"""What an audit says, of the log-odds that models came to: attacks and intervals; and its file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
        grids = [_grids(part, ids, models) for part in (unlearned, others)]
        found = [
            _Sample.of(*({score: grid[score][row] for score in grid} for grid in grids))
            for row in range(len(ids))
        ]
        rows = [
            {"algorithm": name, "sample_id": sample} | one.row(sample)
            for sample, one in zip(ids.tolist(), found, strict=True)
        ]
        both.append({"algorithm": name} | _of_all(unlearned, found, rows))
        each += rows
    return both, each


def _grids(part: Any, ids: NDArray[np.int64], models: NDArray[np.int64]) -> dict[str, Floats]:
    """Columns as (samples, models); NaN where there is no such model."""
    place = ids.searchsorted(part["sample_id"]), models.searchsorted(part["model"])
    grids = {}
    for name in ("phi", *SCORES[1:]):
        grids[name] = np.full((len(ids), len(models)), np.nan)
        grids[name][place] = part[name]
    return grids


class _Sample(NamedTuple):
    """What is known of one sample.

    Attributes:
        u, o: phi of models that forgot it, and of models that never saw it.
        ratios: the scores of the likelihood ratio of both.
        wins: by score, whether it is higher for a model that forgot: see `attacks.pooled_auc`.
    """

    u: Floats
    o: Floats
    ratios: tuple[Floats, Floats]
    wins: dict[str, Floats]

    @classmethod
    def of(cls, forgot: Mapping[str, Floats], never: Mapping[str, Floats]) -> _Sample:
        """Args: by name, phi and scores of all models, (models,); NaN for those of other kinds."""
        is_u, is_o = ~np.isnan(forgot["phi"]), ~np.isnan(never["phi"])
        u, o = forgot["phi"][is_u], never["phi"][is_o]
        wins = {name: attacks.wins(forgot[name][:, None], never[name]) for name in SCORES[1:]}
        wins["z"] = attacks.wins(
            forgot["phi"][:, None], never["phi"]
        )  # also where z has no moments
        wins["ratio"] = np.full((len(is_u), len(is_o)), np.nan)
        wins["ratio"][np.ix_(is_u, is_o)] = attacks.ratio_wins(u, o)
        return cls(u, o, attacks.likelihood_ratio(u, o), wins)

    def row(self, seed: int) -> Row:
        """What is said of it. Seed: of random splits."""
        u, o = self.u, self.o
        known = {name: wins[~np.isnan(wins)] for name, wins in self.wins.items()}
        return {
            **{f"auc_{n}": float(known[n].mean()) if len(known[n]) else np.nan for n in SCORES},
            **_rates(*self.ratios),
            "epsilon": attacks.epsilon(u, o),
            "epsilon_cap": attacks.epsilon_cap(len(u), len(o)),
            "klom": attacks.klom(u, o),
            "p": attacks.permutation_p(u, o, seed=seed),
            "models_saw": float(len(u)),
            "models_never_saw": float(len(o)),
        }


def _rates(of_u: Floats, of_o: Floats) -> Row:
    """True positives among scores that are numbers, at 1% and 5% of false positives."""
    u, o = (scores[~np.isnan(scores)] for scores in (of_u, of_o))
    return {f"tpr_at_{k}": attacks.tpr_at(u, o, k / 100) for k in (1, 5)}


def _of_all(part: Any, found: Sequence[_Sample], rows: Sequence[Row]) -> Row:
    """What is said over all samples; intervals are over samples and models."""
    row: Row = {"samples": len(rows)}
    for score in SCORES:
        names = (f"auc_{score}", f"auc_{score}_low", f"auc_{score}_high")
        wins = np.stack([each.wins[score] for each in found])
        row |= zip(names, attacks.pooled_auc(wins), strict=True)
    row |= _rates(*(np.concatenate([each.ratios[k] for each in found]) for k in (0, 1)))
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


def compared(table: pa.Table, rows: Sequence[Row]) -> list[Row]:
    """z of the models that are compared, a row an algorithm, as the report `audited` has them.

    Args:
        table: in the columns of SCHEMA. rows: over all samples, of `evaluated`.
    """
    frame = table.to_pandas()
    frame = frame[frame["is_audited"] & np.isfinite(frame["z"])]
    z = {of: part["z"].to_numpy() for of, part in frame.groupby(["algorithm", "saw"])}
    controls = {"never_saw": z.get((UNTOUCHED, False)), "untouched": z.get((UNTOUCHED, True))}
    names = {name for name, saw in z if saw} - {UNTOUCHED}
    if any(control is None for control in controls.values()):
        return []
    return [
        row | controls | {"forgot": z[row["algorithm"], True]}
        for row in rows
        if row["algorithm"] in names
    ]


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
