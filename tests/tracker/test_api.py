"""The API in Python: it does what the command line does, under the same keys."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from torch import Tensor, nn

import indelible
from analysis.warehouse import Table
from tests.test_imports import imported_by
from tests.tracker.conftest import Answer, Done, Indelible, own_copy
from unlearning import datasets
from unlearning.models import weights_sha256

Data = tuple[Tensor, Tensor]
IDS = (2, 13, 105)


class Own(nn.Module):
    """A network of the user's own, which can be imported and takes no arguments."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten())
        self.top = nn.Linear(width * 36, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.top(self.body((images - 0.5) / 0.5))
        return logits


def hidden(activation: nn.Module) -> nn.Module:
    """One whose class nobody else can import."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.top = nn.Linear(64, 32), nn.Linear(32, 10)
            self.activation = activation

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.top(self.activation(self.body(images.flatten(1))))
            return logits

    return Net()


def fitted(network: nn.Module, data: Data) -> nn.Module:
    torch.manual_seed(0)
    images, labels = data[0] / 255, data[1]
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def parts() -> tuple[Data, Data]:
    """Images that no data set of ours has, as bytes: training and test."""
    digits = datasets.load("digits").train
    images, labels = digits.images * 15, digits.labels
    return (images[:300], labels[:300]), (images[300:400], labels[300:400])


@pytest.fixture(scope="module")
def own(parts: tuple[Data, Data]) -> nn.Module:
    return fitted(Own(), parts[0])


@pytest.fixture(scope="module")
def nameless(parts: tuple[Data, Data]) -> nn.Module:
    return fitted(hidden(nn.ReLU()), parts[0])


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No address in the environment, and the logger as it was."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logger = logging.getLogger("indelible")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.propagate = True
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture
def call(indelible: Indelible) -> Indelible:
    """Run a command on a store."""
    return indelible


@pytest.fixture
def folder(done: Done, tmp_path: Path) -> Path:
    """A store with a base model and a sweep."""
    return own_copy(done.folder, tmp_path / "store")


@pytest.fixture
def begun(trained: Path, tmp_path: Path) -> Path:
    """A store with a base model, to which others are added."""
    return own_copy(trained, tmp_path / "begun")


def heard_by(*handlers: logging.Handler) -> None:
    """Have nobody but these listen to remarks: not pytest either."""
    logger = logging.getLogger("indelible")
    logger.propagate = False
    logger.handlers[:] = handlers


def rows(answer: Answer) -> list[dict[str, Any]]:
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


def records(table: Table) -> list[dict[str, Any]]:
    """The rows of a relation."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]


def as_json(found: list[dict[str, Any]]) -> Any:
    return json.loads(json.dumps(found, default=lambda value: value.isoformat()))


def test_importing_it_imports_nothing_heavy() -> None:
    loaded = imported_by("import indelible; indelible.open('none'), dir(indelible)")
    assert not loaded & {"torch", "mlflow", "matplotlib", "optuna", "sklearn"}
    assert set(indelible.__all__) <= set(dir(indelible))
    for name in indelible.__all__:
        assert getattr(indelible, name)
    with pytest.raises(AttributeError):
        _ = indelible.nothing  # type: ignore[attr-defined]


def test_training_is_that_of_the_command_line(tmp_path: Path, call: Indelible) -> None:
    store = indelible.open(tmp_path)
    made = store.train("digits", arch="mlp", epochs=2, seed=3, train_samples=200, test_samples=50)
    assert (made.dataset, made.arch) == ("digits", "mlp")
    options = ("--arch", "mlp", "--epochs", 2, "--seed", 3)
    drawn = ("--train-samples", 200, "--test-samples", 50)
    assert call(tmp_path, "train", *options, *drawn).id == made.run_id
    assert store.model() == store.model(made.run_id[:8]) == store.model(made.name) == made
    (row,) = rows(call(tmp_path, "models", "--format", "json"))
    assert row["test_accuracy"] == made.test_accuracy
    network, digits = made.network(), datasets.load("digits", datasets.Source(None, False, 200, 50))  # type: ignore[arg-type]
    with torch.no_grad():
        right = network(digits.inputs(digits.test)).argmax(1) == digits.test.labels
    assert right.double().mean().item() == made.test_accuracy


def test_a_sweep_of_the_command_line_is_at_hand(
    done: Done, call: Indelible, tmp_path: Path
) -> None:
    store = indelible.open(done.folder)
    sweep = store.find_sweep()
    assert sweep == store.find_sweep(sweep.name) == store.find_sweep(done.sweep)
    for name in ("attempts", "difficulty", "correlations"):
        of = "population = 'all' and " if name == "correlations" else ""
        schema = "internal." if name == "difficulty" else ""
        query = f"select * from {schema}{name} where {of}sweep_id = '{done.sweep}' order by all"
        there = rows(call(done.folder, "sql", query, "--format", "json"))
        assert there
        assert as_json(records(getattr(sweep, name)().order("all"))) == there
    of = "algorithm = 'ga' and status != 'already_wrong'"
    run_id, sample = sweep.attempts().filter(of).project("run_id, sample_id").fetchall()[0]
    output = tmp_path / "weights.safetensors"
    assert call(done.folder, "restore", run_id, "--output", output).code == 0
    for module in (store.restore(run_id), sweep.restore("ga", sample)):
        assert weights_sha256(module.state_dict()) == weights_sha256(load_file(output))
        assert not module.training
    with pytest.raises(indelible.UserError, match="no attempt of ga on sample 999999"):
        sweep.restore("ga", 999999)


def test_what_is_asked_is_what_the_command_line_prints(
    folder: Path, call: Indelible, tmp_path: Path
) -> None:
    store, file = indelible.open(folder), tmp_path / "requests.txt"
    sweep = store.find_sweep()  # the latest, before an advice makes others
    sample = store.rank().fetchall()[0][0]
    file.write_text("2 # please\n13\n")
    predicted = store.predict("ga", samples=6, seed=9)
    advised = store.advise("ga", max_loss=2, requests=[2, "13"])
    asked: dict[str, tuple[tuple[object, ...], Table]] = {
        "predict": (("--algorithm", "ga", "--samples", 6, "--seed", 9), predicted),
        "advise": (("--algorithm", "ga", "--max-loss", 2, "--requests", file), advised),
        "rank": (
            ("--sweep", sweep.name, "--algorithm", "ga", "--top", 3),
            store.rank(sweep=sweep, algorithm="ga", top=3),
        ),
        "sample": ((sample, "--sweep", sweep.name), store.sample(sample, sweep=sweep)),
        "sweeps": ((), store.sweeps()),
        "models": ((), store.models()),
    }
    for name, (words, table) in asked.items():
        there = rows(call(folder, name, *words, "--format", "json"))
        known = [{column: row.get(column) for column in table.columns} for row in there]
        assert [{**row, "started": 0} for row in as_json(records(table))] == [
            {**row, "started": 0} for row in known
        ]
    assert (len(predicted), advised.columns[0]) == (6, "sample_id")
    (run,) = advised.filter("sample_id = 13").project("run_id").fetchall()[0]
    assert isinstance(store.restore(run), nn.Module)
    done = store.sql("select distinct sample_id from attempts where algorithm = 'ga'").fetchall()
    with pytest.raises(indelible.UserError, match="samples were attempted"):
        store.predict("ga", sample_ids=[sample for (sample,) in done], only_new=True)
    assert not store.check().fetchall()
    page = store.report(sweep, output=folder.parent / "page")
    assert page.read_text("utf-8").startswith("<!")
    with pytest.raises(indelible.UserError, match="the store's own"):
        store.report("latest", output=folder / "artifacts" / "x")


@pytest.mark.slow
def test_settings_that_were_found_and_samples_that_were_forgotten(
    folder: Path, call: Indelible, tmp_path: Path
) -> None:
    """The command line finds what Python did: it trains and unlearns nothing again."""
    store, preset, output = indelible.open(folder), tmp_path / "mine.toml", tmp_path / "forgotten"
    found = store.tune("ga", samples=3, trials=2, output=preset)
    (row,) = rows(
        call(
            *(folder, "tune", "--algorithm", "ga", "--samples", 3, "--trials", 2),
            *("--output", preset, "--format", "json"),
        )
    )
    (here,) = records(found)
    assert json.loads(here.pop("settings")) == row.pop("settings")
    assert here == row
    how = {"until": "flip", "max_loss": 100, "preset": preset, "output": output}
    done = store.unlearn("ga", sample_ids=IDS[:2], **how)
    flip = ("--until", "flip", "--max-loss", "100", "--preset", preset, "--output", output)
    words = ("--algorithm", "ga", "--sample-ids", "2,13", *flip)
    again = call(folder, "unlearn", *words, "--format", "json")
    assert f"it was done before: run {done.run_id}" in again.err
    mine = json.loads(done.verdicts.to_json(orient="records"))
    for row, other in zip(mine, rows(again), strict=True):
        assert row == pytest.approx(other)
    kept = load_file(output / "unlearned.safetensors")
    assert weights_sha256(kept) == weights_sha256(done.state_dict())


def test_answers_stay_as_they_are_and_questions_see_what_is_new(folder: Path) -> None:
    store = indelible.open(folder)
    before = store.sql("from attempts")
    count = len(before)
    sweep = store.sweep("ga", sample_ids=IDS, settings={"ga": {"max_steps": 2}})
    MlflowClient(f"sqlite:///{folder}/mlflow.db").update_run(sweep.run_id, name="another name")
    assert len(store.find_sweep("another name").attempts()) == 3
    assert store.sql("select count(*) from attempts").fetchall() == [(count + 3,)]
    assert len(before) == len(before.df()) == before.to_arrow_table().num_rows == count
    assert len(before.filter("algorithm = 'ga'")) == count / 4


def test_answers_have_no_access_to_anything_else(done: Done, tmp_path: Path) -> None:
    store = indelible.open(done.folder)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for query in (f"from '{secret}'", f"copy (select 1) to '{secret}'", "drop table outcomes", ""):
        with pytest.raises(indelible.UserError) as refused:
            store.sql(query)
        assert "\n" not in str(refused.value)
    with pytest.raises(duckdb.Error):
        store.sql("select 1 as a").query("t", f"from '{secret}'")
    with pytest.raises(duckdb.Error):
        store.sql("select 1 as a").to_csv(str(tmp_path / "out.csv"))


def test_a_network_whose_class_can_be_imported(
    own: nn.Module, parts: tuple[Data, Data], tmp_path: Path, call: Indelible
) -> None:
    """Another process and the command line go on with it, also where the store was moved.

    Data are tensors, arrays of floats, or a data set like torchvision's.
    """
    train, test = parts
    names = [f"digit {k}" for k in range(10)]
    store = indelible.open(tmp_path / "here")
    before = weights_sha256(own.state_dict())
    model = store.import_model(own, train=train, test=test, classes=names)
    assert model.arch == f"module:{Own.__module__}:Own"
    floats = tuple((images / 255, labels.numpy()) for images, labels in parts)
    assert store.import_model(own, train=floats[0], test=floats[1], classes=names) == model
    assert weights_sha256(own.state_dict()) == before
    with torch.no_grad():
        assert torch.equal(model.network()(floats[1][0]), own(floats[1][0]))
        assert (own(floats[1][0]).argmax(1) == test[1]).double().mean() == model.test_accuracy
    sets = [torch.utils.data.TensorDataset(images / 255, labels) for images, labels in parts]
    assert store.import_model(own, train=sets[0], test=sets[1], classes=names) == model
    sweep = store.sweep("ga", model=model, samples=2, settings={"ga": {"lr": 1e-3}})
    (kept,) = (tmp_path / "here" / "data").iterdir()

    moved = tmp_path / "there"
    shutil.move(tmp_path / "here", moved)
    asked = ("--algorithm", "ga", "--samples", 2, "--set", "ga.lr=1e-3")
    found = call(moved, "sweep", *asked)
    assert found.id == sweep.run_id, found.err
    assert "found" in found.err
    fresh = indelible.open(moved)
    double = fresh.sweep("ga", samples=1, precision="float64")
    assert double.run_id != sweep.run_id
    (row,) = records(double.attempts())
    assert row["class_name"] in names
    module = fresh.restore(row["run_id"])
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float64}
    (moved / "data" / kept.name).unlink()
    with pytest.raises(indelible.UserError, match="No such file"):
        indelible.open(moved).sweep("ga", samples=5)


