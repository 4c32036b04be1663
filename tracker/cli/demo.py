"""Train, predict, sweep, load, report, correlate and rank in one command."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from tracker.api.pages import report
from tracker.api.verbs import Swept, base_run_of, plans, run_sweep, train_base_model
from tracker.base.training import Request
from tracker.cli import ask, correlate, keep, make, studies
from tracker.cli._session import Session, say
from tracker.commands import made
from tracker.commands.ask import Correlate, Rank, Report
from tracker.commands.keep import Load
from tracker.commands.make import Demo, Predict, Sweep
from tracker.studies.predict import HopelessError, only_new, predict
from tracker.sweep.options import Options
from unlearning.datasets import AS_IT_IS
from unlearning.errors import UserError

ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
TESTED = 200  # test samples of 797 that a prediction looks at, so that it takes little time

NEXT = """
Every attempt is an MLflow run, and every number a row in {warehouse}. Try next:
  {indelible} ui --sweep latest                      browse the runs, the hardest first
  {indelible} sample {sample:<31} one sample's story
  {indelible} rank --algorithm salun                 the hardest samples for one algorithm
  {indelible} correlate --population flipped         only the samples that flipped
  {indelible} agree                                  do the algorithms agree?
  {indelible} sweep --algorithm ga --samples 1000    all of them, with one algorithm
The report with its pictures: {report}"""


def run(session: Session, command: Demo) -> None:
    """Do what is not there yet, and print what it came to."""
    swept = _unlearn(session, command)
    make.sweep(session, command, [swept])
    keep.load(session, Load(deep=False))
    of_sweep = {"sweep": swept.run_id}
    page = report(session, made(Report, {**of_sweep, "max_loss": command.max_loss, "log": True}))
    correlate.run(session, made(Correlate, of_sweep))
    with suppress(UserError):  # where attempts were there before any prediction
        studies.predict(session, made(Predict, {"score": swept.run_id}), [])
    hardest = made(Rank, of_sweep)
    rows = hardest.do(session)
    ask.rank(session, hardest, rows)
    sample = rows[0]["sample_id"] if rows else ""
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
