"""Train, predict, sweep, load, report, correlate and rank in one command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from tracker.api.pages import report
from tracker.api.verbs import Swept, base_run_of, plans, run_sweep, train, train_base_model
from tracker.base.references import making
from tracker.base.training import Request
from tracker.cli import ask, correlate, make
from tracker.cli._output import Session, say, show
from tracker.cli.load import load
from tracker.commands import made
from tracker.commands.ask import Rank, Report
from tracker.commands.keep import Load
from tracker.commands.make import Demo, Sweep, Train
from tracker.studies.predict import HopelessError, only_new, predict
from tracker.sweep.options import Options
from unlearning.datasets import AS_IT_IS

NAME, UNTIL = "demo-{}", "{}-reference"  # of the sweep, by its samples, and of the one beside it
ALGORITHMS = ("ga", "neggrad", "scrub", "salun")
STRONGEST = 8  # factors that are shown of those known before unlearning, and of those known after
CORRELATED = "Spearman's rho with GT: the factors that go with it most, before and after unlearning"
REFERENCES, SHARE = 16, 0.5  # models, of which a half never saw a sample: few take little time
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
  {indelible} audit --sweep {until:<24} can it be told from never having seen them?
The report with its pictures: {report}"""


def run(session: Session, command: Demo) -> None:
    """Do what is not there yet, and print what it came to."""
    reference, swept = make.told(session, command, _unlearn(session, command))
    say(_price(swept.came_to(command.max_loss), reference.came_to(command.max_loss)))
    load(session, Load(deep=False))
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
    own = {"sample": sample, "until": UNTIL.format(swept.plan.name)}
    say(NEXT.format(indelible=session.command, **own, **where))


Numbers = Mapping[str, Mapping[str, float]]  # of algorithms


def _price(flips: Numbers, until: Numbers) -> str:
    """What a flip costs, beside the other stop of ga, in words."""
    lost = {name: found.get("mean_points_lost", 0.0) for name, found in flips.items()}
    forgotten = max(found.get("forgotten_rate", 0.0) for found in flips.values())
    cheap, dear = min(lost, key=lost.__getitem__), max(lost, key=lost.__getitem__)
    own = until["ga"].get("mean_points_lost", 0.0)
    return f"""
A flip cost {lost[cheap]:.1f} ({cheap}) to {lost[dear]:.1f} ({dear}) points of accuracy on average.
It goes beyond forgetting: of these models at most {forgotten:.0%} stand where one stands that never
saw the sample. Unlearned until there, ga cost {own:z.1f} points: sweep --until reference.
"""


def _unlearn(session: Session, command: Demo) -> Iterator[Swept]:
    """Train, predict what nothing was attempted on, and sweep what is not there yet.

    The sweep that ends at the flip comes last, and is the latest.
    """
    own: dict[str, Any] = {"device": command.device}
    name = NAME.format(command.samples)
    with session.store(begins=True) as store:
        request = Request("digits", "small-cnn")
        model = train_base_model(session, store, request, AS_IT_IS, command.device)
        share: dict[str, Any] = (
            {} if making(store, store.run(model)) else {"reference_share": SHARE}
        )
        train(session, made(Train, {"references": REFERENCES, **share, **own}))
        own |= {"model": model, "samples": command.samples}
        until = {"name": UNTIL.format(name), "algorithms": ("ga",), "until": "reference"}
        asked = [made(Sweep, {**until, **own})]
        asked.append(made(Sweep, {"name": name, "algorithms": ALGORITHMS, **own}))
        base_run = base_run_of(session, store, asked[0])
        found = [plan for each in asked for plan in plans(session, store, base_run, each)]
        with suppress(HopelessError):
            bar = partial(session.progress, "predicting")
            predict(store, base_run, only_new(store, found[-1]), bar=bar, most=TESTED)
        for plan in found:
            yield run_sweep(session, store, base_run, plan, Options())
