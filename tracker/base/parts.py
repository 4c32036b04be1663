"""Tensors that are computed once for a base model and kept beside its run, part by part.

Parts are added and never changed. Each is a file of its own, named by its content, with a tag of
its own: two processes may add parts at the same moment, and what was interrupted goes on with what
is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracker.store.files import Artifacts, Damaged
from tracker.store.records import MEASURED_AT, Run, as_tag, in_blocks, milliseconds, read_tag

if TYPE_CHECKING:
    from torch import Tensor

    from tracker.base.workers import Pool
    from tracker.store.write import Store
    from unlearning.base_model import BaseModel

SAVED_EVERY = 30  # seconds at first, then less often
ABOUT = "about"  # the entry of a file's metadata
NAME = re.compile("[0-9a-f]{12}")

Table = dict[str, "Tensor"]  # columns by name: row k of each is of the same sample, or model
Rows = dict[int, Any]  # of a column, by sample or model: numbers, or tensors
Progress = Callable[[int, str], None]  # is told how many more are known, and what is done


@dataclass(frozen=True)
class Parts:
    """All parts of one kind, which begins the names of their files and tags."""

    kind: str

    def made_of(
        self, content: Mapping[str, Tensor], says: str, about: Mapping[str, Any] | None = None
    ) -> tuple[str, bytes, tuple[str, str]]:
        """The part that tensors make: its file, the content of that, and the tag that tells.

        Args:
            says: the tag's value. about: plain values that the file holds beside them: see `about`.
        """
        from safetensors import torch as tensors

        # One entry of metadata: safetensors writes several in any order.
        part = tensors.save(dict(content), {ABOUT: json.dumps(about)} if about else None)
        name = hashlib.sha256(part).hexdigest()[:12]
        return self.file(name), part, (self.tag(name), says)

    def of(
        self,
        store: Store,
        run: Run,
        is_wanted: Callable[[str], object] = lambda says: True,
        strict: bool = True,
    ) -> Iterator[tuple[Table, str]]:
        """The parts that a run tells of, each with what its tag says.

        Args:
            is_wanted: is asked for each tag's value.
            strict: whether a damaged part raises Damaged; else it is left out.
        """
        from safetensors.torch import load

        for name, said in self.names(run.tags).items():
            if is_wanted(said):
                try:
                    uri, run_id = run.artifact_uri, run.run_id
                    yield load(self.content(store.artifacts, uri, run_id, name)), said
                except Damaged:
                    if strict:
                        raise

    def content(self, artifacts: Artifacts, uri: str, run_id: str, name: str) -> bytes:
        """The file of a part. Raises Damaged if it is lost, or is not what was written."""
        content = artifacts.read(uri, self.file(name))
        if content is None or not hashlib.sha256(content).hexdigest().startswith(name):
            raise Damaged(
                f"{self.file(name)} of {run_id} is lost or damaged: 'indelible check --repair' "
                "lets go of it, and it can be made again"
            )
        return content

    def names(self, tags: Mapping[str, str]) -> dict[str, str]:
        """The parts that a run's tags tell of, by name, with what the tag says."""
        names = {tag: tag.removeprefix(f"{self.kind}/") for tag in sorted(tags)}
        return {name: tags[tag] for tag, name in names.items() if NAME.fullmatch(name)}

    def file(self, name: str) -> str:
        """The file of a part."""
        return f"{self.kind}-{name}.safetensors"

    def tag(self, name: str) -> str:
        """The tag that tells of a part."""
        return f"{self.kind}/{name}"


def about(content: bytes) -> dict[str, Any]:
    """The plain values that the file of a part holds beside its tensors.

    Raises ValueError, LookupError or TypeError where it holds none, or is no such file.
    """
    length = int.from_bytes(content[:8], "little")
    told: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][ABOUT])
    return told


LEFT_OUT = Parts("leave_one_out")  # of samples: logits (tests, classes)
SECOND_SEED = Parts("second_seed")  # likewise
REFERENCES = Parts("references")  # of models: included, phi, correct (samples,), test accuracy
LEARNING = Parts("learning")  # losses and margins (epochs, samples)
PRE_FACTORS = Parts("pre_factors")  # of samples: what follows IDS, and a column for each factor
FORECASTS = Parts("forecasts")  # of samples: the columns of FORECAST
AUDITS = Parts("audits")  # of reference models: what `audit` keeps of each
ALL = (LEFT_OUT, SECOND_SEED, REFERENCES, LEARNING, PRE_FACTORS, FORECASTS, AUDITS)

