"""Train a base model."""

from __future__ import annotations

import click

from indelible.tracker.cli._output import progress
from indelible.tracker.cli._session import Session, pass_session

DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU where there is one.",
)


@click.command()
@click.option("--dataset", default="digits", show_default=True, help="Data set by name.")
@click.option("--arch", default="small-cnn", show_default=True, help="Architecture by name.")
@click.option("--epochs", type=int, default=30, show_default=True, help="Passes over the data.")
@click.option("--lr", type=float, default=2e-3, show_default=True, help="First learning rate.")
@click.option("--batch-size", type=int, default=64, show_default=True, help="Samples a step.")
@click.option(
    "--optimizer",
    type=click.Choice(["adam", "sgd"]),
    default="adam",
    show_default=True,
    help="Adam, or SGD with Nesterov momentum 0.9.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and batches.")
@DEVICE
@pass_session
def command(
    session: Session,
    dataset: str,
    arch: str,
    epochs: int,
    lr: float,
    batch_size: int,
    optimizer: str,
    seed: int,
    device: str,
) -> None:
    """Train a base model and print its MLflow run id.

    A model that was trained with the same settings before is found, not trained again.

    \b
    Example:
      indelible train --dataset digits --arch small-cnn --seed 1
    """
    from indelible.tracker import base_models
    from indelible.unlearning.training import Recipe

    recipe = Recipe(epochs, lr, batch_size, optimizer, seed)
    with session.store() as store, progress("training", epochs) as advance:
        run_id, known = base_models.train(
            store,
            dataset,
            arch,
            recipe,
            base_models.pick_device(device),
            lambda loss: advance(1, f"loss {loss:.4f}"),
        )
        advance(epochs if known else 0, "found" if known else "done")
    click.echo(run_id)
