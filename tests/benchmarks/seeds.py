"""Do the correlations hold on other base models? Five seeds of training, as a table for the docs.

Each cell is the mean of rho over the base models, and its smallest and largest value. Beside them:
how many signs but U's agree with the paper's, and how far GT agrees between base models: under one
seed of unlearning, whose chance they share, under another one each, and of each with itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

from tests.benchmarks.demo import run

SEEDS, SAMPLES, TRAIN = 5, 250, ("train",)
SMALLEST = {"SEEDS": 2, "SAMPLES": 3, "TRAIN": ("train", "--epochs", "1")}
ALGORITHMS = ("ga", "neggrad", "salun", "scrub")
SWEEP = [argument for name in ALGORITHMS for argument in ("--algorithm", name)]
CELLS = """
with cell as (
    select
        f.position, f.phase, c.factor, c.algorithm,
        printf('%+.2f (%+.2f to %+.2f)', avg(c.rho), min(c.rho), max(c.rho))
        || if(count(c.rho) < $seeds, ' ' || count(c.rho) || ' of ' || $seeds, '') as said
    from correlations as c
    join factor_catalog as f using (factor)
    where c.rho is not null and c.population = 'all'
    group by all
)
select * exclude (position)
from (pivot cell on algorithm using first(said) group by position, phase, factor)
order by position
"""
SIGNS = """
select
    algorithm, against,
    string_agg(agreeing || ' of ' || cells, ', ' order by base_seed) as agreeing
from (
    select
        c.algorithm, p.against, b.base_seed,
        count(*) filter (sign(c.rho) = sign(p.paper_rho)) as agreeing, count(c.rho) as cells
    from correlations as c
    join internal.paper_table as p using (algorithm, factor)
    join base_models as b using (base_run_id)
    where c.population = 'all' and not p.is_u
    group by all
)
group by all order by all
"""
AGREEMENT = """
with cell as (
    select algorithm, base_run_id, seed, (base_run_id, seed) as cell, sample_id, gt
    from attempts
    where gt is not null
),
pairs as (
    select
        a.algorithm, (a.algorithm, a.cell, b.cell) as pair, a.gt as x, b.gt as y,
        case
            when a.base_run_id = b.base_run_id then 'one base model, another seed'
            when a.seed = b.seed then 'base models, one seed of unlearning'
            else 'base models, another seed each'
        end as what
    from cell as a
    join cell as b
        on b.algorithm = a.algorithm and b.sample_id = a.sample_id and b.cell > a.cell
),
ranked as (
    select
        algorithm, what, pair,
        twice_centred_rank(x, pair) as x_rank, twice_centred_rank(y, pair) as y_rank
    from pairs
),
found as (
    select algorithm, what, pearson(x_rank, y_rank) as rho
    from ranked group by algorithm, what, pair
),
said as (
    select
        algorithm, what,
        printf('%.2f (%.2f to %.2f)', avg(rho), min(rho), max(rho)) as rho
    from found group by all
)
from (pivot said on what using first(rho) group by algorithm) order by algorithm
"""


def table(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """The rows of a query in Markdown."""
    found = connection.execute(query.replace("$seeds", str(SEEDS)))
    names = [name for name, *_ in found.description or []]
    rows = [names, ["---"] * len(names), *found.fetchall()]
    return "\n".join(
        "| " + " | ".join("" if value is None else str(value) for value in row) + " |"
        for row in rows
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(SEEDS):
            run(folder, *TRAIN, "--seed", str(seed))
            run(folder, "sweep", *SWEEP, "--samples", str(SAMPLES), "--checkpoints", "none")
        run(folder, "load")
        print(f"digits, preset 'digits', {SEEDS} base models, {SAMPLES} samples of each")
        with duckdb.connect(str(folder / "analysis.duckdb"), read_only=True) as connection:
            for query in (CELLS, SIGNS):
                print(f"\n{table(connection, query)}", flush=True)
            models = connection.execute("select base_run_id from base_models").fetchall()
        for (model,) in models:
            again = ("--model", model, "--seed", "1", "--checkpoints", "none")
            run(folder, "sweep", *SWEEP, "--samples", str(SAMPLES), *again)
        run(folder, "load")
        with duckdb.connect(str(folder / "analysis.duckdb"), read_only=True) as connection:
            print(f"\n{table(connection, AGREEMENT)}", flush=True)
