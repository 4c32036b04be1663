"""Train a base model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli._options import device_option, parse_ids, read_ids
from tracker.cli._output import progress
from tracker.cli._session import Session, pass_session, say
from unlearning.errors import UserError

if TYPE_CHECKING:
    import torch

    from tracker.base.base_models import Request
    from tracker.record.store import Store
    from unlearning.datasets import Source


@click.command()
@click.option(
    "--dataset",
    default="digits",
    show_default=True,
    help="digits, mnist, fashion-mnist, cifar10, svhn, folder:PATH with train/ and test/, or "
    "npz:PATH with arrays images and labels.",
)
@click.option("--download", is_flag=True, help="Fetch the data set if it is not there.")
@click.option("--train-samples", type=int, metavar="N", help="Train on N samples drawn once.")
@click.option("--test-samples", type=int, metavar="N", help="Test on N samples drawn once.")
@click.option("--image-size", type=int, metavar="N", help="Resize a folder's images to NxN pixels.")
@click.option(
    "--arch",
    help="small-cnn, mlp, resnet18, or module:package.module:factory.  [default: small-cnn]",
)
@click.option(
    "--stem",
    type=click.Choice(["cifar", "imagenet"]),
    help="First layers of resnet18: 3x3 without max-pool, or torchvision's.  [default: cifar]",
)
@click.option("--preset", help="How a preset trains on the data set: paper.")
@click.option("--epochs", type=int, help="Passes over the data.  [default: 30]")
@click.option("--lr", type=float, help="First learning rate.  [default: 0.002]")
@click.option("--batch-size", type=int, help="Samples a step.  [default: 64]")
@click.option(
    "--optimizer",
    type=click.Choice(["adam", "sgd"]),
    help="Adam, or SGD with Nesterov momentum 0.9.  [default: adam]",
)
@click.option("--seed", type=int, help="Of weights and batches.  [default: 0]")
@click.option(
    "--from-weights",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Import a safetensors state dict instead of training.",
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
@device_option
@pass_session
def command(
    session: Session,
    /,
    dataset: str,
    download: bool,
    train_samples: int | None,
    test_samples: int | None,
    image_size: int | None,
    arch: str | None,
    stem: str | None,
    preset: str | None,
    from_weights: Path | None,
    leave_out: str | None,
    memorization_models: int | None,
    device: str,
    **recipe: Any,
) -> None:
    """Train a base model and print its MLflow run id.

    A model that was trained with the same settings before is found, not trained again.

    \b
    Example:
      indelible train --dataset digits --arch small-cnn --seed 1
      indelible train --leave-out 3,14,159 --memorization-models 20
      indelible train --dataset cifar10 --preset paper --download
    """
    ids = [] if leave_out is None else _ids(leave_out)
    if from_weights and any(value is not None for value in recipe.values()):
        raise UserError("--from-weights imports a trained model: leave out how to train one")
    if from_weights and (ids or memorization_models):
        raise UserError(
            "--leave-out and --memorization-models train models by the base model's recipe, which "
            "an imported one has not: leave them out"
        )
    from tracker.base import base_models, companions
    from unlearning import presets
    from unlearning.datasets import Source
    from unlearning.training import Recipe

    known = presets.recipe(preset, dataset) if preset else {}
    if preset:
        say(f"preset {preset}: {presets.standing(preset, dataset)}")
    presets_arch, presets_samples = known.pop("arch", "small-cnn"), known.pop("train_samples", None)
    arch = arch or str(presets_arch)
    train_samples = presets_samples if train_samples is None else train_samples
    source = Source(session.data_dir, download, train_samples, test_samples, image_size)
    settings = known | {name: value for name, value in recipe.items() if value is not None}
    request = base_models.Request(
        dataset, _with_stem(arch, stem), Recipe(**settings), from_weights, tuple(ids)
    )
    where = base_models.pick_device(device)
    with session.store(begins=True) as store:
        run_id = train(store, request, source, where)
        if ids or memorization_models:
            base = base_models.load(store, run_id, where, session.data_dir).model
            if ids:
                with progress("training", len(ids)) as advance:
                    companions.leave_out(store, run_id, base, ids, advance)
                with progress("training", companions.SEEDS_FOR) as advance:
                    gaps = companions.measure_chance(store, run_id, base, ids, advance)
                say(
                    "mean gap to a leave-one-out model: "
                    f"{gaps[companions.UNTOUCHED]:.2g} from the untouched base model, "
                    f"{gaps[companions.SECOND]:.2g} from another seed's"
                )
            if memorization_models:
                with progress("training", memorization_models) as advance:
                    companions.memorize(store, run_id, base, memorization_models, advance)
    click.echo(run_id)


def train(store: Store, request: Request, source: Source, device: torch.device) -> str:
    """Train or import a base model and say how far it is; its run id."""
    from tracker.base import base_models

    epochs = 1 if request.weights else request.recipe.epochs
    with progress("training", epochs, "epoch ") as advance:
        run_id, known = base_models.train(
            store, request, source, device, lambda loss: advance(1, f"loss {loss:.4f}")
        )
        advance(epochs if known or request.weights else 0, "found" if known else "done")
    return run_id


def _with_stem(arch: str, stem: str | None) -> str:
    if stem and arch != "resnet18":
        raise UserError(f"--stem is for resnet18, not for {arch}: leave it out")
    return "resnet18-imagenet" if stem == "imagenet" else arch


def _ids(text: str) -> list[int]:
    """Sample ids from a file, or written out with commas between them."""
    return read_ids(Path(text)) if Path(text).is_file() else parse_ids(text, "--leave-out")
