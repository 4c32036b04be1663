"""Train a base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli._engines import Computing, engine_options
from tracker.cli._options import as_one, completed, device_option, parse_ids, read_ids, refuse
from tracker.cli._output import progress
from tracker.cli._session import Session, pass_session, say
from unlearning import architectures, datasets
from unlearning.errors import UserError
from unlearning.recipe import OPTIMIZERS, Recipe

if TYPE_CHECKING:
    import torch

    from tracker.base.training import Request
    from tracker.base.workers import Engine
    from tracker.store.write import Store
    from unlearning.base_model import BaseModel
    from unlearning.datasets import Source

DEFAULT = Recipe()


@dataclass(frozen=True)
class Arguments(Computing):
    """The options of the command, by the names that they have there; None: it was left out."""

    dataset: str
    download: bool
    train_samples: int | None
    test_samples: int | None
    image_size: int | None
    label: str | None
    split_column: str | None
    arch: str | None
    stem: str | None
    preset: str | None
    epochs: int | None
    lr: float | None
    batch_size: int | None
    optimizer: str | None
    seed: int | None
    mixed_precision: bool | None
    from_weights: Path | None
    leave_out: str | None
    memorization_models: int | None
    learning_events: bool | None

    @property
    def recipe(self) -> dict[str, Any]:
        """The fields of a Recipe that were given."""
        given = {field.name: getattr(self, field.name) for field in fields(Recipe)}
        return {name: value for name, value in given.items() if value is not None}

    def left_out_ids(self) -> tuple[int, ...]:
        """The samples to leave out. Raises UserError."""
        return () if self.leave_out is None else tuple(_ids(self.leave_out))

    def check(self) -> None:
        """Raise UserError for options that exclude each other."""
        super().check()
        if self.from_weights:
            trained = [*self.recipe, "preset", "leave_out", "memorization_models"]
            trained += ["learning_events"] if self.learning_events else []
            refuse(trained, "with --from-weights: an imported model has no recipe")
        if self.leave_out is None and self.memorization_models is None:
            shared = ["workers", "engine", "address", "slots"]
            refuse(shared, "without --leave-out or --memorization-models")


@click.command()
@click.option(
    "--dataset",
    default="digits",
    show_default=True,
    shell_complete=completed(datasets.names),
    help=f"{', '.join(datasets.names())}, folder:PATH with train/ and test/, npz:PATH with arrays "
    "images and labels, or table:PATH, a Parquet or CSV file.",
)
@click.option("--download", is_flag=True, help="Fetch the data set if it is not there.")
@click.option("--train-samples", type=int, metavar="N", help="Train on N samples drawn once.")
@click.option("--test-samples", type=int, metavar="N", help="Test on N samples drawn once.")
@click.option("--image-size", type=int, metavar="N", help="Resize a folder's images to NxN pixels.")
@click.option("--label", metavar="COLUMN", help="The column of a table with the class.")
@click.option(
    "--split-column",
    metavar="COLUMN",
    help="The column of a table with train or test.  [default: a fifth, drawn once, is for test]",
)
@click.option(
    "--arch",
    shell_complete=completed(architectures.names),
    help=f"{', '.join(architectures.names())}, or module:package.module:factory.  "
    "[default: small-cnn; mlp for a table]",
)
@click.option(
    "--stem",
    type=click.Choice(["cifar", "imagenet"]),
    help="First layers of resnet18: 3x3 without max-pool, or torchvision's.  [default: cifar]",
)
@click.option("--preset", help="How a preset trains on the data set, such as paper.")
@click.option("--epochs", type=int, help=f"Passes over the data.  [default: {DEFAULT.epochs}]")
@click.option("--lr", type=float, help=f"First learning rate.  [default: {DEFAULT.lr}]")
@click.option("--batch-size", type=int, help=f"Samples a step.  [default: {DEFAULT.batch_size}]")
@click.option(
    "--optimizer",
    type=click.Choice(OPTIMIZERS),
    help=f"Adam, or SGD with Nesterov momentum 0.9.  [default: {DEFAULT.optimizer}]",
)
@click.option("--seed", type=int, help=f"Of weights and batches.  [default: {DEFAULT.seed}]")
@click.option(
    "--mixed-precision",
    is_flag=True,
    default=None,
    help="Layers compute in bfloat16 where that is usual; weights and loss in float32.",
)
@click.option(
    "--from-weights",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Import a state dict, of safetensors or torch.save, instead of training. The network gets "
    "images in [0, 1] as (N, channels, height, width), RGB; it normalises them itself if it needs "
    "that. Label 0 is the first class in the data set's order, which for folder: is the "
    "alphabetical one.",
)
@click.option(
    "--leave-out",
    metavar="FILE|ID,...",
    help="Also train a model without each of these samples, for the factors of family reference.",
)
@click.option(
    "--memorization-models",
    type=click.IntRange(2, 100_000),
    metavar="N",
    help="Also train N models on random parts of the data, for the factor memorization.",
)
@click.option(
    "--learning-events/--no-learning-events",
    default=None,
    help="Record how each sample is learned, for the factors of family learning; a model that is "
    "there without is trained again for it if this is given.  [default: record, but never train "
    "again]",
)
@device_option
@engine_options
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """Train a base model and print its MLflow run id.

    A model that was trained with the same settings before is found, not trained again.

    \b
    Example:
      indelible train --dataset digits --arch small-cnn --seed 1
      indelible train --leave-out 3,14,159 --memorization-models 20
      indelible train --dataset cifar10 --preset paper --download
      indelible train --arch module:nets:Net --from-weights model.pt
      indelible train --dataset table:patients.parquet --label outcome
    """
    arguments.check()
    from tracker.base import base_models, devices

    request, data_source = _asked(arguments, session.data_dir)
    device = devices.pick_device(arguments.device)
    with session.store(begins=True) as store:
        run_id = train_base_model(store, request, data_source, device)
        if request.leave_out or arguments.memorization_models:
            base = base_models.load(store, run_id, device, session.data_dir).model
            with arguments.computing() as engine:
                if request.leave_out:
                    _leave_out(store, run_id, base, request.leave_out, engine)
                if arguments.memorization_models:
                    _memorize(store, run_id, base, arguments.memorization_models, engine)
        say(accuracy_of(store, run_id))
    click.echo(run_id)


def accuracy_of(store: Store, run_id: str) -> str:
    """What a base model gets right, in a line."""
    run = store.run(run_id)
    shares = (run.data.metrics[f"{split}_accuracy"] for split in ("train", "test"))
    train, test = (f"{share:.1%}" for share in shares)
    return f"{run.info.run_name}: {train} of the training set right, {test} of the test set"


def _asked(arguments: Arguments, data_dir: Path) -> tuple[Request, Source]:
    """What is to be trained, and on what part of the data; what no option says is the preset's."""
    from tracker.base.training import Request, usual_arch
    from unlearning import presets
    from unlearning.datasets import Source

    preset, dataset = arguments.preset, arguments.dataset
    known = presets.recipe(preset, dataset) if preset else {}
    usual, train_samples = known.pop("arch", usual_arch(dataset)), known.pop("train_samples", None)
    arch = _with_stem(arguments.arch or str(usual), arguments.stem)
    if preset:
        say(f"preset {preset}: {presets.standing(preset, dataset, arch)}")
    data_source = Source(
        data_dir,
        arguments.download,
        train_samples if arguments.train_samples is None else arguments.train_samples,
        arguments.test_samples,
        arguments.image_size,
        arguments.label,
        arguments.split_column,
    )
    request = Request(
        dataset,
        arch,
        Recipe(**known | arguments.recipe),
        arguments.from_weights,
        arguments.left_out_ids(),
        arguments.learning_events,
    )
    return request, data_source


