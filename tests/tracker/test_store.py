"""What a run looks like in MLflow, and what happens when a sweep is called again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import factors
from analysis.warehouse import open_warehouse
from tests.tracker.conftest import ALGORITHMS, NOTHING_TRAINED_FOR, SAMPLES, Done, Indelible, opened
from tracker.base import base_models, workers
from tracker.base.beforehand import pre_factors
from tracker.base.workers import Clock
from tracker.store.records import AVERAGED, Kind
from tracker.store.write import Store
from tracker.sweep import sweep
from tracker.sweep.choosing import configure, draw_samples
from tracker.sweep.chunks import ChunkRunner
from tracker.sweep.options import Options
from tracker.sweep.plan import PLAN, Plan, read_plan
from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.execution import Execution


@pytest.fixture(scope="module")
def client(done: Done) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{done.folder / 'mlflow.db'}")


@pytest.fixture(scope="module")
def children(done: Done, client: MlflowClient) -> list[Run]:
    (experiment,) = done.store.experiments()
    condition = f"tags.`mlflow.parentRunId` = '{done.sweep}'"
    return list(client.search_runs([experiment.experiment_id], condition, max_results=1000))


def test_one_experiment_a_data_set_and_architecture(done: Done, client: MlflowClient) -> None:
    (experiment,) = done.store.experiments()
    assert experiment.name == "indelible/digits-small-cnn"
    assert "hard to unlearn" in experiment.tags["mlflow.note.content"]
    assert experiment.artifact_location.startswith(done.folder.as_uri())
    where = ([experiment.experiment_id], "params.algorithm = 'ga'")
    gts = [r.data.metrics["gt"] for r in client.search_runs(*where, order_by=["metrics.gt ASC"])]
    assert len(gts) == SAMPLES
    assert gts == sorted(gts)


def test_base_model_run(done: Done, client: MlflowClient) -> None:
    run = client.get_run(done.model)
    assert run.info.status == "FINISHED"
    assert run.data.params["epochs"] == "30"
    assert run.data.metrics["test_accuracy"] >= 0.97
    assert run.inputs
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "digits"
    assert run.data.tags["data_fingerprint"].startswith(data.dataset.digest)
    kinds = [f.path.partition("-")[0] for f in client.list_artifacts(done.model)]
    assert sorted(kinds) == ["images", "learning", "pre_factors", "weights"]
    assert f"--model {done.model}" in run.data.tags["mlflow.note.content"]
    assert len(client.get_metric_history(done.model, "train_loss")) == 30


def test_sweep_run(done: Done, client: MlflowClient) -> None:
    run = client.get_run(done.sweep)
    assert run.info.status == "FINISHED"
    assert run.data.params["base_run_id"] == done.model
    note = run.data.tags["mlflow.note.content"]
    assert done.sweep in note
    assert "indelible correlate" in note
    for name in ALGORITHMS:
        assert 0 <= run.data.metrics[f"{name}/flip_rate"] <= 1
        assert run.data.metrics[f"{name}/mean_gt"] > 0
        assert f"| {name} |" in note
    assert run.inputs
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"


def test_aggregates_follow_from_the_children(
    done: Done, client: MlflowClient, children: list[Run]
) -> None:
    metrics = client.get_run(done.sweep).data.metrics
    for name in ALGORITHMS:
        mine = [run for run in children if run.data.params["algorithm"] == name]
        tried = [run for run in mine if run.data.tags["status"] != "already_wrong"]
        flipped = [run for run in tried if run.data.tags["status"] == "flipped"]
        assert metrics[f"{name}/flip_rate"] == pytest.approx(len(flipped) / len(tried))
        for mean, metric in AVERAGED.items():
            values = [run.data.metrics[metric] for run in tried]
            assert metrics[f"{name}/mean_{mean}"] == pytest.approx(sum(values) / len(values))
        assert metrics[f"{name}/flipped"] == len(flipped)


def test_a_child_run_a_member(done: Done, children: list[Run], base: BaseModel) -> None:
    assert len(children) == SAMPLES * len(ALGORITHMS)
    assert len({run.data.tags["key"] for run in children}) == len(children)
    labels = dict(zip(base.dataset.train.ids.tolist(), base.train_labels.tolist(), strict=True))
    for run in children:
        tags, params = run.data.tags, run.data.params
        sample = int(tags["sample_id"])
        assert run.info.status == "FINISHED"
        assert run.info.run_name == f"{params['algorithm']}-{sample:05d}"
        assert int(tags["label"]) == labels[sample]
        assert tags["code_version"].startswith("0.")
        fields = algorithms.get(params["algorithm"])().settings()
        assert set(params) == {"algorithm", "seed", "engine_version", "precision", *fields}


def test_a_child_run_has_every_factor_and_the_histories(
    children: list[Run], client: MlflowClient, done: Done
) -> None:
    for run in children[::5]:
        assert run.data.tags["status"] in ("flipped", "max_steps")
        known = {c.metric for c in factors.columns() if c.name not in NOTHING_TRAINED_FOR}
        algorithm = run.data.params["algorithm"]
        own = {f"{algorithm}/{name}" for name in algorithms.get(algorithm).logged}
        assert set(run.data.metrics) == known | own | {"forget_prob", "forget_loss", "points_lost"}
        steps = run.data.metrics["cost/steps"]
        prob = client.get_metric_history(run.info.run_id, "forget_prob")
        loss = client.get_metric_history(run.info.run_id, "forget_loss")
        assert [m.step for m in prob] == [m.step for m in loss] == list(range(int(steps) + 1))
        with open_warehouse(done.folder / "analysis.duckdb") as warehouse:
            own_rows = f"from histories where run_id = '{run.info.run_id}' order by step"
            rows = warehouse.query(f"select forget_prob, forget_loss {own_rows}").rows
        assert rows == [(p.value, c.value) for p, c in zip(prob, loss, strict=True)]
        fall = prob[0].value - prob[-1].value
        assert fall == run.data.metrics["performance/forget_prob_diff"]
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        checkpoint = f"checkpoint-{run.data.tags['checkpoint'][:16]}.safetensors"
        assert checkpoint in files
        assert files == {checkpoint}


def test_the_plan_is_kept_with_the_sweep(done: Done, children: list[Run]) -> None:
    store = done.store
    run = store.run(done.sweep)
    content = store.artifacts.read(run.artifact_uri, PLAN)
    kept = read_plan(content, done.sweep, run.tags["key"])
    assert set(kept.keys()) == {run.data.tags["key"] for run in children}
    assert content
    ga = json.loads(content)["algorithms"]["ga"]
    assert ga["settings"] == configure(["ga"], "digits", [])[0].settings()


# Calling a sweep again


@pytest.fixture
def fresh(tmp_path: Path, indelible: Indelible) -> Store:
    """A store with a base model, written through MLflow's client."""
    assert indelible(tmp_path, "train", "--epochs", 3).code == 0
    return opened(Store, tmp_path)


