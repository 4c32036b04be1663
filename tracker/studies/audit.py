"""An audit: can models that forgot a sample be told from models that never saw it?

Reference models stand for the base model (U-LiRA for single samples, Hayes et al. 2024, arXiv
2403.01218). Those that saw a sample are made to forget it, as a sweep has the base model forget it,
and compared with those that never saw it. One part of the reference models is audited; the others
say where each stops, and with which moments z is computed: a model must not be judged by itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from tracker.base.base_models import BaseRun
from tracker.base.parts import AUDITS, Progress, Question, Table, answers
from tracker.base.references import Making
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store.records import (
    NOTE,
    Kind,
    Record,
    Run,
    code_version,
    in_blocks,
    milliseconds,
    sha256_of,
)
from tracker.store.write import Store
from tracker.studies.audited import (
    SCHEMA,
    TAG,
    UNTOUCHED,
    Row,
    as_file,
    compared,
    evaluated,
    file_name,
    read_audited,
)
from tracker.studies.study import at_work, begun
from tracker.sweep.chunks import executions_of
from tracker.sweep.memory import chunk_size
from tracker.sweep.plan import REFERENCE, KeptPlan, member_key
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel, Model, logits
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution, by_device
from unlearning.losses import log_odds, wide
from unlearning.references import References, moments
from unlearning.several import moved
from unlearning.version import VERSION

FEWEST = 6  # models of each part
NEIGHBOURS = 4  # of a sample, in the test set
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # of a sample's copies, in pixels
PICTURE = "audited.png"
COMPUTED = ("saw", "phi", "points_lost", "steps")  # of a model


@dataclass(frozen=True)
class Audit:
    """What is audited.

    Attributes:
        sweep, plan: whose algorithms, settings, samples and stop are audited.
        how: the reference models are made. references: what they say.
        models: how many of them are audited, the last ones.
    """

    base_run: BaseRun
    sweep: Run
    plan: KeptPlan
    how: Making
    references: References
    models: int

    @property
    def first(self) -> int:
        """The number of the first model that is audited."""
        return len(self.references) - self.models

    @property
    def key(self) -> str:
        """What it is known by: the same audit called again is found."""
        parts = (self.plan.sweep_key, self.references.digest, self.models)
        return sha256_of("audit", VERSION, *parts)[:32]

    @property
    def names(self) -> list[str]:
        """Of what is compared, as the first axis of phi has it."""
        return [UNTOUCHED, *self.plan.settings]


def audit(
    store: Store,
    asked: Audit,
    engine: Engine = THREADS,
    progress: Progress = lambda models, doing: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[str, list[Row]]:
    """Audit a sweep, and log it: a parent run, and a child for each algorithm and sample.

    What each model came to is kept, and the same audit called again goes on where it stopped.

    Args:
        progress: is told how many models are done.

    Returns: the run id, and a row for each algorithm and control, over all samples.

    Raises UserError for too few reference models.
    """
    if min(asked.models, asked.first) < FEWEST:
        raise UserError(
            f"of {len(asked.references)} reference models {asked.models} are to be audited and "
            f"{asked.first} say where they stop: each part needs {FEWEST} or more "
            "('indelible train --references 64 --reference-share 0.5')"
        )
    base_run, record = asked.base_run, _record(asked)
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    known = store.find_sweep(experiment_id, asked.key, Kind.AUDIT)
    if known is not None and known.status == "FINISHED":
        progress(len(asked.references), "found")
        table = read_audited(store.artifacts, known.artifact_uri, known.tags)
        return known.run_id, evaluated(table)[0]
    run_id = store.begin_sweep(experiment_id, record, base_run.data, Kind.AUDIT)
    with at_work(store, run_id, f"audit {record.name}", say):
        found = _answers(store, asked, engine, progress)
        table = _table(asked, found)
        rows, each = evaluated(table)
        for some in in_blocks(each, 500):
            children = [_child(asked, row) for row in some]
            store.write_children(Kind.AUDITED, experiment_id, run_id, children)
        content = as_file(table)
        sha256 = hashlib.sha256(content).hexdigest()
        store.attach(run_id, file_name(sha256), content, (TAG, sha256))
        if drawn := compared(table, rows):
            from analysis import figures  # matplotlib, which takes a while

            drawing = partial(figures.audited, drawn)
            store.attach(run_id, PICTURE, figures.as_png(drawing), ("figures", "png"))
        metrics = {
            f"{row['algorithm']}/{name}": value
            for row in rows
            for name, value in row.items()
            if isinstance(value, float) and not math.isnan(value)
        }
        store.close_sweep(run_id, metrics, record.tags[NOTE])
    return run_id, rows


# What models come to


def _answers(
    store: Store, asked: Audit, engine: Engine, progress: Progress
) -> dict[str, dict[int, Tensor]]:
    base_run, stop = asked.base_run, Stop()
    question = Question(COMPUTED, lambda numbers: asked.key, _Auditor(asked, stop).compute)
    numbers, pool = range(len(asked.references)), partial(engine.pool, base_run.model, stop)
    how = (store, base_run.run_id, AUDITS, {asked.key: question}, numbers, pool, 1)
    return answers(*how, progress, "auditing")


class _Auditor:
    """Trains reference models again, and has those that are audited forget what they saw."""

    def __init__(self, asked: Audit, stop: Stop) -> None:
        self.asked, self.stop, model = asked, stop, asked.base_run.model
        self.at = model.dataset.train.positions(list(asked.plan.sample_ids))
        self.judges = asked.references.only(torch.arange(len(asked.references)) < asked.first)
        self.images, self.labels = _asked_about(model, self.at.to(model.device))
        self.executions = executions_of(asked.sweep)

    def compute(self, base: BaseModel, numbers: list[int]) -> Table:
        """The columns COMPUTED of one model."""
        asked, (number,), samples = self.asked, numbers, len(self.at)
        seen, state = asked.how.model(base, number, self.stop.is_set)
        saw = torch.isin(self.at, seen)
        shape = len(asked.names), samples
        phi = torch.full((*shape, self.images.shape[1]), torch.nan, dtype=torch.float64)
        points, steps = (torch.full(shape, torch.nan, dtype=torch.float64) for _ in range(2))
        model = base.model.at(state)
        for row in range(samples):
            phi[0, row] = self.phi(model, row)
        if number >= asked.first and saw.any():
            out = torch.ones(len(base.train_labels), dtype=torch.bool)
            out[seen] = False
            own = moved(base, state, out.nonzero().squeeze(1))
            for kind, (name, settings) in enumerate(asked.plan.settings.items(), start=1):
                algorithm = algorithms.get(name).from_text(settings)
                how = self.executions.get(name, by_device(base.device))
                room = THREADS.room(own) / THREADS.count(own)
                size = chunk_size(own, algorithm, how, None, room)
                for rows in saw.nonzero().squeeze(1).split(size):
                    done = self.forget(own, algorithm, how, rows, phi[0, rows, 0])
                    phi[kind, rows], points[kind, rows], steps[kind, rows] = done
        columns = (saw, phi, points, steps)
        return {name: part[None] for name, part in zip(COMPUTED, columns, strict=True)}

    def forget(
        self,
        own: BaseModel,
        algorithm: Algorithm,
        how: Execution,
        rows: Tensor,
        phi: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Phi, points of test accuracy lost and steps after a model forgot each of some samples.

        NaN where too few of the other models say at which log-odds it is to end.

        Args:
            rows: of the samples, (K,). phi: of the model before, (K,).
        """
        plan, seed = self.asked.plan, int(self.asked.sweep.params["seed"])
        target, unknown = None, torch.zeros(len(rows), dtype=torch.bool)
        if plan.until == REFERENCE:
            target = self.judges.mapped(phi, self.at[rows])
            unknown = target.isnan()
        ids = [plan.sample_ids[row] for row in rows.tolist()]
        positions = own.dataset.train.positions(ids)
        found = unlearn(own, algorithm, positions, seed, how, self.stop.is_set, target)
        before = wide(own.test_logits.argmax(dim=1) == own.test_labels).mean()
        after, lost = [], []
        for member, row in enumerate(rows.tolist()):
            model = own.model.at(own.state | found.state_of(member))
            after.append(self.phi(model, row))
            right = logits(model, own.test_inputs).argmax(dim=1) == own.test_labels
            lost.append(100 * (before - wide(right).mean()).cpu())
        numbers = torch.stack(after), torch.stack(lost).double(), found.steps.double()
        for of_samples in numbers:
            of_samples[unknown] = torch.nan
        return numbers

    @torch.no_grad()
    def phi(self, model: Model, row: int) -> Tensor:
        """Log-odds of all that is asked about a sample, (queries,) float64."""
        return log_odds(model(self.images[row]), self.labels[row]).cpu().double()


