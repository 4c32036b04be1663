"""The API in Python: it does what the command line does, under the same keys."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from torch import Tensor, nn

import indelible
from analysis.warehouse import Table
from tests.test_imports import HEAVY, imported_by
from tests.tracker.conftest import Answer, Done, Indelible, own_copy
from tests.tracker.test_requests import write_images
from tracker.api.progress import progress
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


class Two(nn.Module):
    """Another, whose arguments are not those of an architecture, and have defaults."""

    def __init__(self, channels: int = 1, classes: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten())
        self.top = nn.Linear(4 * 36, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.top(self.body(images))
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


@pytest.fixture(scope="module")
def mistaken(done: Done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the store, for whoever writes nothing that another test minds."""
    return own_copy(done.folder, tmp_path_factory.mktemp("mistaken"))


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


def rows_of(table: Table) -> int:
    return int(table.shape[0])


def as_json(found: list[dict[str, Any]]) -> Any:
    return json.loads(json.dumps(found, default=lambda value: value.isoformat()))


def test_importing_it_imports_nothing_heavy() -> None:
    assert not imported_by("import indelible; indelible.open('none'), dir(indelible)") & HEAVY
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


@pytest.mark.slow
def test_a_sweep_is_that_of_the_command_line(
    folder: Path, call: Indelible, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Begun here it is found there, with the same numbers, and its weights are those of there."""
    heard_by()
    store = indelible.open(folder)
    capsys.readouterr()
    ids = np.array(IDS)
    settings = {"ga": {"lr": 3e-4, "max_steps": 7}}
    sweep = store.sweep("ga", "ssd", sample_ids=ids, settings=settings, seed=5)
    said = capsys.readouterr()
    assert said.out == ""
    assert "preset digits" in said.err
    changes = ("--set", "ga.lr=3e-4", "--set", "ga.max_steps=7", "--seed", 5)
    named = [word for sample in IDS for word in ("--sample", sample)]
    asked = ("sweep", "--algorithm", "ga", "--algorithm", "ssd", *named, *changes)
    found = call(folder, *asked)
    assert found.id == sweep.run_id
    assert "found" in found.err
    again = store.sweep("ga", "ssd", sample_ids=IDS, settings=settings, seed=5)
    assert again == sweep == store.find_sweep() == store.find_sweep(sweep.name)

    assert call(folder, "load").code == 0
    for name in ("outcomes", "attempts", "difficulty", "correlations"):
        of = "population = 'all' and " if name == "correlations" else ""
        query = f"select * from {name} where {of}sweep_id = '{sweep.run_id}' order by all"
        there = rows(call(folder, "sql", query, "--format", "json"))
        here = getattr(sweep, name)().order("all")
        assert there
        assert as_json(records(here)) == there

    run = sweep.outcomes().filter("algorithm = 'ga' and sample_id = 13").fetchall()[0]
    output = tmp_path / "weights.safetensors"
    assert call(folder, "restore", run[0], "--output", output).code == 0
    for module in (store.restore(run[0]), sweep.restore("ga", 13)):
        assert weights_sha256(module.state_dict()) == weights_sha256(load_file(output))
        assert not module.training
    with pytest.raises(indelible.UserError, match="no attempt of ga on sample 15"):
        sweep.restore("ga", 15)


def test_a_prediction_is_that_of_the_command_line(folder: Path, call: Indelible) -> None:
    asked = ("--algorithm", "ga", "--algorithm", "salun", "--samples", 6, "--seed", 9)
    there = rows(call(folder, "predict", *asked, "--format", "json"))
    store = indelible.open(folder)
    here = store.predict("ga", "salun", samples=6, seed=9)
    assert as_json(records(here)) == there
    assert rows_of(here) == 12
    done = store.sql("select distinct sample_id from outcomes").fetchall()
    with pytest.raises(indelible.UserError, match="all 8 samples were attempted"):
        store.predict("ga", sample_ids=[sample for (sample,) in done], only_new=True)


def test_advice_is_that_of_the_command_line(folder: Path, call: Indelible) -> None:
    """For what was asked for by name."""
    asked = folder.parent / "requests.txt"
    asked.write_text("2 # please\n13\n")
    options = ("--algorithm", "ga", "--algorithm", "salun", "--max-loss", 2)
    there = rows(call(folder, "advise", *options, "--requests", asked, "--format", "json"))
    store = indelible.open(folder)
    for requests in (asked, str(asked), [2, "13"], ("2 # please", 13)):
        here = store.advise("ga", "salun", max_loss=2, requests=requests)
        known = [{name: row[name] for name in here.columns} for row in there]
        assert as_json(records(here)) == known
    assert here.columns[0] == "sample_id"
    (run,) = here.filter("sample_id = 13").project("run_id").fetchall()[0]
    assert isinstance(store.restore(run), nn.Module)


def test_what_is_asked_is_what_the_command_line_prints(folder: Path, call: Indelible) -> None:
    store = indelible.open(folder)
    sample = store.rank().fetchall()[0][0]
    asked: dict[str, tuple[tuple[object, ...], Table]] = {
        "rank": (("--algorithm", "ga", "--top", 3), store.rank(algorithm="ga", top=3)),
        "sample": ((sample,), store.sample(sample)),
        "sweeps": ((), store.sweeps()),
        "models": ((), store.models()),
        "measure": (("--sweep", "all"), store.measure(sweep="all")),
    }
    for name, (words, table) in asked.items():
        there = rows(call(folder, name, *words, "--format", "json"))
        assert [{**row, "started": 0} for row in as_json(records(table))] == [
            {**row, "started": 0} for row in there
        ]
    assert not store.check().fetchall()
    page = store.report("latest", output=folder.parent / "page")
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
    done = store.unlearn("ga", sample_ids=IDS[:2], preset=preset, output=output)
    words = ("--algorithm", "ga", "--sample-ids", "2,13", "--preset", preset, "--output", output)
    again = call(folder, "unlearn", *words, "--format", "json")
    assert f"it was done before: run {done.run_id}" in again.err
    assert records(done.requests) == rows(again)
    kept = load_file(output / "unlearned.safetensors")
    assert weights_sha256(kept) == weights_sha256(dict(done.state))


def test_answers_stay_as_they_are_and_questions_see_what_is_new(folder: Path) -> None:
    store = indelible.open(folder)
    before = store.outcomes()
    count = rows_of(before)
    table = store.sql("select count(*) as n, sum(steps) as steps from outcomes")
    steps = table.fetchall()
    sweep = store.sweep("ga", sample_ids=IDS, settings={"ga": {"max_steps": 2}})
    assert rows_of(store.outcomes()) == count + 3
    MlflowClient(f"sqlite:///{folder}/mlflow.db").update_run(sweep.run_id, name="another name")
    assert rows_of(store.outcomes("another name")) == 3
    assert store.sql("select count(*) from outcomes").fetchall() == [(count + 3,)]
    assert rows_of(before) == count
    assert table.fetchall() == steps
    assert len(before.df()) == before.to_arrow_table().num_rows == count
    (folder / "analysis.duckdb").unlink()  # which is no record
    assert rows_of(before.filter("algorithm = 'ga'")) == count / 4
    assert rows_of(store.outcomes("latest")) == 3


def test_answers_have_no_access_to_anything_else(folder: Path, tmp_path: Path) -> None:
    import duckdb

    store = indelible.open(folder)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for query in (
        f"from '{secret}'",
        f"copy (select 1) to '{secret}'",
        "drop table outcomes",
        f"attach '{tmp_path / 'x.db'}'",
        "nonsense",
        "",
    ):
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
    """Another process and the command line go on with it, also where the store was moved."""
    train, test = parts
    names = [f"digit {k}" for k in range(10)]
    store = indelible.open(tmp_path / "here")
    before = weights_sha256(own.state_dict())
    model = store.import_model(own, train=train, test=test, classes=names)
    assert model.arch == f"module:{Own.__module__}:Own"
    floats = tuple((images / 255, labels.numpy()) for images, labels in parts)
    again = store.import_model(own, train=floats[0], test=floats[1], classes=names)
    assert again == model
    assert weights_sha256(own.state_dict()) == before
    with torch.no_grad():
        assert torch.equal(model.network()(floats[1][0]), own(floats[1][0]))
        assert (own(floats[1][0]).argmax(1) == test[1]).double().mean() == model.test_accuracy
    sweep = store.sweep("ga", model=model, samples=4, settings={"ga": {"lr": 1e-3}})
    (kept,) = (tmp_path / "here" / "data").iterdir()

    moved = tmp_path / "there"
    shutil.move(tmp_path / "here", moved)
    asked = ("--algorithm", "ga", "--samples", 4, "--set", "ga.lr=1e-3")
    found = call(moved, "sweep", *asked)
    assert found.id == sweep.run_id, found.err
    assert "found" in found.err
    fresh = indelible.open(moved)
    longer = fresh.sweep("ga", samples=5, settings={"ga": {"lr": 1e-3}})
    assert rows_of(longer.outcomes()) == 5
    assert fresh.import_model(own, train=train, test=test, classes=names) == model
    assert "digit" in call(moved, "sample", fresh.outcomes().fetchall()[0][5]).out
    (moved / "data" / kept.name).unlink()
    with pytest.raises(indelible.UserError, match="No such file"):
        indelible.open(moved).sweep("ga", samples=5)


@pytest.mark.slow
def test_a_network_of_ones_own_on_a_folder_of_images(tmp_path: Path, call: Indelible) -> None:
    """Asked for by file names: predicted, unlearned, restored, and found by the commands."""
    write_images(tmp_path / "images")
    named = f"folder:{tmp_path / 'images'}"
    data = datasets.load(named)
    network = fitted(Two(), (data.train.images, data.train.labels))
    store = indelible.open(tmp_path / "store")
    model = store.import_model(network, named)
    assert (model.arch, model.dataset) == (f"module:{Two.__module__}:Two", "folder-images")
    files = ["train/dark/dark-3.png", "train/light/light-7.png"]
    asked: dict[str, Any] = {"requests": [files[0], Path("light-7.png")], "preset": "digits"}
    forecast = store.predict("ga", model=model, **asked)
    assert {path for (path,) in forecast.project("sample_path").fetchall()} == {*files}
    sweep = store.sweep("ga", model=model, **asked)
    found = sweep.attempts().project("sample_path, sample_id, run_id").fetchall()
    assert {path for path, *_ in found} == {*files}
    for _, sample_id, run_id in found:
        one, other = sweep.restore("ga", sample_id), store.restore(run_id)
        assert weights_sha256(one.state_dict()) == weights_sha256(other.state_dict())
    (tmp_path / "requests.txt").write_text("\n".join(files))
    options = ("--requests", tmp_path / "requests.txt", "--preset", "digits")
    assert call(tmp_path / "store", "sweep", "--algorithm", "ga", *options).id == sweep.run_id
    with pytest.raises(indelible.UserError, match="names no training sample"):
        store.sweep("ga", requests=["dark-99.png"])
    with pytest.raises(indelible.UserError, match="leave train, test, classes out"):
        store.import_model(network, named, classes=["a", "b"])
    with pytest.raises(indelible.UserError, match="give dataset="):
        store.import_model(network, train=(data.train.images, data.train.labels))


def test_a_network_that_only_this_process_knows(
    nameless: nn.Module, parts: tuple[Data, Data], begun: Path, call: Indelible
) -> None:
    train, test = parts
    store = indelible.open(begun)
    model = store.import_model(nameless, train=train, test=test)
    assert model.arch == "python:Net"
    assert store.import_model(nameless, train=train, test=test) == model
    requests = begun / "requests.txt"
    requests.write_text("2\n13 # please\n105\n")
    sweep = store.sweep("ga", "salun", model=model, sample_ids=IDS, workers=2)
    assert set(sweep.outcomes().fetchnumpy()["sample_id"]) == {*IDS}
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
        fresh.restore(str(sweep.outcomes().fetchall()[0][0]))
    untrained = hidden(nn.ReLU())
    assert fresh.model(model.run_id, network=untrained) == model
    asked = {"model": model.run_id, "sample_ids": IDS}
    assert fresh.sweep("ga", "salun", **asked) == sweep
    assert weights_sha256(fresh.network(model).state_dict()) == before
    fresh = indelible.open(begun)
    fresh.model(model.run_id, network=hidden(nn.Tanh()))
    with pytest.raises(indelible.UserError, match="has changed"):
        fresh.sweep("ga", **asked)


@pytest.mark.slow
def test_networks_of_one_name_and_weights_are_told_apart(
    nameless: nn.Module, parts: tuple[Data, Data], begun: Path
) -> None:
    """Else the attempts on one would be taken for those on the other."""
    train, test = parts
    store = indelible.open(begun)
    other = hidden(nn.GELU())
    other.load_state_dict(nameless.state_dict())
    first, second = (
        store.import_model(module, train=train, test=test) for module in (nameless, other)
    )
    assert (first.arch, second.arch) == ("python:Net", "python:Net-2")
    for module, model in ((nameless, first), (other, second)):
        assert store.import_model(module, train=train, test=test) == model
        with torch.no_grad():
            assert torch.equal(model.network()(test[0] / 255), module(test[0] / 255))
    losses = []
    for model in (first, second):
        sweep = store.sweep("ga", model=model, sample_ids=IDS, settings={"ga": {"max_steps": 1}})
        losses.append([row[0] for row in sweep.outcomes().project("f").fetchall()])
    assert losses[0] != losses[1]


def test_data_that_are_not_kept(
    own: nn.Module, parts: tuple[Data, Data], begun: Path, call: Indelible
) -> None:
    train, test = parts
    store = indelible.open(begun)
    model = store.import_model(own, train=train, test=test, keep_data=False)
    assert not (begun / "data").exists()
    sweep = store.sweep("ga", model=model, sample_ids=IDS)
    elsewhere = call(begun, "sweep", "--algorithm", "ga", "--samples", 2)
    assert (elsewhere.code, len(elsewhere.err.splitlines())) == (2, 1)
    assert "were given to Python and not kept" in elsewhere.err
    fresh = indelible.open(begun)
    with pytest.raises(indelible.UserError, match="not the data of base model"):
        fresh.model(model.run_id, train=test, test=train)
    assert fresh.model(train=train, test=test) == model
    assert fresh.sweep("ga", sample_ids=IDS) == sweep
    kept = store.import_model(own, train=train, test=test)  # from now on with its data
    assert kept.run_id != model.run_id
    assert store.import_model(own, train=train, test=test, keep_data=False) == kept
    assert store.sweep("ga", model=kept, sample_ids=IDS) == sweep
    assert call(begun, "sweep", "--algorithm", "ga", "--samples", 2).code == 0


def test_a_data_set_like_torchvisions(parts: tuple[Data, Data], begun: Path) -> None:
    """It comes to the same base model as tensors do."""
    sets = [torch.utils.data.TensorDataset(images / 255, labels) for images, labels in parts]
    network, store = fitted(Own(), parts[0]), indelible.open(begun)
    first = store.import_model(network, train=sets[0], test=sets[1])
    assert store.import_model(network, train=parts[0], test=parts[1]) == first


def test_double_precision(own: nn.Module, parts: tuple[Data, Data], begun: Path) -> None:
    store = indelible.open(begun)
    store.import_model(own, train=parts[0], test=parts[1])
    single, double = (
        store.sweep("ga", sample_ids=IDS, precision=precision)
        for precision in ("float32", "float64")
    )
    assert single.run_id != double.run_id
    module = double.restore("ga", 2)
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float64}
    assert module(parts[1][0].double() / 255).dtype == torch.float64


MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "too many": ("sweep", {"samples": 10**6}, "1000000 samples are asked for"),
    "a setting": ("sweep", {"samples": 1, "settings": {"ga": {"l": 1}}}, "has no 'l'"),
    "a preset": ("sweep", {"samples": 1, "preset": "none"}, "unknown preset"),
    "a model": ("sweep", {"samples": 1, "model": "none"}, "there is no base model 'none'"),
    "a family": ("sweep", {"samples": 1, "factors": "none"}, "unknown factor family 'none'"),
    "a device": ("sweep", {"samples": 1, "device": "abacus"}, "device is 'abacus'"),
    "checkpoints": ("sweep", {"samples": 1, "checkpoints": "some"}, "some"),
    "remaining": ("sweep", {"samples": 1, "remaining": 10**6}, "remaining is '1000000'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistaken: Path, mistake: str) -> None:
    method, asked, said = MISTAKES[mistake]
    store = indelible.open(mistaken)
    with pytest.raises(indelible.UserError) as refused:
        getattr(store, method)("ga", **asked)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_mistakes(mistaken: Path, tmp_path: Path, parts: tuple[Data, Data]) -> None:
    with pytest.raises(indelible.UserError, match="there is no store"):
        indelible.open(tmp_path / "none").outcomes()
    assert not (tmp_path / "none").exists()
    with pytest.raises(indelible.UserError, match="tracking URI"):
        indelible.open(tmp_path, tracking_uri="ftp://x")
    store = indelible.open(mistaken)
    with pytest.raises(indelible.UserError, match="there is no child run 'ga-99999'"):
        store.restore("ga-99999")
    with pytest.raises(indelible.UserError, match="both train= and test="):
        store.model(train=parts[0])
    with pytest.raises(indelible.UserError, match="found without network="):
        store.model(network=Own())
    with pytest.raises(indelible.UserError, match="population is 'some'"):
        store.correlations(population="some")  # type: ignore[arg-type]
    with pytest.raises(indelible.UserError, match="there are 3 classes, and the network Own"):
        store.import_model(Own(), train=parts[0], test=parts[1], classes="abc")
    soft = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))
    with pytest.raises(indelible.UserError, match="must end in a linear layer"):
        store.import_model(soft, train=parts[0], test=parts[1])


def test_a_bar_in_a_notebook_needs_no_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    class Handle:
        def update(self, html: str) -> None:
            drawn.append(html)

    class Display:
        HTML = staticmethod(str)

        @staticmethod
        def display(html: str, display_id: bool) -> Handle:
            assert display_id
            drawn.append(html)
            return Handle()

    import sys
    from types import SimpleNamespace

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", Display)
    with progress("unlearning", 4) as advance:
        advance(3, "ga")
        advance(1, "<b>")
    assert '<progress value="0" max="4">' in drawn[0]
    assert drawn[-1].endswith("unlearning &lt;b&gt;, 4 of 4")
    drawn.clear()
    with progress("unlearning", 4, shown=False) as advance:
        advance(4, "ga")
    assert not drawn


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