IDS = "sample_ids"  # the tensor (rows,) with the samples, or numbers of models, that rows are of
POSITIONS, LABELS = "split_positions", "labels"  # tensors, (samples,)
SECONDS = "seconds/"  # begins the names of tensors with what each thing asked took for a row
INDEX = "index/"  # begins what is asked of the index; an algorithm's name ends it
CATALOG = "catalog"  # among what the file is about: the factors as rows of the catalog
PATHS = "paths"  # likewise: of the samples' files, where they have any
AT = "at"  # likewise: when it was written, milliseconds since 1970; the later of two values counts


@dataclass(frozen=True)
class Question:
    """Columns that are computed together, a row for each id of a sample, or number of a model.

    Attributes:
        version: of the rows of these ids. compute: the columns of these ids, or more.
    """

    names: Sequence[str]
    version: Callable[[list[int]], str]
    compute: Callable[[BaseModel, list[int]], Table]


def known(
    store: Store, run: Run, kind: Parts, questions: Mapping[str, Question], strict: bool = False
) -> dict[str, Rows]:
    """The rows that a run's current parts have, by the names of the questions' columns.

    Args:
        questions: by the names under which tags tell of their versions.
        strict: whether a damaged part raises Damaged; else it is left out.
    """
    rows: dict[str, Rows] = {name: {} for one in questions.values() for name in one.names}
    for part, says in kind.of(store, run, lambda says: read_tag(says).keys() & questions, strict):
        said, ids = read_tag(says), part[IDS].tolist()
        for key, question in questions.items():
            # A column that was added since is lacking, also where the version was not raised.
            if said.get(key) == question.version(ids) and part.keys() >= {*question.names}:
                _add(rows, part, question.names)
    return rows


def _add(rows: dict[str, Rows], part: Table, names: Iterable[str]) -> None:
    for name in names:
        column = part[name]
        values = column.tolist() if column.ndim == 1 else column
        rows[name] |= zip(part[IDS].tolist(), values, strict=True)


def answers(
    store: Store,
    run_id: str,
    kind: Parts,
    questions: Mapping[str, Question],
    ids: Sequence[int],
    pool: Callable[[], AbstractContextManager[Pool]],
    block: int,
    progress: Progress,
    doing: str,
    about_ids: Callable[[Table], Mapping[str, Any]] = lambda part: {},
) -> dict[str, Rows]:
    """The rows of all questions, by name: read, or else computed block by block and kept.

    What is computed is saved now and then and at the end, also if that is interrupted.

    Args:
        about_ids: what the file of a part is about. pool: opens who computes.
    """
    import torch

    rows = known(store, store.run(run_id), kind, questions)
    lacking = {k: one for k, one in questions.items() if {*ids} - rows[one.names[0]].keys()}
    there = [rows[question.names[0]].keys() for question in lacking.values()]
    missing = [i for i in dict.fromkeys(ids) if not all(i in some for some in there)]
    progress(len({*ids}) - len(missing), doing)
    if not missing:
        return rows
    computes = {key: question.compute for key, question in lacking.items()}
    new, began = list[Table](), time.monotonic()
    saved = began

    def compute(base: BaseModel, some: list[int]) -> Table:
        part = {IDS: torch.tensor(some)}
        for key, columns_of in computes.items():
            started = time.perf_counter()
            part |= columns_of(base, some)
            seconds = (time.perf_counter() - started) / len(some)  # a share for each
            part[f"{SECONDS}{key}"] = torch.full((len(some),), seconds, dtype=torch.float64)
        return part

    def save() -> None:
        if new:
            part = {name: torch.cat([part[name] for part in new]) for name in new[0]}
            versions = {k: one.version(part[IDS].tolist()) for k, one in lacking.items()}
            about = {AT: milliseconds(), **about_ids(part)}
            store.attach(run_id, *kind.made_of(part, as_tag(versions), about))
            _add(rows, part, [name for one in lacking.values() for name in one.names])
            new.clear()

    with pool() as workers:
        try:
            for some, part in workers.map(compute, in_blocks(missing, block)):
                new.append(part)
                progress(len(some), doing)
                if time.monotonic() - saved > max(SAVED_EVERY, (saved - began) / 2):
                    save()
                    saved = time.monotonic()
        finally:
            save()
    store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
    return rows
