"""Could difficulty have been known before? The index and baselines, graded.

Trains base models, unlearns samples of each under several seeds, and holds what was known before
against the mean of what came out, with the reliability of that mean beside it. A second call goes
on where the first one stopped: attempts are ordinary sweeps in a store, the rest is kept beside it.
`settings.py` says what is done, and on what the choices were made.
"""

from __future__ import annotations

import subprocess
from functools import partial

from factors import index
from tests.benchmarks.prediction import settings
from tests.benchmarks.prediction.attempts import Kept, base_of, cells
from tests.benchmarks.prediction.costs import Job, resnet18, timed
from tests.benchmarks.prediction.settings import STUDY, Study
from tests.benchmarks.prediction.tables import Evidence, Row, markdown

INDEX = "The index, nothing fitted: Spearman's rho with the mean over seeds"
OUTCOMES = "What the index says of single outcomes, and how often its intervals of 90% hold them"
SUBSETS = "The index with fewer test images: rho with GT"
COSTS = "CPU seconds a sample, one thread: the index against an attempt of GA with its evaluation"


def main(study: Study = STUDY) -> dict[str, list[Row]]:
    """The rows of each table that was printed, by its title."""
    print("\n".join((settings.__doc__ or "").splitlines()[2:]))
    command = ["git", "log", "-1", "--format=%h of %cs", "--", index.__file__]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    print(f"factors/index.py is of commit {said or 'unknown'}")
    for case in study.cases:
        if not case.is_there:
            print(f"left out, as {case.data_dir} is not there: {case.name}")
    kept = Kept(study.folder)
    evidence = Evidence(study, list(cells(study)), kept)
    found = {}
    for title, rows in (
        (INDEX, evidence.index),
        (OUTCOMES, evidence.outcomes),
        (SUBSETS, evidence.on_fewer_images),
        (COSTS, lambda: timed(kept, _jobs(study)) if study.timed else []),
    ):
        found[title] = rows()
        print(f"\n{title}\n\n{markdown(found[title])}", flush=True)
    return found


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
