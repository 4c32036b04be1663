"""Base models of a store: trained, imported, found again, and what attempts made of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tracker.face import remarks
from tracker.face.handles import Model
from tracker.face.progress import progress
from tracker.face.questions import LocalPlace, Questions
from unlearning.errors import UserError
from unlearning.naming import LATEST

if TYPE_CHECKING:
    from mlflow.entities import Run
    from torch import nn

    from tracker.face.bases import Bases


class Models(Questions):
    """What a store does with base models.

    Args:
        shown: whether it is shown how far something is.
    """

    def __init__(self, place: LocalPlace, shown: bool) -> None:
        super().__init__(place)
        self._shown = shown

    @cached_property
    def _bases(self) -> Bases:
        from tracker.face.bases import Bases

        return Bases(self._place.data_dir, self._place.folder)

    def train(
        self,
        dataset: str = "digits",
        *,
        arch: str | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        optimizer: str | None = None,
        seed: int | None = None,
        train_samples: int | None = None,
        test_samples: int | None = None,
        image_size: int | None = None,
        label: str | None = None,
        split_column: str | None = None,
        download: bool = False,
        learning_events: bool | None = None,
        mixed_precision: bool = False,
        device: str = "auto",
    ) -> Model:
        """Train a base model; one of the same settings that is there is found.

        Args:
            dataset: its name, `folder:PATH`, `npz:PATH` or `table:PATH`.
            arch: a name, or `module:package.module:factory`; if None `mlp` for a table, else
                `small-cnn`.
            epochs: passes over the data.
            lr: the first learning rate.
            batch_size: samples a step.
            optimizer: `adam` or `sgd`.
            seed: of weights and batches.
            train_samples: how many training samples are drawn; all if None.
            test_samples: how many test samples are drawn; all if None.
            image_size: pixels to resize a folder's images to.
            label: the column of a table with the class.
            split_column: the column of a table with `train` or `test`; if None a fifth, drawn once,
                is for test.
            download: whether a data set that is not there is fetched.
            learning_events: whether to record how each sample is learned, for the factors of family
                learning; if None it is, but no model is trained again for it.
            mixed_precision: whether layers compute in bfloat16 where that is usual.
            device: `auto`, `cpu`, `cuda`, one of several as `cuda:1`, or `mps`.

        Raises:
            UserError: for a name or value that is not accepted.

        Example:
            >>> model = store.train("digits", epochs=5, seed=0)
        """
        from tracker.base import training
        from tracker.face.bases import pick
        from unlearning.datasets import Source
        from unlearning.recipe import Recipe

        given = {"epochs": epochs, "lr": lr, "batch_size": batch_size}
        given |= {"optimizer": optimizer, "seed": seed}  # type: ignore[dict-item]
        given |= {"mixed_precision": mixed_precision}
        recipe = Recipe(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        drawn, columns = (train_samples, test_samples), (label, split_column)
        source = Source(self._place.data_dir, download, *drawn, image_size, *columns)
        request = training.Request(
            dataset, arch or training.usual_arch(dataset), recipe, learning_events=learning_events
        )
        where = pick(device)
        with (
            self._place.store(begins=True) as records,
            progress("training", recipe.epochs, self._shown) as advance,
        ):
            run_id, known = training.train(
                records, request, source, where, lambda loss: advance(1, f"loss {loss:.4f}")
            )
            if known:
                advance(recipe.epochs, "found")
                if remark := training.remark_on_events(records, run_id, request):
                    remarks.say(remark)
            return self._model(records.run(run_id))

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
        from tracker.face.bases import Data, samples
        from unlearning.datasets import Source
        from unlearning.given import network_of

        own = network_of(network)
        if dataset is not None:
            if any(part is not None for part in (train, test, classes)):
                raise UserError("dataset names data that are there: leave train, test, classes out")
            parts = {"image_size": image_size, "label": label, "split_column": split_column}
            data = Data.named(dataset, Source(self._place.data_dir, **parts))  # type: ignore[arg-type]
        elif train is None or test is None or (image_size, label, split_column) != (None,) * 3:
            raise UserError("give dataset=, or both train= and test=, whose images have one size")
        else:
            data = Data.of(own, samples(train, test), classes, keep_data)
        with self._place.store(begins=True) as records:
            run_id = self._bases.take(records, own, data, device)
            return self._model(records.run(run_id))

    def model(
        self,
        reference: str = LATEST,
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
        from tracker.base import base_models

        if (train is None) != (test is None):
            raise UserError("data are given again with both train= and test=")
        with self._place.store() as records:
            run = base_models.find(records, reference_of(reference))
        data = None if train is None else (train, test)
        if network is not None or data is not None:
            self._bases.take_again(run, network, data, classes)
        return self._model(run)

    def network(self, model: Model | str = LATEST) -> nn.Module:
        """The network of a base model with its weights: see `Model.network`.

        Example:
            >>> store.network("latest")(images)
        """
        with self._place.store() as records:
            return self._bases.network(records, reference_of(model))

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
        from tracker.reading.listing import member_of

        with self._place.reader() as reader:
            return self._bases.restored(reader, member_of(reader, run))

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


def reference_of(model: Model | str) -> str:
    """How the store finds a base model."""
    reference = model.run_id if isinstance(model, Model) else model
    if not isinstance(reference, str):
        raise UserError(f"model is {reference!r}: it takes a Model, or a name or id as a text")
    return reference