def test_a_network_that_only_this_process_knows(
    nameless: nn.Module, parts: tuple[Data, Data], begun: Path, call: Indelible
) -> None:
    train, test = parts
    store = indelible.open(begun)
    model = store.import_model(nameless, train=train, test=test)
    assert model.arch == "python:Net"
    assert store.import_model(nameless, train=train, test=test) == model
    sweep = store.sweep("ga", model=model, sample_ids=IDS)
    assert set(sweep.attempts().fetchnumpy()["sample_id"]) == {*IDS}
    unlearned = sweep.restore("ga", 13)
    before, after = (weights_sha256(m.state_dict()) for m in (nameless, unlearned))
    assert before != after
    with pytest.raises(indelible.UserError, match="leave Ray out"):
        store.sweep("ga", model=model, samples=2, engine="ray", address="local")

    elsewhere = call(begun, "sweep", "--algorithm", "ga", "--samples", 2)
    assert elsewhere.code == 2
    assert "a network Net that Python was given" in elsewhere.err
    assert len(elsewhere.err.splitlines()) == 1
    fresh = indelible.open(begun)
    with pytest.raises(indelible.UserError, match="nobody else can make"):
        fresh.restore(str(sweep.attempts().fetchnumpy()["run_id"][0]))
    untrained = hidden(nn.ReLU())
    again = fresh.model(model.run_id, network=untrained)
    assert again == model
    asked = {"model": model.run_id, "sample_ids": IDS}
    assert fresh.sweep("ga", **asked) == sweep
    assert weights_sha256(again.network().state_dict()) == before
    fresh = indelible.open(begun)
    fresh.model(model.run_id, network=hidden(nn.Tanh()))
    with pytest.raises(indelible.UserError, match="has changed"):
        fresh.sweep("ga", **asked)
    assert fresh.import_model(Own().eval(), "digits").dataset == "digits"


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "too many": ({"samples": 10**6}, "1000000 samples are asked for"),
    "a setting": ({"samples": 1, "settings": {"ga": {"l": 1}}}, "has no 'l'"),
    "a model": ({"samples": 1, "model": "none"}, "there is no base model 'none'"),
    "a family": ({"samples": 1, "factors": "none"}, "no optional factor family is 'none'"),
    "checkpoints": ({"samples": 1, "checkpoints": "some"}, "some"),
}


