"""A store as Python has it: base models, predictions, sweeps and what they came to."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from analysis.connecting import Limits
from analysis.warehouse import Table, asked, held
from tracker.api.keywords import verb
from tracker.api.place import Advance, Place
from tracker.commands import Command, ask, keep, make
from tracker.reading.listing import find_sweep
from tracker.store.records import Run
from unlearning import datasets
from unlearning.datasets import Source
from unlearning.errors import UserError
from unlearning.naming import LATEST

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


FOLDER = "mlruns"  # of a store, where nothing else is said
NAME = "indelible"  # of the logger
PathLike = str | os.PathLike[str]
Population = Literal["all", "flipped", "not_flipped"]
Target = Literal["gt", "z", "points_lost", "relearn_steps", "unlearning_gap", "auc"]


@dataclass(frozen=True)
class LocalPlace(Place):
    """A place whose remarks go to the standard library's logging.

    Attributes:
        shown: whether it is shown how far something is.
    """

    shown: bool = True

    def say(self, line: str) -> None:
        """A remark for the user."""
        logging.getLogger(NAME).info("%s", line)

    def progress(self, title: str, total: int, unit: str = "") -> AbstractContextManager[Advance]:
        """How far a piece of work is, on a terminal or as remarks."""
        if self.shown:
            return super().progress(title, total, unit)
        return nullcontext(lambda count, doing: None)


class _Stderr(logging.Handler):
    """Writes to what is stderr at the time, as notebooks and tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)  # noqa: T201 - remarks


def open_store(
    folder: PathLike = FOLDER,
    *,
    tracking_uri: str | None = None,
    data_dir: PathLike = "data",
    server_timeout: float = 60.0,
    progress: bool = True,
) -> Store:
    """A store to work in; nothing is made or read until it is asked for something.

    Args:
        folder: of the embedded store and its warehouse; the command line's `--store`.
        tracking_uri: of an MLflow server or database to log to instead; what the environment
            variable MLFLOW_TRACKING_URI says if None, and else the folder's own database.
        data_dir: folder of torchvision's data sets.
        server_timeout: seconds that a store which does not answer is waited for.
        progress: whether it is shown how far something is: by a bar on a terminal, elsewhere by a
            remark every few seconds.

    Remarks go to the logger `indelible`, at level INFO. It writes to stderr unless the program has
    handlers of its own; `logging.getLogger("indelible").setLevel("WARNING")` silences it.

    Raises:
        UserError: where an address is not understood.

    Example:
        >>> import indelible
        >>> store = indelible.open("mlruns")
    """
    if server_timeout < 1:
        raise UserError(f"server_timeout is {server_timeout}: it takes seconds from 1")
    logger = logging.getLogger(NAME)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        logger.addHandler(_Stderr())
    # Of a library that MLflow imports, in a notebook without widgets.
    warnings.filterwarnings("ignore", message="IProgress not found")
    place = LocalPlace(
        folder=Path(folder),
        tracking_uri=tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None,
        data_dir=Path(data_dir),
        verbose=False,
        server_timeout=server_timeout,
        shown=progress,
    )
    _ = place.address
    return Store(place)


@dataclass(frozen=True)
class Model:
    """A base model that is in a store.

    Attributes:
        run_id: of its MLflow run, by which the command line's `--model` finds it too.
        name: of that run.
        dataset: the name of its data set.
        arch: what its architecture is called.
        train_accuracy: the share of the training set that it gets right.
        test_accuracy: the share of the test set.
    """

    run_id: str
    name: str
    dataset: str
    arch: str
    train_accuracy: float
    test_accuracy: float
    store: Store = field(repr=False, compare=False)

    @classmethod
    def of(cls, store: Store, run: Run) -> Model:
        """The model of a run."""
        params, metrics = run.params, run.metrics
        accuracies = metrics["train_accuracy"], metrics["test_accuracy"]
        named = run.run_id, run.name
        return cls(*named, params["dataset"], params["arch"], *accuracies, store)

    def network(self) -> nn.Module:
        """The network with its weights, a copy in eval mode on the CPU.

        It takes images (N, C, H, W) with values from 0 to 1, or the features of a table's rows
        (N, features, 1, 1), standardised, and gives logits (N, classes).

        Example:
            >>> before, after = model.network(), store.restore("ga-00042")
        """
        place = self.store._place
        with place.store() as records:
            return place.bases.network(records, self.run_id)


