"""Could difficulty have been known before? The index and baselines, graded.

Trains base models, unlearns samples of each under several seeds, and holds what was known before
against the mean of what came out, with the reliability of that mean beside it. A second call goes
on where the first one stopped: attempts are ordinary sweeps in a store, the rest is kept beside it.
`settings.py` says what is done, and on what the choices were made; tables are printed, and written
into the folder that it names.
"""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from functools import partial

from analysis.atomic import write_atomically
from factors import index
from tests.benchmarks.prediction import settings
from tests.benchmarks.prediction.attempts import base_of, cells
from tests.benchmarks.prediction.bars import judged
from tests.benchmarks.prediction.costs import Job, resnet18, timed_costs
from tests.benchmarks.prediction.keeping import Kept
from tests.benchmarks.prediction.settings import STUDY, Study
from tests.benchmarks.prediction.subsets import on_fewer_images
from tests.benchmarks.prediction.tables import Evidence, Row, as_json, markdown, medians

INDEX = "The index, nothing fitted: Spearman's rho with the mean over seeds"
HELD_OUT = "The same over the base models that are held out: median (least to largest)"
OUTCOMES = "What the index says of single outcomes, and how often its intervals of 90% hold them"
SUBSETS = "The index with fewer test images: rho with GT"
BARS = "What was asked for, and the figures of the held-out base models: median (least to largest)"
COSTS = "CPU seconds a sample, one thread: the index against an attempt of GA with its evaluation"
SUMMARISED = (
    "rho",
    "ceiling",
    "rho by ceiling",
    "margin",
    "loss",
    "one probe step",
    "best factor",
)


def main(study: Study = STUDY) -> None:
    print("\n".join((settings.__doc__ or "").splitlines()[2:]))
    print(f"factors/index.py is of commit {_commit() or 'unknown'}")
    for case in study.cases:
        if not case.is_there:
            print(f"left out, as {case.data_dir} is not there: {case.name}")
    kept = Kept(study.folder)
    found, tables = list(cells(study)), dict[str, list[Row]]()
    evidence = Evidence(study, found, kept)

    def show(title: str, rows: list[Row]) -> None:
        tables[title] = rows
        print(f"\n{title}\n\n{markdown(rows)}", flush=True)
        said = [f"## {title}\n\n{markdown(rows)}\n" for title, rows in tables.items()]
        write_atomically(study.folder / "tables.md", "\n".join(said).encode())
        write_atomically(study.folder / "tables.json", as_json(tables))

    graded = evidence.index()
    new = [row for row in graded if str(row["seed"]).isdecimal()]
    show(INDEX, graded)
    show(
        HELD_OUT,
        medians(new, ("data set", "algorithm", "target"), SUMMARISED),
    )
    outcomes = evidence.outcomes()
    show(OUTCOMES, outcomes)
    show(SUBSETS, on_fewer_images(study, found, kept))
    timed = [asdict(cost) for cost in timed_costs(kept, _jobs(study))] if study.timed else []
    show(COSTS, timed)
    show(BARS, judged(graded, outcomes, timed))


def _commit() -> str:
    """The git commit that changed the index last; empty where there is no git."""
    command = ["git", "log", "-1", "--format=%h of %cs", "--", index.__file__]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _jobs(study: Study) -> list[Job]:
    digits = partial(base_of, study, study.cases[0])
    images = partial(resnet18, 5000, 2000)
    title = "ResNet-18, 5,000 training and 2,000 test images of 32x32"
    fewer = study.test_subsets[-1]
    return [
        Job("small-cnn, digits", digits, samples=32, rounds=7),
        Job(title, images, samples=1, rounds=3, algorithms=("ga",)),
        Job(f"{title}, {fewer} for the index", images, 1, 3, ("ga",), fewer),
    ]