def _leave_out(
    store: Store, run_id: str, base: BaseModel, ids: Sequence[int], engine: Engine
) -> None:
    """Train models without single samples, and say how far they are from others."""
    from tracker.base import companions

    with progress("training", len(ids)) as advance:
        companions.leave_out(store, run_id, base, ids, advance, engine)
    with progress("training", companions.SEEDS_FOR) as advance:
        gaps = companions.measure_chance(store, run_id, base, ids, advance, engine)
    say(
        "mean gap to a leave-one-out model: "
        f"{gaps[companions.UNTOUCHED]:.2g} from the untouched base model, "
        f"{gaps[companions.SECOND]:.2g} from another seed's"
    )


def _memorize(store: Store, run_id: str, base: BaseModel, models: int, engine: Engine) -> None:
    """Train models on random parts of the data."""
    from tracker.base import companions

    with progress("training", models) as advance:
        companions.memorize(store, run_id, base, models, advance, engine)


def train_base_model(
    store: Store, request: Request, data_source: Source, device: torch.device
) -> str:
    """Train or import a base model and say how far it is; its run id."""
    from tracker.base import training

    epochs = 1 if request.weights else request.recipe.epochs
    with progress("training", epochs, "epoch ") as advance:
        run_id, known = training.train(
            store, request, data_source, device, lambda loss: advance(1, f"loss {loss:.4f}"), say
        )
        advance(epochs if known or request.weights else 0, "found" if known else "done")
    if known and (remark := training.remark_on_events(store, run_id, request)):
        say(remark)
    return run_id


def _with_stem(arch: str, stem: str | None) -> str:
    if stem and arch != "resnet18":
        raise UserError(f"--stem is for resnet18, not for {arch}: leave it out")
    return "resnet18-imagenet" if stem == "imagenet" else arch


def _ids(text: str) -> list[int]:
    """Sample ids from a file, or written out with commas between them."""
    return read_ids(Path(text)) if Path(text).is_file() else parse_ids(text, "--leave-out")