@dataclass(frozen=True)
class Sweep:
    """A sweep that is in a store.

    Attributes:
        run_id: of its MLflow parent run, by which the command line's `--sweep` finds it too.
        name: of that run.
    """

    run_id: str
    name: str
    store: Store = field(repr=False, compare=False)

    def attempts(self) -> Table:
        """The relation `attempts` of this sweep: a row an attempt, with all that is known of it.

        Status, steps, GT, difficulty, z, what the test set lost, and a column for each factor.

        Example:
            >>> sweep.attempts().filter("status = 'flipped' and not is_damaged").df()
        """
        return self._relation("attempts")

    def difficulty(self) -> Table:
        """The relation `difficulty`: the ranks of each sample by GT; rank 1 is the hardest.

        Example:
            >>> sweep.difficulty().order("difficulty_rank").limit(5).df()
        """
        return self._relation("internal.difficulty")

    def correlations(self, population: Population | None = "all", target: Target = "gt") -> Table:
        """The relation `correlations`: Spearman's rho of every factor with GT, or another target.

        Args:
            population: all attempts with the target, those that flipped, or those that did not;
                None for the rows of each.
            target: what of an attempt the factors may explain, as `correlate --target` has it.

        Example:
            >>> sweep.correlations().order("abs(rho) desc").df()
        """
        if population not in (None, *get_args(Population)):
            raise UserError(
                f"the population is {population!r}: choose all, flipped, not_flipped or None"
            )
        if target not in get_args(Target):
            raise UserError(f"the target is {target!r}: choose {', '.join(get_args(Target))}")
        name = f"correlations_with('{target}', sweep := '{self.run_id}')"
        return self._relation(
            "correlations" if target == "gt" else name,
            f"population = '{population}'" if population else "true",
        )

    def _relation(self, name: str, condition: str = "true") -> Table:
        of = f"sweep_id = '{self.run_id}' and {condition}"
        return self.store.sql(f"select * from {name} where {of}")  # noqa: S608 - names and ids

    def restore(self, algorithm: str, sample_id: int) -> nn.Module:
        """The network after one of its attempts: see `Store.restore`.

        Raises:
            UserError: where the sweep has no such attempt, or the attempt no checkpoint.

        Example:
            >>> sweep.restore("salun", 42)
        """
        rows = self.attempts().project("algorithm, sample_id, run_id").fetchall()
        for name, sample, run_id in rows:
            if (name, sample) == (algorithm, sample_id):
                return self.store.restore(run_id)
        raise UserError(
            f"the sweep {self.name} has no attempt of {algorithm} on sample {sample_id}"
        )


@dataclass(frozen=True)
class Unlearning:
    """A model that was asked to forget several samples.

    Attributes:
        run_id: of its MLflow run.
        name: of that run.
        is_done: whether every request is forgotten, for what that may cost.
        metrics: what it came to, such as `points_lost`.
        verdicts: a row a request, what became of it.
        record: what was done, and what came out, as `record.json` has it.
    """

    run_id: str
    name: str
    is_done: bool
    metrics: Mapping[str, float] = field(repr=False)
    verdicts: pd.DataFrame = field(repr=False, compare=False)
    record: Mapping[str, Any] = field(repr=False, compare=False)
    _state: Mapping[str, Any] = field(repr=False, compare=False)

    def state_dict(self) -> dict[str, Any]:
        """The weights of the model."""
        return dict(self._state)


def _rows(
    *names: str, of: Callable[[Any], list[dict[str, Any]]] = lambda found: found
) -> Callable[[Any, Any, Any], Table]:
    """Rows of what came of a command as a relation in memory; without any it has these columns."""

    def gives(store: Store, command: Command, found: Any) -> Table:
        import pyarrow as pa

        if rows := of(found):
            return held(pa.Table.from_pylist(rows))
        return held(pa.table({name: pa.array([], pa.string()) for name in names}))

    return gives


def _swept(store: Store, command: make.Sweep, made: Iterable[Any]) -> Sweep:
    (swept,) = made
    for line in swept.advice(command.max_loss):
        store._place.say(line)
    return Sweep(swept.run_id, swept.plan.name, store)


def _unlearned(store: Store, command: make.Unlearn, made: tuple[Any, str | None]) -> Unlearning:
    import pandas as pd

    done, _ = made
    verdicts, is_done = pd.DataFrame([vars(row) for row in done.rows]), done.record["is_done"]
    made_of = (done.run_id, done.name, is_done, done.metrics, verdicts, done.record)
    return Unlearning(*made_of, done.state)


