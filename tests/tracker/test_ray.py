"""A Ray cluster computes what threads do, whatever happens to its nodes."""

from __future__ import annotations

import copyreg
import io
import pickle
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from factors import HISTORIES, families
from factors.family import Family
from tests.factors.small_bases import Tied, normalised, random_base
from tests.forked import succeed
from tests.tracker.conftest import Indelible, opened, own_copy
from tests.tracker.test_damage import one_line
from tracker.base import base_models, companions, ray_engine
from tracker.base.base_models import BaseRun
from tracker.base.ray_engine import RayEngine
from tracker.base.references import Making, refer
from tracker.base.workers import Clock, Stop, Threads
from tracker.store.bulk import SqlStore
from tracker.store.records import COMMAND, NOTE, Kind, code_version
from tracker.studies.predict import predict
from tracker.sweep import sweep
from tracker.sweep.choosing import configure
from tracker.sweep.measuring import lacking, measure
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import Plan
from unlearning.base_model import BaseModel
from unlearning.errors import Failure, UserError
from unlearning.execution import Execution

ray = pytest.importorskip("ray")

OWN = """
import os
from pathlib import Path

from factors.family import Column, Family

HERE = Path(__file__).parent


def fatal(chunk):
    if 5 in chunk.positions.tolist():
        (HERE / "deaths").open("a").write("x")
        os._exit(1)
    return {"depth": chunk.unlearned.steps.double() + 1}


FAMILY = Family(
    name="fatal",
    post=fatal,
    declared=(Column("depth", "Depth", "steps", "high", "steps and one more"),),
)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without a slot, and two nodes with one each, all on this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def base(trained: Path) -> BaseRun:
    return base_models.load(opened(SqlStore, trained), "latest", torch.device("cpu"))


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def on_ray(cluster: Any, said: list[str]) -> Iterator[RayEngine]:
    """One for all tests, and what it says."""
    with RayEngine(cluster.address, say=said.append) as engine:
        yield engine


def rows(folder: Path) -> dict[str, tuple[dict[str, float], str]]:
    """The metrics of each member, by key, and all else that is logged, but for times."""
    store = opened(SqlStore, folder)
    ids = [run.run_id for run in store.finished_runs(Kind.MEMBER)]
    found = {}
    for run in store.logged(ids, HISTORIES):
        metrics = {n: value for n, value in sorted(run.metrics.items()) if n != "cost/elapsed_s"}
        tags = sorted(tag for tag in run.tags.items() if tag[0] not in (NOTE, COMMAND))
        found[run.tags["key"]] = metrics, str((sorted(run.params.items()), tags, run.histories))
    assert len(found) == len(ids), "a member is there twice"
    return found


SAMPLES = 24
DISTURBED = ("sweep", "--algorithm", "ga", "--algorithm", "scrub", "--samples", str(SAMPLES))
HOW = ("--chunk", "4", "--execution", "stacked")


def command(folder: Path, *options: str) -> list[str]:
    words = ("--store", str(folder), *DISTURBED, *HOW, *options)
    return [sys.executable, "-m", "indelible", *words]


@pytest.mark.slow
@pytest.mark.faults
def test_nodes_and_the_head_die_and_nothing_is_lost_or_doubled(
    trained: Path, tmp_path: Path, cluster: Any
) -> None:
    from ray.cluster_utils import Cluster

    local, folder = (own_copy(trained, tmp_path / name) for name in ("local", "ray"))
    succeed("--store", local, *DISTURBED, *HOW, "--workers", 2)
    frail: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    joined, head = frail.add_node(num_cpus=1), frail.head_node
    process = subprocess.Popen(
        command(folder, "--engine", "ray", "--address", frail.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("2 slots on 2 nodes" in line for line in process.stderr)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:

        def wait_for(count: int) -> None:
            asked = "select count(*) from tags where key = 'kind' and value = 'member'"
            while database.execute(asked).fetchone()[0] < count and process.poll() is None:
                time.sleep(0.02)

        wait_for(4)
        frail.remove_node(joined, allow_graceful=False)
        frail.add_node(num_cpus=1)
        wait_for(12)
    assert process.poll() is None, "it was done before the head died"
    head.kill_gcs_server()
    out, said = process.communicate(timeout=300)
    head.kill_all_processes(check_alive=False, allow_graceful=False)
    frail.shutdown()
    assert (process.returncode, out) == (1, "")
    (line,) = (line for line in said.splitlines() if line.startswith("indelible: "))
    assert re.search(
        r"Ray cluster, \S+, is gone, and with it \d pieces? of work in hand; all", line
    )
    assert "Traceback" not in said
    assert 4 <= len(rows(folder)) < 2 * SAMPLES
    succeed("--store", folder, *DISTURBED, *HOW, "--engine", "ray", "--address", cluster.address)
    assert rows(folder) == rows(local)


def plan_of(base: BaseRun, *names: str, own: list[Family] | None = None) -> Plan:
    chosen = configure(names or ("ga", "scrub"), "digits", [])
    ids = base.model.dataset.train.ids[:24].tolist()
    return Plan.on(base, chosen, ids, 0, "both", families=own)


def dislikes(base: BaseModel, piece: int) -> None:
    if piece == 2:
        raise UserError(f"{piece} is not liked")


@pytest.mark.slow
def test_numbers_predictions_and_references_are_those_of_threads(
    trained: Path, tmp_path: Path, base: BaseRun, on_ray: RayEngine, said: list[str]
) -> None:
    found, beside, plan, clock = [], [], plan_of(base), Clock()
    assert base.model.origin is not None
    how = Making(base.model.origin.arch, base.model.origin.recipe)
    for name, engine in (("threads", Threads(2)), ("ray", on_ray)):
        store = opened(SqlStore, own_copy(trained, tmp_path / name))
        refer(store, base.run_id, base.model, how, 3, lambda *_: None, engine)
        references = companions.load(store, store.run(base.run_id)).references
        assert references is not None
        predicted = predict(store, base, plan, engine).rows.to_pylist()
        beside.append((references.digest, predicted))
        options = Options(chunk=4, execution=Execution.STACKED, engine=engine)
        sweep_id = sweep.run(store, base, plan, options, Reporter(clock=clock))
        assert sweep.run(store, base, plan, options) == sweep_id
        found.append(rows(tmp_path / name))
        spent = clock.taken()
        assert min(spent["compute"], spent["evaluate"], spent["checkpoints"]) > 0, "of the nodes"
    by_threads, by_ray = found
    assert by_ray == by_threads
    assert beside[0] == beside[1]
    with on_ray.pool(base.model, Stop()) as pool, pytest.raises(UserError, match="2 is not liked"):
        list(pool.map(dislikes, iter([1, 2, 3])))
    assert said[-1] == "Ray: 2 slots on 2 nodes"
    finished = store.finished_members(plan.digests.values()).items()
    done = {key: replace(member, versions="") for key, member in finished}
    missing = lacking(base.model, plan.planned(), done, plan.families)
    outcome = measure(store, base, missing, None, on_ray)
    assert (outcome.measured, outcome.lost) == (len(by_threads), [])
    for key, (metrics, _) in rows(tmp_path / "ray").items():
        assert metrics == pytest.approx(by_threads[key][0], rel=1e-12, abs=1e-12)


@pytest.mark.slow
def test_what_ends_its_process_three_times_is_named_and_all_else_is_done(
    trained: Path,
    tmp_path: Path,
    base: BaseRun,
    cluster: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, here = own_copy(trained, tmp_path / "store"), tmp_path / "here"
    here.mkdir()
    (here / "fatal_factor.py").write_text(OWN)
    monkeypatch.chdir(here)
    plan = plan_of(base, "ga", own=families(["module:fatal_factor:FAMILY"]))
    named = rf"ended 3 times, for ga of samples .*\b{plan.sample_ids[5]}\b.*All else is done"
    with RayEngine(cluster.address) as engine:
        options = Options(chunk=4, execution=Execution.STACKED, engine=engine)
        with pytest.raises(Failure, match=named):
            sweep.run(opened(SqlStore, folder), base, plan, options)
    assert (here / "deaths").read_text() == "xxx"
    assert capsys.readouterr().out == "", "stdout is data only"
    assert len(rows(folder)) == 20, "all but a chunk"
    values = [metrics for metrics, _ in rows(folder).values() if "cost/steps" in metrics]
    assert all(of["fatal/depth"] == of["cost/steps"] + 1 for of in values)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--engine", "ray", "--workers", 2), 2, "--workers has no effect with --engine ray"),
        (("--slots", 2), 2, "--slots has no effect without --engine ray"),
        (("--engine", "ray", "--address", "127.0.0.1:1"), 1, "'127.0.0.1:1' does not answer"),
    ],
)
def test_bad_options(
    trained: Path,
    indelible: Indelible,
    options: tuple[object, ...],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    answer = indelible(trained, "sweep", "--algorithm", "ga", "--samples", 5, *options)
    assert answer.code == code
    assert said in answer.err.splitlines()[-1]


def test_without_ray_or_with_another_version(
    trained: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*_: Any, **__: Any) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.40.0")

    command = ("sweep", "--algorithm", "ga", "--samples", 5, "--engine", "ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    one_line(indelible(trained, *command), "cannot be used: Version mismatch", "Ray: 2.40.0")
    monkeypatch.setitem(sys.modules, "ray", None)
    one_line(indelible(trained, *command), "not installed: pip install 'indelible[ray]'")


def arrived(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """A base model as the process of a node gets it, from memory that must not be written."""

    class Sending(pickle.Pickler):
        dispatch_table = copyreg.dispatch_table | {
            torch.Tensor: lambda tensor: (ray_engine._as_tensor, (ray_engine._as_bytes(tensor),))
        }

    arrays: list[pickle.PickleBuffer] = []
    Sending(stream := io.BytesIO(), 5, buffer_callback=arrays.append).dump(base.__getstate__())
    read_only = [bytes(array) for array in arrays]
    monkeypatch.setattr(ray, "get", lambda state: pickle.loads(state, buffers=read_only))
    return ray_engine._arrived.__wrapped__(stream.getvalue())


def test_a_base_model_arrives_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    base = random_base(normalised())
    found, before = arrived(base, monkeypatch), base.weights_sha256
    assert found.dataset.fingerprint == base.dataset.fingerprint
    for name in ("train_inputs", "test_inputs", "train_logits", "test_features", "held_out_prob"):
        assert torch.equal(getattr(found, name), getattr(base, name))
        assert getattr(found, name).stride() == getattr(base, name).stride()
    for name, p in found.network.named_parameters():
        assert p.data_ptr() == found.params[name].data_ptr(), "a parameter and its view"
        assert (p.requires_grad, p.stride()) == (True, base.params[name].stride())
    assert torch.equal(found.model(base.test_inputs), base.model(base.test_inputs))
    with torch.no_grad():
        next(iter(found.params.values())).add_(1)  # its own copy
    assert base.weights_sha256 == before == arrived(base, monkeypatch).weights_sha256
    tied = arrived(random_base(Tied()), monkeypatch).network
    assert tied.get_parameter("first.weight") is tied.get_parameter("second.weight")


@pytest.mark.parametrize(("dtype", "rows"), [(torch.bfloat16, 3), (torch.bool, 0)])
def test_tensors_of_every_kind_arrive(dtype: torch.dtype, rows: int) -> None:
    tensor = torch.arange(24).reshape(6, 4).to(dtype)[1 : 1 + rows, ::2]
    found = ray_engine._as_tensor(ray_engine._as_bytes(tensor))
    assert torch.equal(found, tensor)
    assert (found.dtype, found.stride()) == (dtype, tensor.stride())


def test_a_process_with_other_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda told: told)
    own: list[list[str]] = [[] for _ in ray_engine.REGISTRIES]
    received: Any = ray_engine._received.__wrapped__
    assert received((sys.path, own, code_version(), ["the work"])) == "the work"
    with pytest.raises(UserError, match=r"^Indelible is other in this process, and 0"):
        received((sys.path, own, "other", ["the work"]))