def planned(store: Store, samples: int, names: tuple[str, ...] = ("ga", "salun")) -> Any:
    base = base_models.load(store, "latest", workers.pick_device("cpu"))
    ids = draw_samples(base.model.dataset.train.ids.tolist(), samples, 0)
    return base, Plan.on(base, configure(names, "digits", []), ids, 0, f"s{samples}")


def keys(store: Store) -> list[str]:
    return sorted(run.tags["key"] for run in store.finished_runs(Kind.MEMBER))


@pytest.mark.slow
def test_a_sweep_through_mlflow_goes_on_and_is_reused(
    fresh: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, plan = planned(fresh, 4)
    real, calls = fresh.client.set_terminated, 0

    def failing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(fresh.client, "set_terminated", failing)
        with pytest.raises(KeyboardInterrupt):
            sweep.run(fresh, base, plan, Options(chunk=3))
    assert 0 < len(keys(fresh)) < 8
    experiment = fresh.experiment_id("digits", "small-cnn")
    (stopped,) = fresh.runs([experiment], "tags.kind = 'sweep'")
    assert stopped.status == "KILLED"
    assert sweep.run(fresh, base, plan, Options(chunk=3)) == stopped.run_id
    assert keys(fresh) == sorted(plan.keys())
    done = fresh.run(stopped.run_id)
    assert done.status == "FINISHED"
    assert "RUNNING" not in {run.status for run in fresh.runs([experiment])}
    assert sweep.run(fresh, base, plan, Options()) == stopped.run_id
    assert fresh.run(stopped.run_id) == done
    _, large = planned(fresh, 5)
    sweep.run(fresh, base, large, Options())
    assert keys(fresh) == sorted(large.keys())
    assert set(plan.keys()) < set(large.keys())


def test_results_do_not_depend_on_the_chunk(fresh: Store) -> None:
    base, plan = planned(fresh, 5)
    found, pre = [], pre_factors(fresh, base, plan.sample_ids)
    for size, execution in ((1, Execution.STACKED), (4, Execution.STACKED), (5, "sequential")):
        how = {algorithm.name: Execution(execution) for algorithm in plan.algorithms}
        runner = ChunkRunner(base, plan, how, pre, True, Clock(), lambda: False)
        work = [
            (algorithm, plan.sample_ids[start : start + size])
            for algorithm in plan.algorithms
            for start in range(0, 5, size)
        ]
        found.append([r for a, ids in work for r in runner.records(base.model, (a, list(ids)))])
    assert len(found[0]) == 10
    assert [r.metrics.get("gt") for r in found[0]] == [r.metrics.get("gt") for r in found[2]]
    for one, four in zip(found[0], found[1], strict=True):
        assert one.name == four.name
        assert {**one.tags, "checkpoint": ""} == {**four.tags, "checkpoint": ""}
        for name, value in one.metrics.items():
            if name != "cost/elapsed_s":
                # Float32 sums in another order; Adam turns their rounding into steps of lr.
                assert value == pytest.approx(four.metrics[name], rel=2e-2, abs=1e-4), name


def test_training_the_same_model_again_finds_it(done: Done, indelible: Indelible) -> None:
    assert indelible(done.folder, "train").id == done.model
