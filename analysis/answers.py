"""What the warehouse says of one sweep: the rows that report and figures show, and their SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.meanings import SQL
from analysis.statistics import bootstrap_interval
from analysis.warehouse import Warehouse
from analysis.words import MAX_LOSS, Rows, nested
from unlearning.errors import UserError

# By the name that an answer has on the page: the report of the warehouse, and its parameters beside
# the sweep and the limit of damage.
ASKED: dict[str, tuple[str, dict[str, object]]] = {
    **{
        name: (name, {})
        for name in (
            *("sweep", "settings", "statuses", "members", "points", "regimes", "gallery", "agree"),
            *("classes", "ceilings", "class_tests", "strengths", "seed_agreement", "known"),
            *("unknown", "predicted", "flip_calibration", "ladder", "heat_map_repeats", "overall"),
            *("summary", "contradictions", "without_gt", "stops", "audited"),
            *("curves", "bands", "flips"),
        )
    },
    "paper": ("compare", {"against": None, "population": "all"}),
    "paper_agreement": ("compare_algorithms", {"against": None}),
    "heat_map": ("heat_map", {"population": "all"}),
    "heat_map_flipped": ("heat_map", {"population": "flipped"}),
    "heat_map_not_flipped": ("heat_map", {"population": "not_flipped"}),
}
TOP = 6  # samples that are named at either end
MOST = 1000  # samples up to which all are drawn, that the page stays small and quick

Gallery = dict[str, dict[str, Rows]]  # algorithms -> easiest or hardest -> samples


@dataclass(frozen=True)
class Answer:
    """Rows of the warehouse, and the SQL that made them."""

    rows: Rows
    sql: str


@dataclass(frozen=True)
class Answers:
    """Every answer about one sweep, by its name in ASKED.

    Attributes:
        max_loss: percentage points of test accuracy beyond which a flip counts as damage.
    """

    by_name: Mapping[str, Answer]
    max_loss: float = MAX_LOSS

    def rows(self, name: str) -> Rows:
        """The rows of one answer."""
        return self.by_name[name].rows

    @property
    def sweep(self) -> dict[str, Any]:
        """The row of the sweep, with its data set and base model."""
        return self.rows("sweep")[0]

    @property
    def end(self) -> str:
        """The status of attempts that came where they were to end."""
        is_reference = any(row["until"] == "reference" for row in self.rows("sweep"))
        return "at_reference" if is_reference else "flipped"

    @property
    def sample_ids(self) -> list[int]:
        """The samples that the page shows.

        All that were asked for; of more than MOST a regular selection, and those in galleries and
        lists.
        """
        every = sorted(
            {row["sample_id"] for name in ("members", "without_gt") for row in self.rows(name)}
        )
        step = math.ceil(len(every) / MOST) or 1
        remarkable = (*self.rows("gallery"), *self.extremes["hardest"], *self.extremes["easiest"])
        return sorted({*every[::step], *(row["sample_id"] for row in remarkable)})

    @property
    def first_attempts(self) -> dict[int, int]:
        """The place of each sample's first attempt among the rows of `members`, by sample."""
        places: dict[int, int] = {}
        for place, row in enumerate(self.rows("members")):
            places.setdefault(row["sample_id"], place)
        return places

    @property
    def extremes(self) -> dict[str, Rows]:
        """The hardest and the easiest samples over all algorithms, TOP of each; none is at both."""
        rows = self.rows("overall")
        top = min(TOP, (len(rows) + 1) // 2)
        easiest = sorted(rows[top:], key=lambda row: row["from_easiest"])  # of a tie, the others
        return {"hardest": rows[:top], "easiest": easiest[: min(TOP, len(rows) // 2)]}

    @property
    def galleries(self) -> dict[str, Gallery]:
        """The samples at both ends of each factor, by factor.

        Algorithms with the same samples, as for factors known before unlearning, share a panel.
        """
        galleries: dict[str, Gallery] = {}
        for factor, panels in nested(self.rows("gallery"), "factor", "algorithm", "side").items():
            alike: dict[str, list[str]] = {}
            for algorithm, sides in panels.items():
                shown = [(s, row["sample_id"], row["value"]) for s in sides for row in sides[s]]
                alike.setdefault(str(shown), []).append(algorithm)
            are_same = len(alike) == 1 < len(panels)
            galleries[factor] = {
                "all algorithms alike" if are_same else ", ".join(own): panels[own[0]]
                for own in alike.values()
            }
        return galleries


def ask(warehouse: Warehouse, sweep: str, max_loss: float = MAX_LOSS) -> Answers:
    """The answers to everything in ASKED for a sweep.

    Raises UserError if its base model is not in the warehouse.

    Args:
        max_loss: percentage points of test accuracy beyond which a flip counts as damage.
    """
    about(warehouse, sweep)
    found = {
        name: answer(warehouse, report, sweep=sweep, max_loss=max_loss, **parameters)
        for name, (report, parameters) in ASKED.items()
    }
    return Answers(found, max_loss)


def about(warehouse: Warehouse, sweep: str) -> dict[str, Any]:
    """The row of a sweep with its data set and base model.

    Raises UserError if the base model is not in the warehouse.
    """
    found = warehouse.report("sweep", sweep=sweep).records()
    if not found:
        raise UserError(
            f"the base model of sweep {sweep} is not in the store: bring its run back in MLflow, "
            "where it was deleted, and run 'indelible load'"
        )
    return found[0]


def answer(warehouse: Warehouse, report: str, **parameters: object) -> Answer:
    """The rows of a report, and its SQL with the parameters written out, for readers to copy.

    Args:
        parameters: those that the report does not have are left out.
    """
    sql = (SQL / "reports" / f"{report}.sql").read_text("utf-8").strip()
    bound = {name: value for name, value in parameters.items() if f"${name}" in sql}
    for name, value in bound.items():
        literal = "null" if value is None else str(value).lower()
        if isinstance(value, str):
            literal = "'" + value.replace("'", "''") + "'"
        sql = sql.replace(f"${name}", literal)
    return Answer(warehouse.report(report, **bound).records(), sql)


def with_bootstrap(
    warehouse: Warehouse, found: Rows, resamples: int, seed: int, **asked: object
) -> Rows:
    """The rows of the report `correlate` with bootstrap intervals in place of those they have.

    Args:
        asked: the parameters that the report was given.
    """
    pairs = {
        (row["algorithm"], row["factor"]): (row["values"], row["measured"])
        for row in warehouse.report("correlation_pairs", **asked).records()
    }
    replaced = []
    for row in found:
        x, y = pairs.get((row["algorithm"], row["factor"]), ([], []))
        low, high = bootstrap_interval(x, y, resamples, seed) or (None, None)
        by = None if low is None else "bootstrap"
        replaced.append({**row, "ci_low": low, "ci_high": high, "ci_by": by})
    return replaced
