"""The types of `indelible`, as `python -m tracker.face.stub` writes them."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from duckdb import DuckDBPyRelation as Table
from torch import nn

from tracker import __version__
from tracker.face.handles import Model, Sweep, Unlearning
from unlearning.errors import Failure, UserError

__all__ = [
    "Failure",
    "Model",
    "Store",
    "Sweep",
    "Unlearning",
    "UserError",
    "__version__",
    "open",
]

Population = Literal["all", "flipped", "not_flipped"]
PathLike = str | os.PathLike[str]

class Store:
    def advise(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        preset: str | os.PathLike[str] | None = None,
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        samples: int | None = None,
        max_loss: float = 5.0,
        tries: int = 2,
        precision: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        remaining: int | None = None,
    ) -> Table: ...
    def attempts(
        self,
        sweep: str | None = None,
    ) -> Table: ...
    def check(
        self,
    ) -> Table: ...
    def correlations(
        self,
        sweep: str | None = None,
        population: Population | None = "all",
    ) -> Table: ...
    def difficulty(
        self,
        sweep: str | None = None,
    ) -> Table: ...
    def figures(
        self,
        sweep: Sweep | str = "latest",
        *,
        max_loss: float = 5.0,
        output: str | os.PathLike[str] | None = None,
        log: bool = False,
        kind: Literal["png", "pdf", "svg"] = "png",
    ) -> list[Path]: ...
    def find_sweep(
        self,
        reference: str = "latest",
    ) -> Sweep: ...
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
    ) -> Model: ...
    def measure(
        self,
        *,
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        sweep: Sweep | str | None = None,
        model: Model | str | None = None,
        samples: int | None = None,
        factor: Iterable[str] = (),
        recompute: bool = False,
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        factors: Iterable[str] = (),
    ) -> Table: ...
    def merge(
        self,
        *stores: str,
    ) -> Table: ...
    def model(
        self,
        reference: Model | str = "latest",
        *,
        train: Any = None,
        test: Any = None,
        classes: Iterable[str] | None = None,
        network: nn.Module | None = None,
    ) -> Model: ...
    def models(
        self,
    ) -> Table: ...
    def network(
        self,
        model: Model | str = "latest",
    ) -> nn.Module: ...
    def outcomes(
        self,
        sweep: str | None = None,
    ) -> Table: ...
    def predict(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        preset: str | os.PathLike[str] | None = None,
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        samples: int | None = None,
        only_correct: bool = False,
        precision: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        remaining: int | None = None,
        only_new: bool = False,
    ) -> Table: ...
    def prune(
        self,
        *,
        sweep: Sweep | str | None = None,
        checkpoints: str | None = None,
    ) -> Table: ...
    def rank(
        self,
        *,
        sweep: Sweep | str = "latest",
        algorithm: str | None = None,
        top: int = 10,
        easiest: bool = False,
    ) -> Table: ...
    def report(
        self,
        sweep: Sweep | str = "latest",
        *,
        max_loss: float = 5.0,
        output: str | os.PathLike[str] | None = None,
        log: bool = False,
        ui: str | None = None,
    ) -> Path: ...
    def restore(
        self,
        run: str,
    ) -> nn.Module: ...
    def sample(
        self,
        sample_id: int,
        *,
        sweep: Sweep | str = "latest",
    ) -> Table: ...
    def sql(
        self,
        query: str,
    ) -> Table: ...
    def sweep(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        preset: str | os.PathLike[str] | None = None,
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        samples: int | None = None,
        only_correct: bool = False,
        max_loss: float = 5.0,
        precision: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        remaining: int | None = None,
        name: str | None = None,
        factors: Iterable[str] = (),
        chunk: int | None = None,
        checkpoints: str = "all",
        execution: Literal["auto", "stacked", "sequential"] = "auto",
        histories: Literal["runs", "none"] = "runs",
        again: bool = False,
        shard: str | None = None,
    ) -> Sweep: ...
    def sweeps(
        self,
        *,
        max_loss: float = 5.0,
    ) -> Table: ...
    def train(
        self,
        dataset: str = "digits",
        *,
        arch: str | None = None,
        preset: str | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        seed: int | None = None,
        train_samples: int | None = None,
        test_samples: int | None = None,
        download: bool = False,
        from_weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        batch_size: int | None = None,
        optimizer: Literal["adam", "sgd"] | None = None,
        mixed_precision: bool = False,
        stem: Literal["cifar", "imagenet"] | None = None,
        image_size: int | None = None,
        label: str | None = None,
        split_column: str | None = None,
        leave_out: Iterable[int] | str | os.PathLike[str] | None = None,
        memorization_models: int | None = None,
        learning_events: bool | None = None,
    ) -> Model: ...
    def tune(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        max_loss: float = 5.0,
        output: str | os.PathLike[str],
        samples: int | None = None,
        trials: int = 25,
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        leave_out_samples: Iterable[str | os.PathLike[str]] = (),
    ) -> Table: ...
    def unlearn(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        preset: str | os.PathLike[str] | None = None,
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        max_loss: float = 5.0,
        output: str | os.PathLike[str],
        order: Literal["given", "easy", "hard", "together"] = "given",
        precision: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        rounds: int = 3,
        register: str | None = None,
        reference: bool = False,
    ) -> Unlearning: ...

def open(  # noqa: A001 - as `indelible.open`
    folder: PathLike = "mlruns",
    *,
    tracking_uri: str | None = None,
    data_dir: PathLike = "data",
    server_timeout: float = 60.0,
    progress: bool = True,
) -> Store: ...
