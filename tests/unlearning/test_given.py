"""Data and networks that Python gives: what is taken, as what, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unlearning import datasets
from unlearning.datasets.npz import dataset_of, samples_of
from unlearning.errors import UserError
from unlearning.models import network_of, outputs_of

BYTES = torch.arange(256).repeat(3)[: 4 * 3 * 8 * 8].reshape(4, 3, 8, 8).to(torch.uint8)
LABELS = torch.tensor([0, 1, 2, 1])
PAIR = (BYTES, LABELS)


class Listed:
    """A data set as torchvision has them: pairs by position."""

    def __init__(self, make: Callable[[int], Any], count: int = 4) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> tuple[Any, int]:
        return self.make(position), LABELS[position].item()  # type: ignore[return-value]


def pil(position: int) -> Image.Image:
    return Image.fromarray(BYTES[position].permute(1, 2, 0).numpy())


SAME = {
    "arrays": (BYTES.numpy(), LABELS.numpy()),
    "float32": (BYTES.float() / 255, LABELS.int()),
    "strides": (BYTES.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), LABELS),
    "pairs of tensors": TensorDataset(BYTES.float() / 255, LABELS),
    "pairs of PIL's images": Listed(pil),
    "a list of pairs": [(BYTES[k], int(LABELS[k])) for k in range(4)],
}


@pytest.mark.parametrize("how", SAME)
def test_every_way_to_give_data_comes_to_the_same_bytes(how: str) -> None:
    images, labels = samples_of(SAME[how], "train")
    assert torch.equal(images, BYTES)
    assert images.is_contiguous()
    assert labels.tolist() == LABELS.tolist()
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)


REFUSED: dict[str, tuple[Any, str]] = {
    "normalised": ((BYTES / 255 - 0.5, LABELS), "put a normalisation into the network"),
    "int64": ((BYTES.long(), LABELS), "int64 from 0 to 255"),
    "channels last": ((BYTES.permute(0, 2, 3, 1), LABELS), "takes (N, C, H, W)"),
    "one-hot labels": ((BYTES, torch.eye(4).long()), "shape (4, 4)"),
    "a loader": (DataLoader(TensorDataset(*PAIR)), "is a DataLoader"),
    "sizes": (Listed(lambda k: BYTES[k, :, : 8 - k // 2]), "with images of one size"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_would_be_changed_or_is_no_data_is_refused(how: str) -> None:
    given, said = REFUSED[how]
    with pytest.raises(UserError) as refused:
        samples_of(given, "train")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_data_set_is_that_of_a_file_with_the_same_content(tmp_path: Path) -> None:
    """The names of its classes too, and a class that training lacks."""
    names = ("ant", "bee", "cat", "dog")
    found = dataset_of(samples_of(PAIR, "train"), samples_of(PAIR, "test"), names)
    path = tmp_path / "any.npz"
    both = {"images": BYTES, "labels": LABELS, "test_images": BYTES, "test_labels": LABELS}
    np.savez(path, classes=np.array(names), **{k: v.numpy() for k, v in both.items()})  # type: ignore[arg-type]
    read = datasets.load(f"npz:{path}")
    assert found.fingerprint == read.fingerprint
    assert found.classes == read.classes == names
    assert found.name == f"npz-{found.fingerprint[:12]}"
    assert found.train.ids.tolist() == [0, 1, 2, 3]
    assert torch.equal(found.inputs(found.test), BYTES / 255)


@pytest.mark.parametrize(
    ("test", "classes", "said"),
    [
        (PAIR, ["a", "b"], "its labels go from 0 to 2, of 2 classes"),
        (PAIR, ["a", "a", "b"], "all different"),
        ((BYTES[:, :1], LABELS), "abc", "images have the shapes"),
    ],
)
def test_parts_and_classes_that_do_not_fit(test: Any, classes: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        dataset_of(samples_of(PAIR, "train"), samples_of(test, "test"), classes)


def linear(dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).to(dtype)


def test_a_network_is_copied_with_weights_in_float32() -> None:
    module = linear(torch.float16).train()
    for given in (module, nn.DataParallel(module), nn.ModuleDict({"_orig_mod": module})):
        network = network_of(given)
        assert (network.training, module.training) == (False, True)
        for before, after in zip(module.parameters(), network.parameters(), strict=True):
            assert after.dtype == torch.float32
            assert torch.equal(before.float().cpu(), after)


def test_the_number_of_a_networks_outputs() -> None:
    with pytest.raises(UserError, match="a str is no network"):
        network_of("resnet18")  # type: ignore[arg-type]
    assert outputs_of(linear(), BYTES[0]) == 3
    with pytest.raises(UserError, match=r"gives no logits .* of images of shape \(3, 8, 8\)"):
        outputs_of(nn.Linear(5, 2), BYTES[0])
