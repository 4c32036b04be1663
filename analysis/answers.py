"""What the warehouse says of one sweep: the rows that report and figures show, and their SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.rows import Rows, nested
from analysis.warehouse import SQL, Warehouse
from unlearning.errors import UserError

# By the name that an answer has on the page: the report of the warehouse, and its parameters.
ASKED: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (name, {}) for name in ("sweep", "settings", "statuses", "members", "points")},
    **{name: (name, {}) for name in ("regimes", "gallery", "agree", "classes", "ceilings")},
    **{name: (name, {}) for name in ("class_tests", "strengths")},
    **{
        name: (name, {}) for name in ("known", "unknown", "predicted", "flip_calibration", "ladder")
    },
    "paper": ("compare", {"against": None, "population": "all"}),
    "paper_agreement": ("compare_algorithms", {"against": None}),
    "heat_map": ("heat_map", {"population": "all"}),
    "heat_map_flipped": ("heat_map", {"population": "flipped"}),
    "heat_map_not_flipped": ("heat_map", {"population": "not_flipped"}),
    "heat_map_repeats": ("heat_map_repeats", {}),
    "hardest": ("rank_overall", {"easiest": False, "top": 10}),
    "easiest": ("rank_overall", {"easiest": True, "top": 10}),
}
MOST = 1500  # samples up to which all are drawn, that the page stays small and quick

Gallery = dict[str, dict[str, Rows]]  # algorithms -> easiest or hardest -> samples


@dataclass(frozen=True)
class Answer:
    """Rows of the warehouse, and the SQL that made them."""

    rows: Rows
    sql: str


@dataclass(frozen=True)
class Answers:
    """Every answer about one sweep, by its name in ASKED."""

    by_name: Mapping[str, Answer]

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

        All that have a GT; of more than MOST a regular selection, and those in galleries and lists.
        """
        every = sorted({row["sample_id"] for row in self.rows("members")})
        step = math.ceil(len(every) / MOST) or 1
        named = ("gallery", "hardest", "easiest")
        remarkable = (row["sample_id"] for name in named for row in self.rows(name))
        return sorted({*every[::step], *remarkable})

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


def ask(warehouse: Warehouse, sweep: str) -> Answers:
    """The answers to everything in ASKED for a sweep.

    Raises UserError if its base model is not in the warehouse.
    """
    about(warehouse, sweep)
    return Answers(
        {
            name: answer(warehouse, report, sweep=sweep, **parameters)
            for name, (report, parameters) in ASKED.items()
        }
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
