"""Stores merged into one, run by run and by key: what is here stays as it is.

A run is written whole, its files before its rows. A parent run (a sweep, a tuning, an unlearning)
whose merging was stopped is one that was stopped: the same merge goes on with it, and its own
command does. One process at a time merges into an embedded store, and a parent run is merged by
the process that drives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Run, RunTag

from tracker.base import images, parts
from tracker.base.base_models import OUTPUTS_APART, as_name
from tracker.reading.merging import AT_A_TIME, CHILD, Advance, Parent, Say, Source, files_of
from tracker.store import extremes
from tracker.store.addresses import Address
from tracker.store.files import Artifacts
from tracker.store.blocks import in_blocks
from tracker.store.driver import close_stale_sweeps, driving, locked
from tracker.store.opening import open_store
from tracker.store.read import Reader
from tracker.store.records import AVERAGED, FIRST_BEGAN, MEASURED_AT, NOTE, Data, Finished, Kind, Known as Logged, Record, first_began, milliseconds, this_process
from tracker.store.registry import REGISTERED
from tracker.store.write import PROCESS, Store
from tracker.store.weights import file_name
from tracker.store.records import Known as Whole
from tracker.store.read import whole_runs
from tracker.sweep.parent import close
from tracker.sweep.plan import add_to_catalog, finished_of
from tracker.sweep.shards import SHARD
from unlearning import naming
from unlearning.errors import Failure, UserError

OUTCOME = ("train_accuracy", "test_accuracy", "test_loss")  # of a base model, alike everywhere
LEFT_OUT = (REGISTERED, extremes.TAG, extremes.TAGGED)  # tags that are true of one store alone
TIMES = (AVERAGED["elapsed_s"], "seconds")  # metrics that are never the same twice
TOGETHER = 64 * 2**20  # bytes of checkpoints that are written in one transaction

Ids = Mapping[str, str]  # of runs here, by those that they have there
Row = dict[str, Any]


def merge(store: Store, sources: Sequence[Source], say: Say, advance: Advance) -> list[Row]:
    """Write what stores have, which were checked, and another one lacks.

    Returns: a row a store and parent run: store, kind, run_id (here), name; how many child runs
    are new, doubled (they were here already), differing (of these, from what was here), finished
    (here now) and planned.

    Raises UserError where another process merges into it or drives what is merged, Failure where a
    base model has another outcome here.
    """
    for source in sources:
        for base in source.whole(source.ids(Kind.BASE_MODEL)):
            base_here(store, base)
    alone = locked(store, "merge", f"a merge into {store.address.shown}")
    with alone if store.address.is_embedded else nullcontext():
        close_stale_sweeps(store)
        return [row for source in sources for row in _merge(store, source, say, advance)]


def export(reader: Reader, reference: str, folder: Path) -> Whole:
    """Write a base model, with what is beside it, into a new store; what it is.

    The images of its samples are left out: a sweep writes those that it needs.

    Args:
        reference: the base model's name, id or the beginning of its id, or `latest`.
        folder: one that is empty or not there.

    Raises UserError where there is no such model, or where the folder is not empty or can be no
    store; Damaged where the model is.
    """
    runs = [run for run in reader.of_kind(Kind.BASE_MODEL) if run.status == "FINISHED"]
    if not runs:
        raise UserError("there is no base model in this store yet: run 'indelible train' first")
    named = [(run.run_id, run.name) for run in runs]
    run_id = naming.find(reference, named, "base model", "'indelible models' lists them")
    (run,) = whole_runs(reader, reader.runs(), [run_id])
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is there, and not an empty folder: name one that is not there")
    Address.of(folder)  # raises where no store can be
    files_of(reader.artifacts, run)  # raises where it is damaged, before anything is written
    _bring_base(open_store(folder), reader.artifacts, run)
    return run


def base_here(store: Store, there: Whole) -> Run | None:
    """The run here of a base model: of the same key, and with the same weights.

    Raises Failure where that has another accuracy or loss: one of the two is damaged.
    """
    for known in store.finished_runs(Kind.BASE_MODEL, f"tags.key = '{there.tags['key']}'"):
        if known.data.tags.get("weights_sha256") != there.tags["weights_sha256"]:
            continue
        for name in there.metrics.keys() & known.data.metrics.keys() & {*OUTCOME}:
            here, other = known.data.metrics[name], there.metrics[name]
            if abs(here - other) > OUTPUTS_APART * max(abs(here), abs(other)):
                raise Failure(
                    f"nothing of it was merged: base model {there.name} ({there.run_id}) has "
                    f"{name} {other:.6g} there and {here:.6g} here, so that one of both is damaged"
                )
        return known
    return None


def _merge(store: Store, source: Source, say: Say, advance: Advance) -> list[Row]:
    artifacts, ids, new = source.reader.artifacts, dict[str, str](), Counter[str]()
    bases = {run.run_id: run for run in source.whole(source.ids(Kind.BASE_MODEL))}
    for base in bases.values():
        ids[base.run_id], is_new = _bring_base(store, artifacts, base)
        new[base.kind] += is_new
        _bring_images(store, artifacts, base, ids)
    for run in source.whole(source.ids(Kind.PREDICTION)):
        new[run.kind] += _bring_prediction(store, artifacts, run, ids)
    rows = []
    for parent in source.parents.values():
        base = bases[parent.run.params["base_run_id"]]
        merging = _Merging(store, source, parent, base, ids, say)
        rows.append(merging.go(advance))
        new += Counter({parent.kind: merging.known is None, CHILD[parent.kind]: rows[-1]["new"]})
    if new:
        counts = (naming.counted(n, kind.replace("_", " ")) for kind, n in new.items() if n)
        say(f"from {source.folder}: {', '.join(counts)}")
    return rows


def _bring_base(store: Store, artifacts: Artifacts, there: Whole) -> tuple[str, bool]:
    """Write a base model with what is beside it, or add the parts that it lacks here.

    Returns: its run id here, and whether it is new.
    """
    files, here = files_of(artifacts, there), base_here(store, there)
    if here is None:
        note = there.tags.get(NOTE, "").replace(there.run_id, "{run_id}")
        new = (_experiment_id(store, there), there.record(files), _data_of(there), note)
        return store.log_base_model(*new), True
    run_id = str(here.info.run_id)
    for kind in parts.ALL:
        for name in kind.names(there.tags):
            tag, file = kind.tag(name), kind.file(name)
            if tag not in here.data.tags:
                store.attach(run_id, file, files[file], (tag, there.tags[tag]))
                store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
    return run_id, False


def _bring_images(store: Store, artifacts: Artifacts, base: Whole, ids: Ids) -> None:
    """Copy the images of a base model's samples that are not here."""
    folder = artifacts.path(base.artifact_uri)
    paths = sorted((folder / images.FOLDER).glob("*.png")) if folder else []
    uri = store.run(ids[base.run_id]).info.artifact_uri
    for some in in_blocks(paths, AT_A_TIME):
        files = {path.name: path.read_bytes() for path in some}
        store.artifacts.write_again(uri, images.FOLDER, files)


