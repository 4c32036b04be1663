"""What the warehouse says of one sweep: the rows that report and figures show, and their SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.rows import Rows, nested
from analysis.statuses import MAX_LOSS
from analysis.warehouse import SQL, Warehouse
from unlearning.errors import UserError

# By the name that an answer has on the page: the report of the warehouse, and its parameters.
ASKED: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (name, {}) for name in ("sweep", "settings", "statuses", "members", "points")},
    **{name: (name, {}) for name in ("regimes", "gallery", "agree", "classes", "ceilings")},
    **{name: (name, {}) for name in ("class_tests", "strengths", "seed_agreement")},
    **{
        name: (name, {}) for name in ("known", "unknown", "predicted", "flip_calibration", "ladder")
    },
    "paper": ("compare", {"against": None, "population": "all"}),
    "paper_agreement": ("compare_algorithms", {"against": None}),
    "heat_map": ("heat_map", {"population": "all"}),
    "heat_map_flipped": ("heat_map", {"population": "flipped"}),
    "heat_map_not_flipped": ("heat_map", {"population": "not_flipped"}),
    "heat_map_repeats": ("heat_map_repeats", {}),
    **{name: (name, {}) for name in ("overall", "summary", "contradictions", "without_gt")},
}
# Those that ask whether an attempt did damage, and so need to know from how much on it did.
OF_DAMAGE = ("members", "predicted", "overall", "summary")
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
    def sweep_id(self) -> str:
        """The run id of the sweep."""
        return str(self.rows("sweep")[0]["sweep_id"])

    @property
    def base_run_id(self) -> str:
        """The run id of the base model."""
        return str(self.rows("sweep")[0]["base_run_id"])

    @property
    def data_fingerprint(self) -> str | None:
        """The fingerprint of the base model's training data; None if it is not known."""
        found: str | None = self.rows("sweep")[0]["data_fingerprint"]
        return found

    @property
    def source(self) -> str:
        """The description of the data set, as the base model has it."""
        return str(self.rows("sweep")[0]["source"])

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
                alike.setdefault(str(_shown(sides)), []).append(algorithm)
            galleries[factor] = {
                "all algorithms alike" if len(names) == len(panels) > 1 else ", ".join(names): (
                    panels[names[0]]
                )
                for names in alike.values()
            }
        return galleries


def ask(warehouse: Warehouse, sweep: str, max_loss: float = MAX_LOSS) -> Answers:
    """The answers to everything in ASKED for a sweep.

    Raises UserError if its base model is not in the warehouse.

    Args:
        max_loss: percentage points of test accuracy beyond which a flip counts as damage.
    """
    about(warehouse, sweep)
    limit = {"max_loss": max_loss}
    return Answers(
        {
            name: answer(
                warehouse, report, sweep=sweep, **parameters, **limit if name in OF_DAMAGE else {}
            )
            for name, (report, parameters) in ASKED.items()
        },
        max_loss,
    )


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
    """The rows of a report, and its SQL with the parameters written out, for readers to copy."""
    sql = (SQL / "reports" / f"{report}.sql").read_text("utf-8").strip()
    for name, value in parameters.items():
        sql = sql.replace(f"${name}", _literal(value))
    return Answer(warehouse.report(report, **parameters).records(), sql)


def _shown(sides: dict[str, Rows]) -> list[tuple[str, int, float]]:
    return [(side, row["sample_id"], row["value"]) for side in sides for row in sides[side]]


def _literal(value: object) -> str:
    if value is None:
        return "null"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value).lower()