def _asked_about(base: BaseModel, at: Tensor) -> tuple[Tensor, Tensor]:
    """Samples, their copies that are moved by a pixel, and their nearest test samples of the class.

    Args:
        at: positions of the samples, (S,).

    Returns: images (S, queries, C, H, W) and labels (S, queries). The nearest ones are so by the
    base model's features, or its logits where it has none; where a class has fewer test samples
    than NEIGHBOURS, others stand in.
    """
    images, labels = base.train_inputs[at], base.train_labels[at]
    moves = MOVES if min(images.shape[-2:]) > 1 else ()
    copies = [_shifted(images, *move) for move in moves]
    if base.head is None:
        own, others = base.train_logits[at], base.test_logits
    else:
        own, others = base.train_features[at], base.test_features
    apart = torch.cdist(wide(own), wide(others))
    apart[labels[:, None] != base.test_labels] = torch.inf
    count = min(NEIGHBOURS, len(base.test_labels))
    nearest = apart.topk(count, largest=False).indices  # (S, count)
    near = base.test_inputs[nearest].unbind(dim=1)
    both = [labels, *([labels] * len(copies)), *base.test_labels[nearest].unbind(dim=1)]
    return torch.stack([images, *copies, *near], dim=1), torch.stack(both, dim=1)


def _shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Images moved by so many pixels; what comes in is 0."""
    moved_by = torch.nn.functional.pad(images, (1, 1, 1, 1))
    height, width = images.shape[-2:]
    top, left = 1 - down, 1 - right
    return moved_by[..., top : top + height, left : left + width]


# What is said of it


def _table(asked: Audit, found: Mapping[str, Mapping[int, Tensor]]) -> pa.Table:
    """A row for each algorithm, model and sample that was asked about, in the columns of SCHEMA."""
    numbers = range(len(asked.references))
    saw, phi, points, steps = (torch.stack([found[n][k] for k in numbers]) for n in COMPUTED)
    judged = [
        moments(phi[: asked.first, 0, :, q], ~saw[: asked.first]) for q in range(phi.shape[3])
    ]
    mean, sd = (torch.stack([of[k] for of in judged], dim=1) for k in (0, 1))  # (S, queries)
    z, limit = (phi - mean) / sd, judged[0].limit(torch.arange(phi.shape[2]))
    copies = phi.shape[3] - 1 - min(NEIGHBOURS, len(asked.base_run.model.test_labels))
    model, kind, sample = torch.nonzero(~phi[..., 0].isnan(), as_tuple=True)
    at = (model, kind, sample)
    ids = np.array(asked.plan.sample_ids)
    columns = {
        "algorithm": [asked.names[k] for k in kind.tolist()],
        "sample_id": ids[sample.numpy()],
        "model": model.numpy(),
        "saw": saw[model, sample].numpy(),
        "is_audited": (model >= asked.first).numpy(),
        "phi": phi[at][:, 0].numpy(),
        "z": z[at][:, 0].numpy(),
        "z_limit": limit[sample].numpy(),
        "copies_z": z[at][:, 1 : 1 + copies].mean(dim=1).numpy(),
        "neighbours_z": z[at][:, 1 + copies :].mean(dim=1).numpy(),
        "points_lost": points[at].numpy(),
        "steps": steps[at].numpy(),
    }
    arrays = [pa.array(columns[f.name], f.type, from_pandas=True) for f in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


# Runs


def _record(asked: Audit) -> Record:
    sweep, names = asked.sweep, ",".join(asked.plan.settings)
    note = NOTES.format(name=asked.plan.name, names=names, models=asked.models, first=asked.first)
    params = {
        "sweep_id": sweep.run_id,
        "algorithms": names,
        "samples": len(asked.plan.sample_ids),
        "until": asked.plan.until,
        "seed": sweep.params["seed"],
        "models": asked.models,
        "references": len(asked.references),
        "reference_share": asked.how.share,
    }
    return begun(
        asked.base_run, f"audit-{asked.plan.name}", params, {"key": asked.key, NOTE: note}, {}
    )


def _child(asked: Audit, row: Row) -> Record:
    """The run of one algorithm and sample."""
    name, sample, now = row["algorithm"], row["sample_id"], milliseconds()
    return Record(
        name=f"audit-{name}-{sample:05d}",
        params={"algorithm": name},
        tags={
            "key": member_key(sha256_of(asked.key, name)[:16], sample),
            "sample_id": str(sample),
            "code_version": code_version(),
        },
        metrics={k: v for k, v in row.items() if isinstance(v, float) and not math.isnan(v)},
        histories={},
        artifacts={},
        started_ms=now,
        ended_ms=now,
    )


NOTES = """\
### Can models that forgot a sample be told from models that never saw it?

Audit of sweep {name} ({names}). {models} reference models stand for the base model: those that \
saw a sample forget it as in the sweep, and are compared with those that never saw it. {first} \
others say where they stop, and with which mean and spread z is computed.

AUC .5: they cannot be told apart. The controls are `untouched` (nothing was done) and \
`never_saw` (models that never saw the sample against others that did not: what exact retraining \
would get).
"""
