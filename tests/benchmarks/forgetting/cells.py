"""What is measured of each base model: references, predictions, sweeps and audits, in its store."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import indelible
from tests.benchmarks.forgetting.settings import ALGORITHMS, PRESET, UNTIL, Case, Study
from tests.benchmarks.prediction.attempts import Kept
from tests.fashion_mnist import unpack_fashion_mnist
from tracker.base import base_models
from tracker.store.opening import open_store
from unlearning import datasets
from unlearning.datasets import Source
from unlearning.losses import log_odds
from unlearning.references import References
from unlearning.version import VERSION

Row = dict[str, Any]
SHARE = 0.5  # of the samples that a reference model sees


@dataclass(frozen=True)
class Cell:
    """A case and what was made of it.

    Attributes:
        store: its own. model: run id of the base model. sample_ids: that were unlearned.
        predicted: by until, rows. swept: by until, the sweep of each seed. audited: by until, rows.
    """

    case: Case
    store: indelible.Store
    model: str
    sample_ids: tuple[int, ...]
    predicted: Mapping[str, list[Row]]
    swept: Mapping[str, list[str]]
    audited: Mapping[str, list[Row]]


def cell_of(study: Study, case: Case) -> Cell:
    """Train, predict, sweep and audit what is not there yet."""
    return _Making(study, case).cell()


def phi_of(study: Study, cell: Cell) -> tuple[Tensor, References]:
    """Log-odds of the base model (samples,), and the reference models, trained where they lack."""
    making = _Making(study, cell.case)
    making.once("counted", lambda: making.train(cell.case.counted), cell.case.counted)
    base = base_models.load(open_store(making.folder), cell.model, torch.device("cpu")).model
    references = base.companions.references
    assert references is not None
    return log_odds(base.train_logits, base.train_labels).double(), references


class _Making:
    def __init__(self, study: Study, case: Case) -> None:
        self.study, self.case = study, case
        self.folder = study.folder / case.name.replace(",", "").replace("%", "").replace(" ", "-")
        self.kept, self.store = Kept(self.folder), indelible.open(self.folder, progress=False)
        self.data = self.folder / "data.npz"

    def once(self, name: str, compute: Any, *inputs: object) -> Any:
        """What is computed once for this case, these sizes and what else is given."""

        def timed() -> Any:
            began, spent = time.monotonic(), time.process_time()
            found = compute()
            took = f"{time.monotonic() - began:.0f} s, CPU {time.process_time() - spent:.0f} s"
            print(f"{self.case.name}: {name}: {took}", file=sys.stderr, flush=True)
            return found

        of = self.case.references, self.study.samples, self.study.sizes
        return self.kept.once(name, (VERSION, *of, *inputs), timed)

    def cell(self) -> Cell:
        """All of it."""
        case = self.case
        if not self.data.is_file():
            self.write()
        model = self.once("base", lambda: self.train(case.references))
        ids = tuple(self.once("samples", lambda: self.drawn(model)))
        few, left_out = (_ends(ids, count // 2) for count in (case.few, case.left_out))
        if left_out:
            self.once("left-out", lambda: self.train(case.references, left_out), left_out)
        predicted: dict[str, list[Row]] = {}
        swept: dict[str, list[str]] = {}
        audited: dict[str, list[Row]] = {}
        for until in UNTIL:
            how: Any = {"model": model, "preset": PRESET, "until": until, "remaining": 200}

            def predict(how: Any = how) -> list[Row]:
                return _records(self.store.predict(*ALGORITHMS, sample_ids=ids, **how))

            def audit(until: str = until) -> list[Row]:
                return _records(self.store.audit(sweep=swept[until][0]))

            predicted[until] = self.once(f"predict-{until}", predict)
            swept[until] = [
                self.once(f"sweep-{until}-{seed}", partial(self.sweep, ids, few, seed, how), few)
                for seed in range(case.seeds)
            ]
            if until in case.audited:
                audited[until] = self.once(f"audit-{until}", audit)
        return Cell(case, self.store, model, ids, predicted, swept, audited)

    def write(self) -> None:
        """The data set as a file, with labels that are wrong where the case has some."""
        name, sizes = self.case.dataset, self.study.sizes or {}
        source = Source()
        if name == "fashion-mnist":
            folder = self.study.folder / "data"
            if not folder.is_dir():
                unpack_fashion_mnist(folder)
            source = Source(folder)
        data = datasets.load(name, source)
        arrays = {}
        counts = sizes.get(name, (None, None))
        for kind, split, count in zip(("", "test_"), (data.train, data.test), counts, strict=True):
            images = split.images[:count].int() * 255 // data.white
            arrays[f"{kind}images"] = images.byte().numpy()
            arrays[f"{kind}labels"] = split.labels[:count].numpy().copy()
        random, labels = np.random.default_rng(0), arrays["labels"]
        is_wrong = random.random(len(labels)) < self.case.wrong
        labels[is_wrong] += random.integers(1, 10, is_wrong.sum())
        labels %= 10
        np.savez(self.data, allow_pickle=False, is_wrong=is_wrong, **arrays)

    def is_wrong(self) -> NDArray[np.bool_]:
        """Which training labels are."""
        with np.load(self.data) as arrays:
            return np.asarray(arrays["is_wrong"])

    def train(self, references: int, left_out: tuple[int, ...] | None = None) -> str:
        """The run id of the base model, with companions."""
        how: Any = {"references": references, "reference_share": SHARE, "leave_out": left_out}
        return str(self.store.train(f"npz:{self.data}", seed=self.case.seed, **how).run_id)

    def drawn(self, model: str) -> list[int]:
        """Samples that the base model gets right: mislabelled ones first, at most half of them."""
        base = base_models.load(open_store(self.folder), model, torch.device("cpu")).model
        right = (base.train_logits.argmax(dim=1) == base.train_labels).numpy()
        order, is_wrong = np.random.default_rng(0).permutation(len(right)), self.is_wrong()
        wrong = order[(right & is_wrong)[order]][: self.study.samples // 2]
        others = order[(right & ~is_wrong)[order]][: self.study.samples - len(wrong)]
        return [*map(int, (*wrong, *others))]

    def sweep(self, ids: tuple[int, ...], few: tuple[int, ...], seed: int, how: Any) -> str:
        """The id of a sweep over all samples; the few are relearned, too."""
        names = [n for n in ALGORITHMS if seed == 0 or n != "ga"]  # which has no chance in it
        how = how | {"seed": seed, "checkpoints": "none"}
        if few:
            self.store.sweep(*names, sample_ids=few, factors=["relearning"], **how)
        return str(self.store.sweep(*names, sample_ids=ids, **how).run_id)


def _ends(ids: tuple[int, ...], count: int) -> tuple[int, ...]:
    """So many of the first ids, which are mislabelled where some are, and of the last ones."""
    return ids[:count] + ids[len(ids) - count :]


def _records(table: Any) -> list[Row]:
    rows: list[Row] = table.df().to_dict("records")
    return [{k: v.item() if hasattr(v, "item") else v for k, v in row.items()} for row in rows]
