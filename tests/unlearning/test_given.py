"""Data and networks that Python gives: what is taken, as what, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unlearning import datasets
from unlearning.datasets.npz import dataset_of, samples_of
from unlearning.errors import UserError
from unlearning.models import check, network_of, outputs_of

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
    "unsigned labels": (BYTES.numpy(), LABELS.numpy().astype(np.uint64)),
    "float32": (BYTES.float() / 255, LABELS.int()),
    "float16": ((BYTES.float() / 255).half(), LABELS),
    "numpy's floats": (BYTES.numpy() / 255, LABELS),
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


def test_what_is_given_stays_as_it_is_and_is_not_shared() -> None:
    images, labels = BYTES.clone(), LABELS.clone()
    found = samples_of((images, labels), "train")
    images.zero_(), labels.zero_()
    assert torch.equal(found[0], BYTES)
    assert torch.equal(found[1], LABELS)


REFUSED: dict[str, tuple[Any, str]] = {
    "normalised": ((BYTES / 255 - 0.5, LABELS), "put a normalisation into the network"),
    "0 and 1": ((BYTES.clamp(max=1), LABELS), "uint8 from 0 to 1"),
    "int64": ((BYTES.long(), LABELS), "int64 from 0 to 255"),
    "channels last": ((BYTES.permute(0, 2, 3, 1), LABELS), "takes (N, C, H, W)"),
    "no samples": ((BYTES[:0], LABELS[:0]), "takes (N, C, H, W)"),
    "float labels": ((BYTES, LABELS.float()), "type float32"),
    "one-hot labels": ((BYTES, torch.eye(4).long()), "shape (4, 4)"),
    "a loader": (DataLoader(TensorDataset(*PAIR)), "is a DataLoader"),
    "a mapping": ({"images": BYTES, "labels": LABELS}, "is a dict that cannot be read as images"),
    "text labels": ([(BYTES[0], "cat")], "cannot be read as images"),
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
        (PAIR, ["a", "", "b"], "all different"),
        ((BYTES[:, :1], LABELS), "abc", "images have the shapes"),
        ((BYTES, LABELS[:3]), "abc", "3 labels for 4 images"),
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
            assert torch.equal(before.float(), after)


@pytest.mark.parametrize(
    ("module", "said"),
    [(nn.Flatten(), "a Flatten is no network with"), ("resnet18", "a str is no network")],
)
def test_no_network(module: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        network_of(module)


def test_the_number_of_a_networks_outputs() -> None:
    assert outputs_of(linear(), BYTES[0]) == 3
    with pytest.raises(UserError, match=r"gives no logits .* of images of shape \(3, 8, 8\)"):
        outputs_of(nn.Linear(5, 2), BYTES[0])


class Drawing(nn.Linear):
    """Drops inputs in eval mode too."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(images.flatten(1)))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Drawing(192, 3), "change from call to call"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), linear()), "others beside it"),
    ],
)
def test_logits_that_are_not_of_an_image_alone(module: nn.Module, said: str) -> None:
    parts = samples_of(PAIR, "train")
    data = dataset_of(parts, parts, ["a", "b", "c"])
    with pytest.raises(UserError, match=said):
        check(module, "own", data)
