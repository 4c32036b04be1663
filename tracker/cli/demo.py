"""Train, predict, sweep, load, correlate, rank and report in one command."""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

import factors
from analysis.drafts import write_whole
from analysis.words import under_other_seeds
from tracker.cli import correlate, rank, report
from tracker.cli._options import device_option, max_loss_option
from tracker.cli._output import progress, show, without
from tracker.cli._session import Session, pass_session, say
from tracker.cli.load import load
from tracker.cli.predict import bar
from tracker.cli.sweep import Swept, run_sweep
from tracker.cli.train import train_base_model
from tracker.store.database import ends
from tracker.store.records import sha256_of
from unlearning.errors import Failure
from unlearning.recipe import Recipe

if TYPE_CHECKING:
    from analysis.warehouse import Warehouse
    from tracker.base.base_models import BaseRun
    from tracker.store.store import Store
    from tracker.sweep.plan import Plan

ROOT, PACKAGES = Path(factors.__file__).parents[1], ("analysis", "factors", "tracker", "unlearning")
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


@click.command()
@click.option("--samples", type=click.IntRange(1), default=250, show_default=True, help="How many.")
@device_option
@max_loss_option
@pass_session
def command(session: Session, samples: int, device: str, max_loss: float) -> None:
    """Train, predict, unlearn, load, correlate, rank and report, on handwritten digits.

    What is done already is found and not done again. Only attempts that are not in the store are
    predicted.

    \b
    Example:
      indelible demo --samples 50
    """
    asked = (samples, device, max_loss)
    page = session.folder / report.FOLDER / "report.html"
    kept = page.with_name(f"demo-{samples}.json")
    before = _before(kept, _state(session, *asked), samples * len(ALGORITHMS))
    swept = before or _unlearn(session, *asked)
    sweep_id = swept.sweep_id
    load(session)
    with session.warehouse() as warehouse:
        correlations = warehouse.report(
            "correlate", sweep=sweep_id, population="all", reading="set_sizes", fixed=None
        ).records()
        hardest = warehouse.report("rank_overall", sweep=sweep_id, top=10, easiest=False).records()
        seeds = under_other_seeds(warehouse.report("seed_agreement", sweep=sweep_id).records())
        known = _known(warehouse, sweep_id)
        if before:
            session.sweep_id(warehouse, sweep_id)
    if not before:
        report.write(session, sweep_id, max_loss, log=True)
        write_whole(kept, json.dumps({_state(session, *asked): asdict(swept)}).encode())
    shown = correlate.strongest(correlations, STRONGEST) or correlations  # or why there are none
    show(shown, "table", correlate.as_table(shown), CORRELATED, correlate.BELOW)
    say(correlate.legend(shown))
    show(without(rank.side_by_side(hardest), "sample_path"), "table", title="The hardest samples")
    for remark in filter(None, (seeds, known)):
        say(remark)
    swept.say_table()
    sample = hardest[0]["sample_id"] if hardest else ""
    said = NEXT.format(
        warehouse=session.warehouse_path, report=page, sample=sample, indelible=session.command
    )
    say(said)
    swept.say_advice()


def _before(kept: Path, state: str, members: int) -> Swept | None:
    """What a demo in this state came to, known without torch and MLflow, which take seconds."""
    try:
        swept = Swept(**json.loads(kept.read_bytes())[state])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with progress("training", Recipe().epochs, "epoch ") as advance:
        advance(Recipe().epochs, "found")
    with progress("unlearning", members) as advance:
        advance(members, "found")
    say("time of all threads: start-up 100%")
    return swept


def _state(session: Session, *asked: object) -> str:
    """A fingerprint of what a demo depends on: code, terminal, runs, their files, the report."""
    code = (file for name in PACKAGES for file in ROOT.glob(f"{name}/**/*.*"))
    read = (
        file for file in (*code, *session.folder.glob("report/*.html")) if file.suffix != ".pyc"
    )
    files = sorted(map(str, session.folder.glob("artifacts/**/*.*")))
    times = {str(file): file.stat().st_mtime_ns for file in read}
    families = {name: str(factors.REGISTRY.provider(name)) for name in factors.REGISTRY.names()}
    width = sys.stderr.isatty() and shutil.get_terminal_size().columns
    runs = ends(session.address) or time.time()  # of another store than the embedded one: unknown
    return sha256_of(*asked, files, times, families, width, runs)


def _unlearn(session: Session, samples: int, device: str, max_loss: float) -> Swept:
    """Train, predict and sweep what is not there yet."""
    with session.store(begins=True) as store:
        from tracker.base import base_models, devices
        from tracker.base.training import Request
        from tracker.sweep.choosing import draw_samples
        from tracker.sweep.options import Options
        from tracker.sweep.plan import Plan
        from tracker.sweep.settings import configure
        from tracker.sweep.trials import choose_presets
        from unlearning.datasets import AS_IT_IS

        where, request = devices.pick_device(device), Request("digits", "small-cnn")
        run_id = train_base_model(store, request, AS_IT_IS, where)
        base_run = base_models.load(store, run_id, where)
        ids = draw_samples(base_run.model.dataset.train.ids.tolist(), samples, seed=0)
        preset = choose_presets(store, base_run, ALGORITHMS, None, ())
        algorithms = configure(ALGORITHMS, preset, ())
        plan = Plan.on(base_run, algorithms, ids, 0, f"demo-{samples}", preset=preset)
        _predict(store, base_run, plan)
        return run_sweep(store, base_run, plan, Options(), max_loss)


def _predict(store: Store, base_run: BaseRun, plan: Plan) -> None:
    """Predict the samples of the plan that nothing was attempted on, if there are any."""
    from tracker.studies.predict import HopelessError, only_new, predict

    with suppress(HopelessError):
        try:
            predict(store, base_run, only_new(store, plan), bar=bar, most=TESTED)
        except KeyboardInterrupt:
            raise Failure("stopped; the same command goes on where it stopped") from None


def _known(warehouse: Warehouse, sweep_id: str) -> str:
    """How well the outcomes were predicted, in a line; empty where nothing is graded."""
    rows = warehouse.report("known", sweep=sweep_id).records()
    rho = {row["algorithm"]: row["rho"] for row in rows if row["target"] == "gt"}
    told = [f"{rho[name]:.2f} ({name})" for name in ALGORITHMS if rho.get(name) is not None]
    return f"Predicted before unlearning: rho with GT {', '.join(told)}" if told else ""
