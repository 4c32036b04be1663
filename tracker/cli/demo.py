"""Train, predict, sweep, load, correlate, rank and report in one command."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from analysis.warehouse import Warehouse
from analysis.words import under_other_seeds
from tracker.api.pages import report
from tracker.api.verbs import Swept, base_run_of, plans, run_sweep, train_base_model
from tracker.base.base_models import BaseRun
from tracker.base.training import Request
from tracker.cli import correlate, make, rank
from tracker.cli._output import show, without
from tracker.cli._session import Session, say
from tracker.cli.keep import load
from tracker.commands import made
from tracker.commands.ask import Report
from tracker.commands.keep import Load
from tracker.commands.make import Demo, Sweep
from tracker.store.write import Store
from tracker.studies.predict import HopelessError, only_new, predict
from tracker.sweep.options import Options
from tracker.sweep.plan import Plan
from unlearning.datasets import AS_IT_IS

ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
STRONGEST = 8  # factors that are shown of those known before unlearning, and of those known after
CORRELATED = "Spearman's rho with GT: the factors that go with it most, before and after unlearning"
TESTED = 200  # test samples of 797 that a prediction looks at, so that it takes little time

NEXT = """
Every attempt is an MLflow run, and every number a row in {warehouse}. Try next:
  {indelible} ui --sweep latest                      browse the runs, the hardest first
  {indelible} sample {sample:<31} one sample's story
  {indelible} rank --algorithm salun                 the hardest samples for one algorithm
  {indelible} correlate                              all factors, not only the strongest
  {indelible} correlate --population flipped         only the samples that flipped
  {indelible} agree                                  do the algorithms agree?
  {indelible} predict --score latest                 how well was it known beforehand?
  {indelible} sweep --algorithm ga --samples 1000    all of them, with one algorithm
The report with its pictures: {report}"""


def run(session: Session, command: Demo) -> None:
    """Do what is not there yet, and print what it came to."""
    swept = _unlearn(session, command)
    make.say_times(swept)
    load(session, Load(deep=False))
    asked = {"sweep": swept.run_id, "max_loss": command.max_loss, "log": True}
    page = report(session, made(Report, asked))
    with session.warehouse() as warehouse:
        all_ = {"population": "all", "reading": "set_sizes", "fixed": None}
        correlations = warehouse.report("correlate", sweep=swept.run_id, **all_).records()
        of_sweep = {"sweep": swept.run_id}
        hardest = warehouse.report("rank_overall", **of_sweep, top=10, easiest=False).records()
        seeds = under_other_seeds(warehouse.report("seed_agreement", **of_sweep).records())
        known = _known(warehouse, swept.run_id)
    shown = correlate.strongest(correlations, STRONGEST) or correlations  # or why there are none
    show(shown, "table", correlate.as_table(shown), CORRELATED, correlate.BELOW)
    say(correlate.legend(shown))
    show(without(rank.side_by_side(hardest), "sample_path"), "table", title="The hardest samples")
    next_ = NEXT.format(
        warehouse=session.warehouse_path,
        report=page,
        sample=hardest[0]["sample_id"] if hardest else "",
        indelible=session.command,
    )
    limit = command.max_loss
    came_to, advice = make.came_to(swept, limit), make.advice(swept, limit)
    for line in [*filter(None, (seeds, known)), *came_to, next_, *advice]:
        say(line)


def _unlearn(session: Session, command: Demo) -> Swept:
    """Train, predict and sweep what is not there yet."""
    with session.store(begins=True) as store:
        request = Request("digits", "small-cnn")
        model = train_base_model(session, store, request, AS_IT_IS, command.device)
        asked = {"algorithms": ALGORITHMS, "samples": command.samples, "device": command.device}
        sweep = made(Sweep, {"model": model, "name": f"demo-{command.samples}", **asked})
        base_run = base_run_of(session, store, sweep)
        (plan,) = plans(session, store, base_run, sweep)
        _predict(session, store, base_run, plan)
        return run_sweep(session, store, base_run, plan, Options())


def _predict(session: Session, store: Store, base_run: BaseRun, plan: Plan) -> None:
    """Predict the samples of the plan that nothing was attempted on, if there are any."""
    bar = partial(session.progress, "predicting")
    with suppress(HopelessError):
        predict(store, base_run, only_new(store, plan), bar=bar, most=TESTED)


def _known(warehouse: Warehouse, sweep_id: str) -> str:
    """How well the outcomes were predicted, in a line; empty where nothing is graded."""
    rows = warehouse.report("known", sweep=sweep_id).records()
    rho = {row["algorithm"]: row["rho"] for row in rows if row["target"] == "gt"}
    told = [f"{rho[name]:.2f} ({name})" for name in ALGORITHMS if rho.get(name) is not None]
    return f"Predicted before unlearning: rho with GT {', '.join(told)}" if told else ""