class Store:
    """A store: made by `indelible.open`.

    What is done in it is what the command line does, under the same keys: a sweep that was begun
    here goes on there, and the other way round. An interrupted call goes on where it stopped when
    it is made again. Nothing is promised to threads that share a store.

    Answers are DuckDB relations in memory: `.df()` gives one to pandas, `.to_arrow_table()` to
    Arrow, `.fetchall()` to Python, and `.filter()`, `.order()` and `.limit()` ask on. They are
    read-only, have no access to files, and stay as they are when the store changes.

    Every mistake is a `UserError` and whatever fails outside a `Failure`, each with one line.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def __repr__(self) -> str:
        return f"<indelible.Store {self._place.address.shown}>"

    train = verb(
        make.Train,
        "Model",
        "The base model.",
        "dataset",
        gives=lambda store, command, run: Model.of(store, run),
        example='model = store.train("digits", epochs=5, seed=0)',
    )
    predict = verb(
        make.Predict,
        "Table",
        "A row an algorithm and sample, the hardest of each algorithm first.",
        "algorithms",
        gives=_rows(of=lambda made: [row for each in made for row in each.rows()]),
        example='store.predict("ga", "salun", model=model, samples=20).df()',
    )
    sweep = verb(
        make.Sweep,
        "Sweep",
        "The sweep, whose `attempts()`, `difficulty()` and `correlations()` say what it came to.",
        "algorithms",
        gives=_swept,
        example='sweep = store.sweep("ga", samples=20, settings={"ga": {"lr": 3e-4}})',
    )
    advise = verb(
        make.Advise,
        "Table",
        "A row a sample, with the run that `restore` takes.",
        "algorithms",
        gives=_rows(),
        example='store.advise(requests=["cat/1.png", 7], max_loss=1).df()',
    )
    audit = verb(
        make.Audit,
        "Table",
        "A row an algorithm and control, over all samples.",
        gives=_rows(of=lambda made: made[1]),
        example="store.audit(sweep=sweep).df()",
    )
    tune = verb(
        make.Tune,
        "Table",
        "A row an algorithm, with the settings that were found as JSON.",
        "algorithms",
        gives=_rows(
            of=lambda made: [row | {"settings": json.dumps(row["settings"])} for row in made.rows]
        ),
        example='store.tune("ga", "scrub", output="mine.toml")\n'
        'store.sweep("ga", "scrub", preset="mine.toml", samples=100)',
    )
    unlearn = verb(
        make.Unlearn,
        "Unlearning",
        "What became of each request, and the state dict that has forgotten them.",
        "algorithms",
        gives=_unlearned,
        example='store.unlearn(requests=[15, 126], output="forgotten").verdicts',
    )
    measure = verb(
        make.Measure,
        "Table",
        "A row a sweep, or one of the base model: how many were measured.",
        gives=_rows(),
    )
    rank = verb(ask.Rank, "Table", "A row a sample.", gives=_rows("sample_id"))
    sample = verb(
        ask.Sample,
        "Table",
        "A row an algorithm, with the factors as columns.",
        "sample_id",
        gives=_rows(of=lambda known: known.rows()),
        example="store.sample(42).df().T",
    )
    sweeps = verb(ask.Sweeps, "Table", "A row a sweep.", gives=_rows("run_id", "name"))
    models = verb(ask.Models, "Table", "A row a base model.", gives=_rows("run_id", "name"))
    report = verb(ask.Report, "Path", "The path of the page.", "sweep")
    figures = verb(ask.Figures, "list[Path]", "The paths of the files.", "sweep")
    check = verb(
        keep.Check,
        "Table",
        "One row per problem.",
        gives=_rows("audit", "run_id", "name", "problem", "repair"),
    )
    merge = verb(
        keep.Merge,
        "Table",
        "A row a sweep, tuning or unlearning that the other stores have.",
        "stores",
        gives=_rows("kind", "run_id", "name"),
        example='store.merge("shard-1", "shard-2").df()',
    )
    prune = verb(
        keep.Prune,
        "Table",
        "A row a checkpoint that was deleted; nothing is asked before.",
        gives=_rows("run_id"),
        does="tracker.api.keeping:prune",
    )

    def sql(self, query: str) -> Table:
        """The answer to a query over the warehouse; `indelible schema` says what can be asked.

        Args:
            query: in DuckDB's SQL.

        Raises:
            UserError: with DuckDB's reason, or where there is no store.

        Example:
            >>> store.sql("select sweep, algorithm, avg(steps) from attempts group by all").df()
        """

        with self._place.failing(), self._place.warehouse(Limits()) as warehouse:
            return asked(warehouse, query)

    def import_model(
        self,
        network: nn.Module,
        dataset: str | None = None,
        *,
        train: Any = None,
        test: Any = None,
        classes: Iterable[str] | None = None,
        image_size: int | None = None,
        label: str | None = None,
        split_column: str | None = None,
        device: str = "auto",
    ) -> Model:
        """Take a trained network of one's own, with its data, as a base model.

        The same network with the same data is found again. It is copied, and never changed.

        A class that can be imported from a module, and made from no arguments or from an image
        shape and a number of classes, is found by other processes and the command line. Another,
        as of a notebook's cell, is known to this process only: `model` takes it again elsewhere.

        Args:
            network: from images (N, C, H, W) with values from 0 to 1 to logits (N, classes), which
                come out of its last linear layer. A normalisation belongs into it.
            dataset: the data that it was trained on: a name, `folder:PATH`, `npz:PATH` or
                `table:PATH`.
            train: or else the training set: a pair of images (N, C, H, W) and labels (N,), as
                tensors or arrays; or a data set like torchvision's, of pairs of an image and a
                label. Images are uint8, or floats that are 255ths, as ToTensor gives them.
            test: the test set. A copy of both is written into the store's folder, as
                `data/<fingerprint>.npz`, by which other processes and the command line go on.
            classes: the names of the classes; numbers if None.
            image_size: pixels to resize a folder's images to.
            label: the column of a table with the class.
            split_column: the column of a table with `train` or `test`.
            device: where the network is evaluated.

        Raises:
            UserError: for a network or data of another form.

        Example:
            >>> model = store.import_model(network, "folder:pets")
            >>> model = store.import_model(network, train=(images, labels), test=(others, theirs))
        """

        bases, where = self._place.bases, (image_size, label, split_column)
        if dataset is not None and any(part is not None for part in (train, test, classes)):
            raise UserError("dataset names data that are there: leave train, test, classes out")
        if dataset is None and (train is None or test is None or where != (None, None, None)):
            raise UserError("give dataset=, or both train= and test=, whose images have one size")
        if dataset is None:
            data, source = bases.data(network, train, test, classes), None
        else:
            asked = Source(bases.data_dir, False, None, None, *where)
            data, source = datasets.load(dataset, asked), datasets.described(dataset, asked)
        with self._place.store(begins=True) as records:
            return Model.of(self, records.run(bases.take(records, network, data, source, device)))

    def model(self, reference: Model | str = LATEST, *, network: nn.Module | None = None) -> Model:
        """A base model that is in the store.

        Args:
            reference: its name, its id or the beginning of that, or `latest`.
            network: the network again, with any weights, where its class cannot be imported.

        Raises:
            UserError: where there is none, or this is not its network.

        Example:
            >>> store.model("latest").test_accuracy
        """
        from tracker.base.base_models import find

        with self._place.reader() as reader:
            run = find(reader, getattr(reference, "run_id", str(reference)))
        model = Model.of(self, run)
        if network is not None:
            self._place.bases.take_again(model.run_id, model.arch, network)
        return model

    def restore(self, run: str) -> nn.Module:
        """The unlearned network of an attempt, in eval mode and on the CPU.

        Its weights are those that were logged, to the last bit: they, the base model's and the
        difference are each compared with their SHA-256. They are float64 where the sweep was.

        Args:
            run: the id of its child run, or its name, such as `ga-00042`, where that is one run's.

        Raises:
            UserError: where there is none, or it has no checkpoint.

        Example:
            >>> unlearned = store.restore("ga-00042")
        """
        with self._place.reader() as reader:
            return self._place.bases.restored(reader, run)

    def find_sweep(self, reference: str = LATEST) -> Sweep:
        """A sweep that is in the store.

        Args:
            reference: its name, its id or the beginning of that, or `latest`.

        Raises:
            UserError: where there is none.

        Example:
            >>> store.find_sweep("latest").difficulty()
        """
        with self._place.reader() as reader:
            run = find_sweep(reader, reference)
        return Sweep(run.run_id, run.name, self)