def _bring_prediction(store: Store, artifacts: Artifacts, run: Whole, ids: Ids) -> bool:
    """Write a prediction with the time at which it was made; whether it is new."""
    for _ in store.finished_runs(Kind.PREDICTION, f"tags.key = '{run.tags['key']}'"):
        return False
    record, experiment_id = _copied(artifacts, run, ids), _experiment_id(store, run)
    store.log_once(Kind.PREDICTION, experiment_id, record, _data_of(run), record.ended_ms)
    return True


def _experiment_id(store: Store, run: Whole) -> str:
    return store.experiment_id(run.params["dataset"], as_name(run.params["arch"]))


def _data_of(run: Whole) -> Data:
    """The data set of a run as an MLflow input."""
    names = {name: f"{name}_samples" for name in ("train", "test")}
    profile = {name: int(run.params[p]) for name, p in names.items() if p in run.params}
    return Data(run.params["dataset"], run.tags.get("data_fingerprint", ""), profile)


def _copied(artifacts: Artifacts, run: Whole, ids: Ids) -> Record:
    """A run as it is written here: it names runs by the ids that they have here."""
    record = run.record(files_of(artifacts, run))
    params = {n: ids.get(v, v) if n == "base_run_id" else v for n, v in run.params.items()}
    tags = {name: said for name, said in run.tags.items() if name not in LEFT_OUT}
    for there, here in ids.items():
        if NOTE in tags:
            tags[NOTE] = tags[NOTE].replace(there, here)
    return replace(record, params=params, tags=tags)


