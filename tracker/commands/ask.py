"""Commands that ask: what the warehouse knows of sweeps, and what there is to sweep with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tracker.commands import Spell, option
from tracker.commands.kinds import (
    FLAG,
    LAST_SEED,
    SIZE,
    Kind,
    accepted,
    choice,
    handle,
    path,
    real,
    text,
    whole,
)
from tracker.commands.shared import Limited, OfSweep, Printed
from unlearning.errors import UserError
from unlearning.naming import LATEST

READINGS = ("set_sizes", "mean_ratio", "one")  # of lambda, the weight of utility in GT
RANKED_BY = ("gt", "z", "points_lost")  # samples
TARGETS = ("gt", "z", "points_lost", "relearn_steps", "unlearning_gap", "auc")  # of an attempt
PAPERS = ("svhn", "mnist", "cifar10")  # the data sets of the paper's Table 1
DAY = 24 * 3600
PORT = 5000  # where `indelible ui` serves, if nothing else is said

LAMBDAS = Kind(
    lambda value: value if value in READINGS else real(above=0).read(value),
    f"{', '.join(READINGS)}, or a number above 0",
    "|".join((*READINGS, "X")),
    "str | float",
)
URL = Kind(
    lambda value: accepted(value.startswith(("http://", "https://")), value),
    "an address that begins with http:// or https://",
    "URL",
    "str",
)


class Rank(Printed, OfSweep):
    """List samples by difficulty: rank 1 is the hardest.

    The hardest sample has the smallest GT (ground-truth difficulty score), and its percentile is
    near 100. Samples with the same GT are tied and share their average rank; where GT is 0 they are
    shown in the order of f, how far the probability of their label fell: the less, the harder.
    Regime is which of its two aims bounds GT, 'utility' or 'forgetting'.

    By z the hardest are the most remembered: z says how far the unlearned model stands above models
    that never saw the sample, in their standard deviations, and the verdict whether that is within
    the middle 90% of these (forgotten). It takes 'indelible train --references'. By points_lost the
    hardest are those that cost the most test accuracy.

    Without --algorithm samples are ordered by their mean percentile of difficulty over the sweep's
    algorithms, and the columns are their ranks with each. By GT algorithms do not count whose order
    is not known to stay under another seed of unlearning; by z and points_lost that is not looked
    at.
    """

    does = "tracker.api.answers:rank"
    shows = "tracker.cli.ask:rank"
    example = "indelible rank --algorithm salun --top 20"

    algorithm: str | None = option(text("NAME"), "Rank for one algorithm, not over all of them.")
    by: str = option(choice(*RANKED_BY), "What makes a sample hard.", RANKED_BY[0])
    top: int = option(whole(), "How many samples.", 10)
    easiest: bool = option(FLAG, "The easiest samples instead of the hardest.")


class Correlate(Printed, OfSweep):
    """Correlate every factor with GT, or another target, by Spearman's rho.

    GT is the ground-truth difficulty score. --target takes something else of the attempts that may
    be called hard: z, where the network stands among those that never saw the sample (high: it is
    remembered); points_lost, of test accuracy (high); relearn_steps, until fine-tuning brings the
    sample back (few); unlearning_gap, how far it is from a network without the sample (high); auc,
    how far an audit tells models that forgot the sample from those that never saw it, by the
    likelihood ratio (high). Each is there where it was measured.

    --cells says what the table holds for each factor and
    algorithm: rho with stars for p-values that Holm's correction leaves small; its p-value, exact
    up to nine members; its 95% interval (Bonett & Wright, or a jackknife where both many members
    flipped and many did not, or by --bootstrap over the samples), which holds for one base model
    and one seed; rho given the initial margin (partial); or the mean of the classes' own rho
    (within). Where sweeps repeat this one under other seeds, the last rows are ceilings: the most
    to expect of a factor that is known before unlearning, or of one that does not even look at the
    base model. csv and json have all of it, a row a factor and algorithm.
    """

    does = "tracker.cli.correlate:run"
    example = "indelible correlate --population flipped --cells interval"
    needs = (("seed", "bootstrap"),)

    target: str = option(
        choice(*TARGETS), "What of an attempt the factors may explain.", TARGETS[0]
    )
    population: str = option(
        choice("all", "flipped", "not_flipped"), "Members whose prediction flipped or not.", "all"
    )
    lam: str | float = option(
        LAMBDAS, "Weight of utility in GT: a number, or by the paper.", READINGS[0], flag="--lambda"
    )
    cells: str | None = option(
        choice("rho", "p", "interval", "partial", "within"),
        "What the table says of each rho.",
        shown="rho, or interval with --bootstrap",
        on="line",
    )
    bootstrap: int | None = option(whole(100, 100_000), "Intervals from N resamples.")
    seed: int = option(whole(0, LAST_SEED), "Random seed of the resampling.", 0)

    def check(self, spell: Spell) -> None:
        """Refuse a lambda for what is not made of it."""
        super().check(spell)
        if self.target != TARGETS[0] and self.lam != READINGS[0]:
            raise UserError(f"{spell('lam')} has no effect with {spell('target')} {self.target}")


class Sample(Printed, OfSweep):
    """Show one training sample: what became of it, and its factors.

    A table has the factors in which it stands out before unlearning. The percentile of a factor is
    the share of the sweep's samples whose value is lower, ties counted half; on a terminal it is
    red where the sample is at the hard end of the factor. Its image is written into the store's
    folder. csv and json have a row an algorithm, with all factors as columns.
    """

    does = "tracker.api.answers:sample"
    shows = "tracker.cli.sample:sample"
    example = "indelible sample 42 --format json"

    sample_id: int = option(whole(0), "Id of the sample.", required=True, flag="SAMPLE_ID")
    all: bool = option(FLAG, "Tables of all factors, predictions and links.", on="line")

    def check(self, spell: Spell) -> None:
        """Refuse what csv and json have by themselves."""
        super().check(spell)
        if self.all and self.style != "table":
            raise UserError(f"{spell('all')} has no effect: {self.style} has all factors already")


class Agree(Printed, OfSweep):
    """Say how far the algorithms agree on which samples are hard.

    For all of them Kendall's W, corrected for ties (1: the same order, 0: none in common); for each
    two Spearman's rho of their GT (ground-truth difficulty score), and how many of the hardest
    tenth (top) they have in common, beside the number to expect by chance.
    """

    does = "tracker.cli.ask:agree"
    example = "indelible agree --format csv"


class Reliability(Printed):
    """Say how far GT agrees with itself under other seeds.

    A row for each algorithm, with its settings, that was repeated: with other seeds of unlearning
    from one base model, or from base models of other seeds. GT is the ground-truth difficulty
    score.

    Mean rho is Spearman's rho of GT between two repeats, over all pairs of them. Its square root,
    the ceiling, is the highest rho with one measurement of GT that can be expected: of factors that
    are known before unlearning, where the seed of unlearning was varied, and of factors that do not
    look at the base model, where that was varied. Both have 95% intervals by bootstrap, over the
    samples and, with four repeats or more, over the repeats too. Do not use a ceiling that is not
    distinguishable from 0.

    Spearman-Brown is the reliability of the mean of GT over all repeats, split half the same from
    two halves of them, and icc is ICC(2,1).
    """

    does = "tracker.cli.ask:reliability"
    example = "indelible reliability --format json"


class Compare(Printed, OfSweep):
    """Compare correlations: two sweeps, or one with the paper's.

    Of two sweeps: rho of each factor in both, for each algorithm that both have, and how much
    larger it is in the second, with an interval.

    Without them the sweep of --sweep beside the 108 correlations of the paper's Table 1 (Rizwan et
    al. 2024), over all samples, and over those that flipped: the paper does not say which it takes.
    For each algorithm: how many signs agree, and how many would by chance; how many of our 95%
    intervals exclude the paper's value; and Spearman's rho of our rho with the paper's.
    """

    does = "tracker.cli.correlate:compare"
    example = """
        indelible compare --against svhn
        indelible compare ga-100-samples ga-200-samples
        """
    exclusive = (("sweeps", "against"), ("sweeps", "sweep"))

    sweeps: tuple[str, ...] = option(handle("Sweep"), "Two sweeps.", flag="[A B]", many=True)
    against: str | None = option(
        choice(*PAPERS), "The paper's data set.", shown="the sweep's own, or all three"
    )

    def check(self, spell: Spell) -> None:
        """Refuse others than two sweeps."""
        super().check(spell)
        if len(self.sweeps) not in (0, 2):
            raise UserError(f"{len(self.sweeps)} given: name two sweeps, or none for the paper")


class Written(OfSweep, Limited):
    """What is written of a sweep, and where."""

    output: Path | None = option(
        path("DIR"), "Folder to write into.", shown="'report' or 'figures' in the store's folder"
    )
    log: bool = option(FLAG, "Also put it into MLflow, with the sweep.")


class Report(Written):
    """Write the HTML report of a sweep and print its path."""

    does = "tracker.api.pages:report"
    shows = "tracker.cli.ask:report"
    example = "indelible report --output my-report"

    ui: str | None = option(
        URL, "The MLflow UI that its links lead to.", shown="where 'indelible ui' serves it"
    )


class Figures(Written):
    """Write the figures of a sweep and print their folder.

    A file each, the dozen that a paper needs: the correlations, what was known beforehand, the
    probability by step, samples and factors as wholes, and the strongest factors.
    """

    does = "tracker.api.drawing:figures"
    shows = "tracker.cli.ask:figures"
    example = "indelible figures --format pdf --output my-figures"

    kind: Literal["png", "pdf", "svg"] = option(
        choice("png", "pdf", "svg"), "What kind of files.", "png", flag="--format"
    )
    every: bool = option(
        FLAG,
        "Also each factor against GT (ground-truth difficulty score), and its samples.",
        flag="--all",
    )


class Sql(Printed):
    """Run a read-only SQL query over the warehouse.

    It has no access to files. 'indelible schema' says what can be asked. Rows are printed while the
    query runs.
    """

    does = "tracker.cli.sql:run"
    example = """
        indelible sql "select sweep, algorithm, avg(steps) from attempts group by all"
        indelible sql "from attempts" --output attempts.parquet
        """
    exclusive = (*(("explain", name) for name in ("output", "limit", "style")), ("output", "style"))

    query: str = option(text("QUERY"), "In DuckDB's SQL.", required=True, flag="QUERY")
    output: Path | None = option(
        path("FILE.parquet|csv|json", ".parquet", ".csv", ".json"), "File to write instead."
    )
    explain: bool = option(FLAG, "Print DuckDB's plan of the query instead.")
    limit: int | None = option(whole(), "At most the first N rows.")
    timeout: float = option(
        real(0, DAY, above=0, metavar="SECONDS"), "Stop a query that takes longer.", 60.0
    )
    memory: int | None = option(
        SIZE, "Stop a query that takes more, as 2GB.", shown="a quarter of the machine's"
    )


class Schema(Printed):
    """Describe the relations of the warehouse, for 'indelible sql'.

    Of one relation it says what each column means. A shell finds the same texts in duckdb_tables(),
    duckdb_views() and duckdb_columns(), as comments.
    """

    does = "tracker.cli.sql:schema"
    example = "indelible schema correlations"

    relation: str | None = option(text("RELATION"), "One relation.", flag="[RELATION]")


class Sweeps(Printed, Limited):
    """List the sweeps in the store, newest first.

    The points of test accuracy that were lost are over all attempts of a sweep; forgotten is the
    share of those that were compared with reference models. csv and json have more columns.
    """

    does = "tracker.api.answers:sweeps"
    shows = "tracker.cli.ask:sweeps"
    example = "indelible sweeps --format json"


class Models(Printed):
    """List the base models in the store, newest first.

    With --export one is written as a store that has nothing else, to be copied to machines that
    have no network: they sweep into it, and 'indelible merge' brings what they did back.
    """

    does = "tracker.api.answers:models"
    shows = "tracker.cli.ask:models"
    example = """
        indelible models
        indelible models --export for-the-cluster --model latest
        """
    needs = (("model", "export"),)

    export: Path | None = option(
        path("DIR"), "Write a base model as a new store into this folder.", on="line"
    )
    model: str = option(handle("Model"), "Which to export.", LATEST, on="line")


class Algorithms(Printed):
    """List the algorithms with their hyper-parameters.

    csv and json also say where an algorithm was published, what it does, and among which values
    'indelible tune' looks for good ones.
    """

    does = "tracker.cli.ask:algorithms"
    example = "indelible algorithms"


class Factors(Printed):
    """List the factors and what they measure.

    `pre` factors need the base model only, `post` factors the unlearned one. `harder` says which
    values go with samples that are hard to unlearn. `cost` is what a `pre` factor took for one
    sample, with all of its family, in attempts with ga: where the warehouse knows it.
    """

    does = "tracker.cli.ask:factors"
    example = "indelible factors --format csv"


class Ui(OfSweep):
    """Open this store in the MLflow UI, on 127.0.0.1 only.

    Two links are printed: to the child runs of a sweep, the hardest first, and to the sweeps and
    base models. The first is opened in a browser if this is a terminal.
    """

    does = "tracker.cli.ui:run"
    example = "indelible ui --sweep latest"

    port: int = option(whole(1, 65535), "Port to serve at.", PORT)