def test_mistakes_are_one_line(done: Done, tmp_path: Path, parts: tuple[Data, Data]) -> None:
    store, nowhere = indelible.open(done.folder), indelible.open(tmp_path / "none")
    soft = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))
    train, test = parts
    mistakes: list[tuple[Callable[..., object], dict[str, Any], str]] = [
        *((partial(store.sweep, "ga"), asked, said) for asked, said in MISTAKES.values()),
        (nowhere.sql, {"query": "from attempts"}, "there is no store"),
        (indelible.open, {"tracking_uri": "ftp://x"}, "tracking URI"),
        (store.restore, {"run": "ga-99999"}, "there is no child run 'ga-99999'"),
        (store.model, {"network": Own()}, "found without network="),
        (store.find_sweep().correlations, {"population": "some"}, "population is 'some'"),
        (
            partial(store.import_model, Own()),
            {"train": train, "test": test, "classes": "abc"},
            "there are 3 classes, and the network Own",
        ),
        (
            partial(store.import_model, soft),
            {"train": train, "test": test},
            "gives probabilities, not logits",
        ),
        (
            partial(store.import_model, Own()),
            {"dataset": "digits", "classes": ["a", "b"]},
            "leave train, test, classes out",
        ),
        (partial(store.import_model, Own()), {"train": train}, "give dataset="),
    ]
    for call, asked, said in mistakes:
        with pytest.raises(indelible.UserError) as refused:
            call(**asked)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "none").exists()


def test_remarks_are_the_loggings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []

    class Own(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    heard_by(Own())
    capsys.readouterr()
    indelible.open(folder).predict("ga", sample_ids=IDS)
    assert any("preset digits" in line for line in heard)
    assert capsys.readouterr() == ("", "")
