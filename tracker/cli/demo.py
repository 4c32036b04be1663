"""Train, predict, sweep, load, report, correlate and rank in one command."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from tracker.api.pages import report
from tracker.api.verbs import Swept, base_run_of, plans, run_sweep, train_base_model
from tracker.base.training import Request
from tracker.cli import ask, correlate, keep, make
from tracker.cli._output import show
from tracker.cli._session import Session, say
from tracker.commands import made
from tracker.commands.ask import Rank, Report
from tracker.commands.keep import Load
from tracker.commands.make import Demo, Sweep
from tracker.studies.predict import HopelessError, only_new, predict
from tracker.sweep.options import Options
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
  {indelible} train --references 32                  then 'measure': was it forgotten?
The report with its pictures: {report}"""


def run(session: Session, command: Demo) -> None:
    """Do what is not there yet, and print what it came to."""
    swept = _unlearn(session, command)
    make.sweep(session, command, [swept])
    keep.load(session, Load(deep=False))
    of_sweep = {"sweep": swept.run_id}
    page = report(session, made(Report, {**of_sweep, "max_loss": command.max_loss, "log": True}))
    with session.warehouse() as warehouse:
        all_ = {"population": "all", "reading": "set_sizes", "fixed": None}
        rows = warehouse.report("correlate", target="gt", **of_sweep, **all_).records()
        known = warehouse.report("known", **of_sweep).records()
    shown = correlate.strongest(rows, STRONGEST) or rows  # or why there are none
    show(shown, "table", correlate.as_table(shown), CORRELATED, correlate.SPARE)
    say(correlate.legend(shown))
    hardest = made(Rank, of_sweep)
    ranked = hardest.do(session)
    ask.rank(session, hardest, ranked)
    rho = {row["algorithm"]: row["rho"] for row in known if row["target"] == "gt"}
    if told := [f"{rho[name]:.2f} ({name})" for name in ALGORITHMS if rho.get(name) is not None]:
        say(f"Predicted before unlearning: rho with GT {', '.join(told)}")
    sample = ranked[0]["sample_id"] if ranked else ""
    where = {"warehouse": session.warehouse_path, "report": page}
    say(NEXT.format(sample=sample, indelible=session.command, **where))


def _unlearn(session: Session, command: Demo) -> Swept:
    """Train, predict what nothing was attempted on, and sweep what is not there yet."""
    with session.store(begins=True) as store:
        request = Request("digits", "small-cnn")
        model = train_base_model(session, store, request, AS_IT_IS, command.device)
        asked = {"algorithms": ALGORITHMS, "samples": command.samples, "device": command.device}
        sweep = made(Sweep, {"model": model, "name": f"demo-{command.samples}", **asked})
        base_run = base_run_of(session, store, sweep)
        (plan,) = plans(session, store, base_run, sweep)
        with suppress(HopelessError):
            bar = partial(session.progress, "predicting")
            predict(store, base_run, only_new(store, plan), bar=bar, most=TESTED)
        return run_sweep(session, store, base_run, plan, Options())
