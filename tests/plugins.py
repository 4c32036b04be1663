"""Packages of other people's, as an installer leaves them: modules, and metadata beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ALGORITHM = """
from dataclasses import dataclass

from unlearning.algorithm import Stepwise, forget_loss
from unlearning.hyperparameters import hyperparameter


@dataclass(frozen=True, kw_only=True)
class Halt(Stepwise):
    \"\"\"A step descends on -share * CE(x_f, y_f).\"\"\"

    name = "{name}"
    citation = "nobody"
    share: float = hyperparameter(1.0, "share of the loss", above=0, at_most=1)

    def losses(self, step):
        share = self.share
        return (lambda model, forget, retain, state: -share * forget_loss(model, forget),)


ALGORITHM = Halt
"""

FAMILY = """
from factors.family import Column, Family


def brightness(base, positions):
    return {{"{column}": base.train_inputs[positions].double().flatten(1).mean(dim=1)}}


FAMILY = Family(
    name="{name}",
    pre=brightness,
    declared=(Column("{column}", "Brightness", "share", "high", "mean of the pixels"),),
)
"""

DATASET = """
import torch

from unlearning.dataset import Dataset, Split


def stripes(source):
    \"\"\"90 noisy images of 8x8 pixels with stripes one way or the other.\"\"\"
    images = torch.randint(0, 60, (90, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    images[::2, :, ::2] += 150
    images[1::2, :, :, ::2] += 150
    images, labels = images.to(torch.uint8), torch.arange(90) % 2
    train, test = torch.arange(60), torch.arange(60, 90)
    parts = (Split.of(images, labels, train), Split.of(images, labels, test))
    return Dataset("{name}", *parts, classes=("across", "down"), white=255)


DATASET = stripes
"""

ARCHITECTURE = """
from torch import nn


def net(image_shape, classes):
    channels, height, width = image_shape
    hidden = nn.Linear(channels * height * width, 12)
    return nn.Sequential(nn.Flatten(), hidden, nn.Tanh(), nn.Linear(12, classes))


ARCHITECTURE = net
"""


def install(
    site: Path,
    distribution: str,
    modules: Mapping[str, str],
    points: Mapping[str, Mapping[str, str]],
    version: str = "1.0",
) -> Path:
    """Lay a distribution out in a folder.

    Args:
        modules: source by module name. points: by group, what each name stands for.
    """
    site.mkdir(parents=True, exist_ok=True)
    for module, source in modules.items():
        (site / f"{module}.py").write_text(source)
    about = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )
    groups = (
        f"[indelible.{group}]\n" + "".join(f"{name} = {what}\n" for name, what in named.items())
        for group, named in points.items()
    )
    (about / "entry_points.txt").write_text("\n".join(groups))
    return site