@dataclass
class _Merging:
    """A parent run that is being merged, and its child runs here.

    Attributes:
        base: its base model there.
    """

    store: Store
    source: Source
    parent: Parent
    base: Whole
    ids: Ids
    say: Say

    def __post_init__(self) -> None:
        run = self.parent.run
        self.experiment_id = _experiment_id(self.store, run)
        self.known = self.store.find_sweep(self.experiment_id, run.tags["key"], self.parent.kind)
        self.run_id = str(self.known.info.run_id) if self.known else ""
        self.here = self._children()

    def _children(self) -> dict[str, Finished]:
        """The finished child runs that are here, by key, whosever they are."""
        if self.parent.plan is not None:
            return finished_of(self.store, self.parent.plan)
        runs = self.store.finished_runs(CHILD[self.parent.kind])
        told = [(run.info.run_id, run.data.tags, run.data.metrics) for run in runs]
        return {tags["key"]: Finished.told(run_id, tags, m) for run_id, tags, m in told}

    def go(self, advance: Advance) -> Row:
        """Write what is not here, and end the run where all of it is; a row of `merge`."""
        parent, known = self.parent, self.known
        doubled = [key for key in parent.children if key in self.here]
        lacking = [key for key in parent.children if key not in self.here]
        differing = sum(self._differing(keys) for keys in in_blocks(doubled, AT_A_TIME))
        advance(len(doubled), parent.run.name)
        is_closed = known is not None and (
            known.info.status == "FINISHED" and SHARD not in known.data.tags
        )
        took_another_way = parent.kind is Kind.UNLEARNING and (is_closed or differing)
        is_new = known is None or lacking or (self._is_whole(lacking) and not is_closed)
        if is_new and not took_another_way:
            self._write(lacking, advance)
        return {
            "store": str(self.source.folder),
            "kind": str(parent.kind),
            "run_id": self.run_id,
            "name": parent.run.name,
            "new": len([key for key in lacking if key in self.here]),
            "doubled": len(doubled),
            "differing": differing,
            "finished": len(self.here.keys() & parent.planned),
            "planned": len(parent.planned),
        }

    def _is_whole(self, written: Sequence[str] = ()) -> bool:
        """Whether all of it is here, once these children are."""
        if self.parent.plan is None:
            return self.parent.run.status == "FINISHED"
        return self.parent.planned <= self.here.keys() | {*written}

    # Child runs that are in both

    def _differing(self, keys: Sequence[str]) -> int:
        """How many child runs differ; those here learn when they began first, and get weights."""
        there = [self.parent.children[key] for key in keys]
        whole = whole_runs(self.source.reader, self.source.runs, there)
        logged = self.store.logged([self.here[key].run_id for key in keys], ())
        for here, run in zip(logged, whole, strict=True):
            first = first_began(run.started_ms, run.tags)
            if first < first_began(here.started_ms, here.tags):
                tags = {FIRST_BEGAN: str(first), MEASURED_AT: str(milliseconds())}
                said = [RunTag(*tag) for tag in tags.items()]  # the second has it loaded again
                self.store.client.log_batch(here.run_id, tags=said)
            sha256 = run.tags.get("checkpoint")
            if sha256 and "checkpoint" not in here.tags and not _differs(here, run):
                name = file_name("checkpoint", sha256)
                content = files_of(self.source.reader.artifacts, run)[name]
                self.store.attach(here.run_id, name, content, ("checkpoint", sha256))
        return sum(map(_differs, logged, whole))

    # What is not here

    def _write(self, lacking: Sequence[str], advance: Advance) -> None:
        """Write child runs, and then end the parent run, as the process that drives it.

        Raises UserError where another process does.
        """
        parent, store = self.parent, self.store
        if self.known is None:
            data = _data_of(self.base)
            self.run_id = store.begin_sweep(self.experiment_id, self._record(), data, parent.kind)
        what = f"{parent.kind} {parent.run.name} ({self.run_id})"
        with driving(store, self.run_id, what, say=self.say):
            self.here = self._children()  # all that a driver before this one wrote
            store.resume_sweep(self.run_id)
            try:
                self._add([key for key in lacking if key not in self.here], advance)
                self.here = self._children()
                self._end()
            except BaseException:
                store.interrupt(self.run_id)
                raise

    def _record(self) -> Record:
        """The parent run as it is written here; the aggregates of a sweep are made anew."""
        record = _copied(self.source.reader.artifacts, self.parent.run, self.ids)
        names = self.parent.plan.digests if self.parent.plan else ()
        points = tuple(p for p in record.points if p.key.partition("/")[0] not in names)
        return replace(record, tags={**record.tags, PROCESS: this_process()}, points=points)

    def _add(self, keys: Sequence[str], advance: Advance) -> None:
        """Write child runs: not too many bytes at a time."""
        group, size, left = list[Record](), 0, len(keys)
        for child in self.source.whole([self.parent.children[key] for key in keys]):
            group.append(_copied(self.source.reader.artifacts, child, self.ids))
            size, left = size + sum(map(len, group[-1].artifacts.values())), left - 1
            if size > TOGETHER or len(group) == AT_A_TIME or not left:
                self.store.write_members(self.experiment_id, self.run_id, group)
                advance(len(group), self.parent.run.name)
                group, size = [], 0

    def _end(self) -> None:
        """Finish the parent run where all of it is here, else leave it to be gone on with."""
        store, run_id, there = self.store, self.run_id, self.parent.run
        ends = [there.ended_ms, self.known.info.end_time if self.known else None]
        ended = max((end for end in ends if end is not None), default=None)
        if self.parent.plan is not None:
            add_to_catalog(store, store.run(run_id), self.parent.plan.factors)
            base = store.run(self.ids[self.base.run_id])
            accuracy = float(base.data.metrics["test_accuracy"])
            close(store, run_id, self.here, accuracy, there.tags.get(SHARD, ""), ended)
            if self.known is not None:  # so that it is loaded again
                store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
        elif self._is_whole():
            record, known = self._record(), store.run(run_id)
            store.artifacts.write(known.info.artifact_uri, record.artifacts)
            points = [Metric(*p) for p in record.points if known.data.metrics.get(p.key) != p.value]
            tags = [RunTag(*tag) for tag in record.tags.items()]
            store.client.log_batch(run_id, points, tags=tags)
            for child in self.here.values():  # the parent run has the weights now
                if child.sweep_id == run_id and child.has_checkpoint:
                    store.drop_checkpoint(child.run_id)
            store.discard_half_written(run_id)
            store.client.set_terminated(run_id, "FINISHED", ended)
        if not self._is_whole():
            store.interrupt(run_id, ended)


def _differs(here: Logged, there: Whole) -> bool:
    """Whether what two stores have of a child run differs: weights, or numbers but for times."""
    weights = {t["weights_sha256"] for t in (here.tags, there.tags) if "weights_sha256" in t}
    names = here.metrics.keys() & there.metrics.keys() - {*TIMES}
    numbers = [(here.metrics[name], there.metrics[name]) for name in names]
    return len(weights) > 1 or any(one != other == other for one, other in numbers)
