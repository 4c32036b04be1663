"""Questions to a store's warehouse, which is brought up to date before each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tracker.api.place import Place
from unlearning.errors import UserError

if TYPE_CHECKING:
    from analysis.warehouse import Table

Population = Literal["all", "flipped", "not_flipped"]


class Questions:
    """What can be asked of the attempts in a store, with answers that stay as they are.

    Each answer is a DuckDB relation in memory: `.df()` gives it to pandas, `.to_arrow_table()` to
    Arrow, `.fetchall()` to Python, and `.filter()`, `.order()` and `.limit()` ask on. It is
    read-only and has no access to files.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def sql(self, query: str) -> Table:
        """The answer to a query over the warehouse; `indelible schema` says what can be asked.

        Args:
            query: in DuckDB's SQL.

        Raises:
            UserError: with DuckDB's reason, or where there is no store.

        Example:
            >>> store.sql("select algorithm, avg(steps) from outcomes group by algorithm").df()
        """
        from analysis.warehouse import asked

        with self._place.failing(), self._place.warehouse() as warehouse:
            return asked(warehouse, query)

    def outcomes(self, sweep: str | None = None) -> Table:
        """The relation `outcomes`: a row an attempt, with its status, steps and GT.

        Args:
            sweep: only those of this one, by its name, id or the beginning of its id.

        Example:
            >>> store.outcomes().filter("algorithm = 'ga'").order("gt").df()
        """
        return self._relation("outcomes", sweep)

    def attempts(self, sweep: str | None = None) -> Table:
        """The relation `attempts`: the outcomes with all else that is known of each.

        Among it are the files of samples, settings, and what the test set lost.

        Args:
            sweep: only those of this one.

        Example:
            >>> store.attempts("latest").filter("is_damaged").df()
        """
        return self._relation("attempts", sweep)

    def difficulty(self, sweep: str | None = None) -> Table:
        """The relation `difficulty`: the ranks of each sample by GT; rank 1 is the hardest.

        Args:
            sweep: only those of this one.

        Example:
            >>> store.difficulty("latest").order("difficulty_rank").limit(5).df()
        """
        return self._relation("difficulty", sweep)

    def correlations(
        self, sweep: str | None = None, population: Population | None = "all"
    ) -> Table:
        """The relation `correlations`: Spearman's rho of every factor with GT.

        Args:
            sweep: only those of this one.
            population: all attempts with a GT, those that flipped, or those that did not; None for
                the rows of each.

        Example:
            >>> store.correlations("latest").filter("p_holm < 0.05").df()
        """
        of = "" if population is None else f"population = '{_checked(population)}'"
        return self._relation("correlations", sweep, of)

    def _relation(self, name: str, sweep: str | None, condition: str = "") -> Table:
        """A relation of the warehouse, or its rows of one sweep."""
        from analysis.warehouse import asked

        with self._place.failing(), self._place.warehouse() as warehouse:
            conditions = [condition] if condition else []
            if sweep is not None:
                conditions.append(f"sweep_id = '{warehouse.sweep_id(sweep)}'")
            where = f" where {' and '.join(conditions)}" if conditions else ""
            return asked(warehouse, f"select * from {name}{where}")  # noqa: S608 - names and ids


def _checked(population: str) -> str:
    if population not in ("all", "flipped", "not_flipped"):
        raise UserError(
            f"the population is {population!r}: choose all, flipped, not_flipped or None"
        )
    return population
