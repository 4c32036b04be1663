"""A store as Python has it: base models, predictions, sweeps and what they came to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.api import remarks
from tracker.api.handles import Model, Sweep, Unlearning
from tracker.api.keywords import asks
from tracker.api.place import Place
from tracker.api.progress import Advance, progress, settle
from tracker.api.questions import Questions
from tracker.commands import ask, keep, make
from unlearning.errors import UserError
from unlearning.naming import LATEST

if TYPE_CHECKING:
    from mlflow.entities import Run
    from torch import nn

    from analysis.warehouse import Table

FOLDER = "mlruns"  # of a store, where nothing else is said
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class LocalPlace(Place):
    """A place whose remarks go to the standard library's logging.

    Attributes:
        shown: whether terminals and notebooks are shown how far something is.
    """

    shown: bool = True

    def say(self, line: str) -> None:
        """A remark for the user."""
        remarks.say(line)

    def progress(self, title: str, total: int, unit: str = "") -> AbstractContextManager[Advance]:
        """How far a piece of work is, on a terminal or in a notebook."""
        return progress(title, total, self.shown)


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
        progress: whether terminals and notebooks are shown how far something is.

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
    remarks.begin()
    settle()
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


class Store(Questions):
    """A store: made by `indelible.open`.

    What is done in it is what the command line does, under the same keys: a sweep that was begun
    here goes on there, and the other way round. An interrupted call goes on where it stopped when
    it is made again. Nothing is promised to threads that share a store.

    Every mistake is a `UserError` and whatever fails outside a `Failure`, each with one line.
    """

    def __repr__(self) -> str:
        return f"<indelible.Store {self._place.address.shown}>"

    @asks(make.Train, "dataset")
    def train(self, command: make.Train) -> Model:
        """The base model.

        Example:
            >>> model = store.train("digits", epochs=5, seed=0)
        """
        return self._model(command.do(self._place))

    @asks(make.Predict, "algorithms")
    def predict(self, command: make.Predict) -> Table:
        """A row an algorithm and sample, the hardest of each algorithm first.

        Example:
            >>> store.predict("ga", "salun", model=model, samples=20).df()
        """
        (predicted,) = command.do(self._place)
        return _table(predicted.rows())

    @asks(make.Sweep, "algorithms")
    def sweep(self, command: make.Sweep) -> Sweep:
        """The sweep, whose `outcomes()`, `difficulty()` and `correlations()` say what it came to.

        Example:
            >>> sweep = store.sweep("ga", "salun", samples=20, settings={"ga": {"lr": 3e-4}})
        """
        (swept,) = command.do(self._place)
        for line in swept.advice(command.max_loss):
            self._place.say(line)
        return Sweep(swept.run_id, swept.plan.name, self)

    @asks(make.Advise, "algorithms")
    def advise(self, command: make.Advise) -> Table:
        """A row a sample, with the run that `restore` takes.

        Example:
            >>> store.advise(requests=["cat/1.png", 7], max_loss=1).df()
        """
        return _table(command.do(self._place).rows)

    @asks(make.Tune, "algorithms")
    def tune(self, command: make.Tune) -> Table:
        """A row an algorithm, with the settings that were found as JSON.

        Example:
            >>> store.tune("ga", "scrub", output="mine.toml")
            >>> store.sweep("ga", "scrub", preset="mine.toml", samples=100)
        """
        rows = command.do(self._place).rows
        return _table([{**row, "settings": json.dumps(row["settings"])} for row in rows])

    @asks(make.Unlearn, "algorithms")
    def unlearn(self, command: make.Unlearn) -> Unlearning:
        """What became of each request, and the state dict that has forgotten them.

        Example:
            >>> store.unlearn("ga", sample_ids=[15, 126], output="forgotten").requests.df()
        """
        done, _ = command.do(self._place)
        rows = _table([vars(row) for row in done.rows])
        return Unlearning(done.run_id, done.name, done.metrics, rows, done.state)

    @asks(make.Measure)
    def measure(self, command: make.Measure) -> Table:
        """A row a sweep, or one of the base model: how many were measured."""
        return _table(command.do(self._place))

    @asks(ask.Rank)
    def rank(self, command: ask.Rank) -> Table:
        """A row a sample."""
        return _table(command.do(self._place), "sample_id")

    @asks(ask.Sample, "sample_id")
    def sample(self, command: ask.Sample) -> Table:
        """A row an algorithm, with the factors as columns.

        Example:
            >>> store.sample(42).df().T
        """
        return _table(command.do(self._place).rows())

    @asks(ask.Sweeps)
    def sweeps(self, command: ask.Sweeps) -> Table:
        """A row a sweep."""
        return _table(command.do(self._place), "run_id", "name")

    @asks(ask.Models)
    def models(self, command: ask.Models) -> Table:
        """A row a base model."""
        return _table(command.do(self._place), "run_id", "name")

    @asks(ask.Report, "sweep")
    def report(self, command: ask.Report) -> Path:
        """The path of the page."""
        page: Path = command.do(self._place)
        return page

    @asks(ask.Figures, "sweep")
    def figures(self, command: ask.Figures) -> list[Path]:
        """The paths of the files."""
        paths: list[Path] = command.do(self._place)
        return paths

    @asks(keep.Check)
    def check(self, command: keep.Check) -> Table:
        """A row a problem; none where everything is whole."""
        return _table(command.do(self._place), "audit", "run_id", "name", "problem", "repair")

    @asks(keep.Merge, "stores")
    def merge(self, command: keep.Merge) -> Table:
        """A row a sweep, tuning or unlearning that the other stores have.

        Example:
            >>> store.merge("shard-1", "shard-2").df()
        """
        return _table(command.do(self._place), "kind", "run_id", "name")

    @asks(keep.Prune)
    def prune(self, command: keep.Prune) -> Table:
        """A row a checkpoint that was deleted; nothing is asked before."""
        from tracker.api.keeping import prune

        return _table(prune(self._place, command), "run_id")

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
        keep_data: bool = True,
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
            test: the test set.
            classes: the names of the classes; numbers if None.
            image_size: pixels to resize a folder's images to.
            label: the column of a table with the class.
            split_column: the column of a table with `train` or `test`.
            keep_data: whether a copy of train and test is written into the store's folder, as
                `data/<fingerprint>.npz`, by which other processes and the command line go on with
                the model. Without it they have to be given the data again: see `model`.
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
        if dataset is not None:
            data = bases.data_named(dataset, *where)
        else:
            data = bases.data_given(network, (train, test), classes, keep_data)
        with self._place.store(begins=True) as records:
            return self._model(records.run(bases.take(records, network, data, device)))

    def model(
        self,
        reference: Model | str = LATEST,
        *,
        train: Any = None,
        test: Any = None,
        classes: Iterable[str] | None = None,
        network: nn.Module | None = None,
    ) -> Model:
        """A base model that is in the store.

        Args:
            reference: its name, its id or the beginning of that, or `latest`.
            train: the training set again, where it was imported without keeping its data.
            test: the test set again.
            classes: the names of the classes again.
            network: the network again, with any weights, where its class cannot be imported.

        Raises:
            UserError: where there is none, or these are not its network and data.

        Example:
            >>> store.model("latest").test_accuracy
        """
        if (train is None) != (test is None):
            raise UserError("data are given again with both train= and test=")
        from tracker.base.base_models import find

        with self._place.store() as records:
            run = find(records, _reference(reference))
        data = None if train is None else (train, test)
        if network is not None or data is not None:
            self._place.bases.take_again(run, network, data, classes)
        return self._model(run)

    def network(self, model: Model | str = LATEST) -> nn.Module:
        """The network of a base model with its weights: see `Model.network`.

        Example:
            >>> store.network("latest")(images)
        """
        with self._place.store() as records:
            return self._place.bases.network(records, _reference(model))

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
        from tracker.reading.listing import find_sweep

        with self._place.reader() as reader:
            run = find_sweep(reader, reference)
        return Sweep(run.run_id, run.name, self)

    def _model(self, run: Run) -> Model:
        info, data = run.info, run.data
        return Model(
            str(info.run_id),
            str(info.run_name),
            data.params["dataset"],
            data.params["arch"],
            data.metrics["train_accuracy"],
            data.metrics["test_accuracy"],
            self,
        )


def _reference(model: Model | str) -> str:
    return model.run_id if isinstance(model, Model) else model


def _table(rows: list[dict[str, Any]], *names: str) -> Table:
    """Rows as a relation in memory; without any it has these columns."""
    import pyarrow as pa

    from analysis.warehouse import held

    if not rows:
        return held(pa.table({name: pa.array([], pa.string()) for name in names}))
    return held(pa.Table.from_pylist(rows))
