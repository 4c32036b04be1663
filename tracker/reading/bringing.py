"""Base models and predictions of one store, brought into another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Run

from tracker.access.artifacts import Artifacts, Damaged
from tracker.access.blocks import in_blocks
from tracker.base.base_models import OUTPUTS_APART, as_name
from tracker.base.images import FOLDER
from tracker.base.parts import ALL, Parts
from tracker.reading.doubled import apart
from tracker.record.records import MEASURED_AT, NOTE, Data, Kind, Record, milliseconds
from tracker.record.store import Store
from tracker.record.weights import file_name, weights_file
from tracker.record.whole import Whole
from tracker.sweeping import predicted
from unlearning.errors import Failure

OUTCOME = ("train_accuracy", "test_accuracy", "test_loss")  # of a base model, alike everywhere
PICTURES = 200  # images that are in memory at a time

Ids = Mapping[str, str]  # of runs here, by those that they have there


def files_of_base(artifacts: Artifacts, run: Whole) -> dict[str, bytes]:
    """The weights of a base model and the parts beside it, by name. Raises Damaged."""
    try:
        weights = weights_file(artifacts, run.artifact_uri, run.tags)
    except Damaged as damage:
        raise Damaged(f"of base model {run.run_id}, {damage}") from damage
    files = {file_name("weights", run.tags["weights_sha256"]): weights}
    for kind, name in _parts(run.tags):
        files[kind.file(name)] = kind.content(artifacts, run.artifact_uri, run.run_id, name)
    return files


def file_of_prediction(artifacts: Artifacts, run: Whole) -> dict[str, bytes]:
    """The file of a prediction, by its name. Raises Damaged."""
    try:
        content = predicted.predicted_file(artifacts, run.artifact_uri, run.tags)
    except Damaged as damage:
        raise Damaged(f"of prediction {run.run_id}, {damage}") from damage
    return {predicted.file_name(run.tags[predicted.TAG]): content}


def bring_base(store: Store, artifacts: Artifacts, run: Whole) -> tuple[str, bool]:
    """Write a base model with what is beside it, or add the parts that it lacks here.

    Args:
        artifacts: of the store that it is in.

    Returns: its run id here, and whether anything was written.
    """
    files = files_of_base(artifacts, run)
    here = base_here(store, run)
    if here is not None:
        return str(here.info.run_id), _add_parts(store, here, run, files)
    dataset, arch = run.params["dataset"], as_name(run.params["arch"])
    note = run.tags.get(NOTE, "").replace(run.run_id, "{run_id}")
    experiment_id = store.experiment_id(dataset, arch)
    return store.log_base_model(experiment_id, run.record(files), data_of(run), note), True


def base_here(store: Store, run: Whole) -> Run | None:
    """The run here of a base model: of the same key, and with the same weights.

    Raises Failure where that has another accuracy or loss: one of the two is damaged.
    """
    for known in store.finished_runs(Kind.BASE_MODEL, f"tags.key = '{run.tags['key']}'"):
        if known.data.tags.get("weights_sha256") != run.tags["weights_sha256"]:
            continue
        for name, here in known.data.metrics.items():
            there = run.metrics.get(name, here)
            if name in OUTCOME and apart(here, there) > OUTPUTS_APART:
                raise Failure(
                    f"nothing of it was merged: base model {run.name} ({run.run_id}) has {name} "
                    f"{there:.6g} there and {here:.6g} here, so that one of both is damaged"
                )
        return known
    return None


def bring_images(store: Store, run_id: str, folder: Path | None) -> None:
    """Copy the images of a base model's samples that are not there; folder: of its files there."""
    paths = sorted((folder / FOLDER).glob("*.png")) if folder is not None else []
    uri = store.run(run_id).info.artifact_uri if paths else ""
    for some in in_blocks(paths, PICTURES):
        store.artifacts.write_again(uri, FOLDER, {path.name: path.read_bytes() for path in some})


def bring_prediction(store: Store, artifacts: Artifacts, run: Whole, data: Data, ids: Ids) -> bool:
    """Write a prediction with the time at which it was made; whether it is new."""
    for _ in store.finished_runs(Kind.PREDICTION, f"tags.key = '{run.tags['key']}'"):
        return False
    record = with_ids(run.record(file_of_prediction(artifacts, run)), ids)
    experiment_id = store.experiment_id(run.params["dataset"], as_name(run.params["arch"]))
    store.log_once(Kind.PREDICTION, experiment_id, record, data, record.ended_ms)
    return True


def data_of(base: Whole) -> Data:
    """The data set of a base model as an MLflow input."""
    profile = {name: int(base.params[f"{name}_samples"]) for name in ("train", "test")}
    return Data(base.params["dataset"], base.tags["data_fingerprint"], profile)


def with_ids(record: Record, ids: Ids) -> Record:
    """A record that names runs by the ids that they have here: in a param, and in its note."""
    changed = {there: here for there, here in ids.items() if there != here}
    params, tags = dict(record.params), dict(record.tags)
    if "base_run_id" in params:
        params["base_run_id"] = ids.get(str(params["base_run_id"]), params["base_run_id"])
    for there, here in changed.items():
        if NOTE in tags:
            tags[NOTE] = tags[NOTE].replace(there, here)
    return replace(record, params=params, tags=tags)


def _parts(tags: Mapping[str, str]) -> Iterator[tuple[Parts, str]]:
    """The parts that the tags of a base model tell of: their kinds and names."""
    return ((kind, name) for kind in ALL for name in kind.names(tags))


def _add_parts(store: Store, here: Run, there: Whole, files: Mapping[str, bytes]) -> bool:
    """Add what is beside a base model there and not here; whether anything was."""
    run_id, known = str(here.info.run_id), here.data.tags
    lacking = [(k, name) for k, name in _parts(there.tags) if k.tag(name) not in known]
    for kind, name in lacking:
        tag = kind.tag(name)
        store.attach(run_id, kind.file(name), files[kind.file(name)], (tag, there.tags[tag]))
    if lacking:
        store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
    return bool(lacking)
