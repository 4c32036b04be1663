"""Data sets by name, folders of images, and numpy's .npz."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from unlearning import datasets
from unlearning.dataset import Dataset
from unlearning.datasets import Source, _torchvision
from unlearning.errors import UserError

Bytes = NDArray[np.uint8]
PICTURES = {"cifar10": "CIFAR10", "fashion-mnist": "FashionMNIST", "mnist": "MNIST", "svhn": "SVHN"}
HELD, TRAINED, TESTED = 20, 15, 7  # samples in a fake training file, split and test file


def test_digits_are_scikit_learns(digits: Dataset) -> None:
    reference = load_digits()
    for split in (digits.train, digits.test):
        ids = split.ids.numpy()
        np.testing.assert_array_equal(split.images[:, 0].numpy(), reference.images[ids])
        np.testing.assert_array_equal(split.labels.numpy(), reference.target[ids])


def test_fingerprint_sees_a_pixel_a_label_and_the_split(digits: Dataset) -> None:
    def changed(**parts: Any) -> Dataset:
        return dataclasses.replace(digits, train=dataclasses.replace(digits.train, **parts))

    images, labels = digits.train.images.clone(), digits.train.labels.clone()
    images[5, 0, 3, 3] ^= 1
    labels[5] = (labels[5] + 1) % 10
    others = [changed(images=images), changed(labels=labels), changed(ids=digits.train.ids + 1)]
    found = {digits.fingerprint, *(other.fingerprint for other in others)}
    assert len(found) == 4
    assert digits.fingerprint == datasets.load("digits").fingerprint


def some(*shape: int, below: int = 256, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, below, shape, dtype=np.uint8)


def faked(name: str, held: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Bytes, Any]]:
    """Images (N, C, H, W) and labels of both files of a data set, which torchvision reads."""
    shape = (1, 6, 5) if "mnist" in name else (3, 6, 5)
    parts: list[tuple[Bytes, Any]] = [
        (some(count, *shape, seed=count), some(count, below=10, seed=count).tolist())
        for count in (held, TESTED)
    ]

    class Fake:
        data: Any
        targets: Any

        def __init__(self, root: Path, download: bool, train: bool = True, split: str = "train"):
            images, labels = parts[0 if train and split == "train" else 1]
            if name == "svhn":
                self.data, self.labels = images, np.array(labels)
            elif name == "cifar10":
                self.data, self.targets = images.transpose(0, 2, 3, 1), labels
            else:
                self.data, self.targets = torch.tensor(images[:, 0]), torch.tensor(labels)
            if name != "svhn":
                self.classes = [f"class {n}" for n in range(10)]

    torchvision: Any = importlib.import_module("torchvision.datasets")
    monkeypatch.setattr(torchvision, PICTURES[name], Fake)
    fewer = dataclasses.replace(_torchvision.DATASET[name], training=TRAINED)
    monkeypatch.setitem(_torchvision.DATASET, name, fewer)
    return parts


def write_image(file: Path, pixels: Bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def write_folder(root: Path, shape: tuple[int, ...] = (5, 4)) -> Path:
    """Six training and four test images of cats and dogs."""
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                pixels = some(*shape, seed=len(part) + number)
                write_image(root / part / name / f"{number}.png", pixels)
    return root


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets")


def refusal(name: str, source: Source = datasets.AS_IT_IS) -> str:
    with pytest.raises(UserError) as error:
        datasets.load(name, source)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", PICTURES)
def test_what_torchvision_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = faked(name, HELD, monkeypatch)
    found = datasets.load(name)
    assert (found.name, found.white) == (name, 255)
    assert found.classes[:2] == (("0", "1") if name == "svhn" else ("class 0", "class 1"))
    assert (len(found.train), len(found.test)) == (TRAINED, TESTED)
    assert found.test.ids.tolist() == list(range(TESTED))
    for split, (images, labels) in zip((found.train, found.test), parts, strict=True):
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        np.testing.assert_array_equal(split.images.numpy(), images[split.ids])
        np.testing.assert_array_equal(split.labels.numpy(), np.array(labels)[split.ids])
    faked(name, TRAINED - 1, monkeypatch)
    assert f"of {TRAINED} samples {TRAINED - 1} are there" in refusal(name)


def test_fewer_samples_are_among_the_more(digits: Dataset) -> None:
    larger = digits
    for count in (60, 20):
        found = datasets.load("digits", source := Source(train_samples=count, test_samples=count))
        for few, more in ((found.train, larger.train), (found.test, larger.test)):
            ids = few.ids.tolist()
            assert len(ids) == count
            assert ids == sorted({*ids} & {*more.ids.tolist()})
            assert torch.equal(few.images, more.images[more.positions(ids)])
            assert torch.equal(few.labels, more.labels[more.positions(ids)])
        said = datasets.described("digits", source)
        assert datasets.load_described(said).fingerprint == found.fingerprint != larger.fingerprint
        larger = found


def test_numbers_of_samples_are_held_to_what_there_is() -> None:
    message = refusal("digits", Source(train_samples=1001))
    assert message == "--train-samples 1001 is too many: digits has 1000 train samples"
    assert "--test-samples 798 is too many" in refusal("digits", Source(test_samples=798))
    for wrong in ({"train_samples": 1}, {"test_samples": -3}, {"image_size": 0}):
        with pytest.raises(UserError, match="is too few"):
            Source(**wrong)  # type: ignore[arg-type]


def test_missing_files_are_told_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("downloads"))
    where = tmp_path / "my data"
    message = refusal("mnist", Source(where))
    assert f"data set 'mnist' cannot be read from {where}" in message
    assert f"'indelible --data-dir '{where}' train --dataset mnist --download'" in message
    assert not where.exists()
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    message = refusal("mnist", Source(where, download=True))
    assert "Name or service not known" in message or "Error downloading" in message


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_folders(shape: tuple[int, ...], tmp_path: Path) -> None:
    torchvision: Any = importlib.import_module("torchvision.datasets")
    root = write_folder(tmp_path / "my pets", shape)
    found = datasets.load(f"folder:{root}", Source())
    assert (found.name, found.white) == ("folder-my-pets", 255)
    assert found.classes == ("cat", "dog")
    assert found.image_shape == ((3, 5, 4) if len(shape) == 3 else (1, 5, 4))
    for split, part in ((found.train, "train"), (found.test, "test")):
        files = [Path(file) for file, _ in torchvision.ImageFolder(root / part).samples]
        assert split.ids.tolist() == list(range(len(files)))
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        for file, image, label in zip(files, split.images, split.labels, strict=True):
            expected = np.asarray(Image.open(file)).reshape(5, 4, -1)
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)
            assert found.classes[label] == file.parent.name


def test_bits_and_16_bits_are_grey_and_one_in_colour_makes_all_coloured(pets: Path) -> None:
    folder = pets / "train" / "cat"
    deep = np.array([[0, 255, 256, 65535]] * 5, dtype=np.uint16)
    Image.fromarray(deep).save(folder / "0.png")
    # PIL opens it with 32 bits a pixel, but not every version of it writes such a file.
    (folder / "1.pgm").write_bytes(b"P5 4 5 65535\n" + deep.astype(">u2").tobytes())
    (folder / "1.png").unlink()
    Image.fromarray(some(5, 4, below=2) * 255).convert("1").save(folder / "2.png")
    found = datasets.load(f"folder:{pets}")
    assert found.image_shape == (1, 5, 4)
    for image in found.train.images[:2]:
        assert image[0].tolist() == [[0, 0, 1, 255]] * 5
    np.testing.assert_array_equal(found.train.images[2, 0], some(5, 4, below=2) * 255)
    write_image(pets / "test" / "dog" / "1.png", some(5, 4, 3))
    coloured = datasets.load(f"folder:{pets}")
    assert torch.equal(coloured.train.images, found.train.images.expand(-1, 3, -1, -1))
    np.testing.assert_array_equal(coloured.test.images[3].permute(1, 2, 0), some(5, 4, 3))


def test_what_is_no_image_is_not_read(pets: Path) -> None:
    before, cat = datasets.load(f"folder:{pets}"), pets / "train" / "cat"
    for hidden in (cat.parent / ".checkpoints" / "0.png", cat / ".0.png"):
        write_image(hidden, some(5, 4))
    (cat / "Thumbs.db").write_bytes(b"x")
    after = datasets.load(f"folder:{pets}")
    assert after.train.paths == before.train.paths
    assert (after.fingerprint, after.classes) == (before.fingerprint, ("cat", "dog"))


def test_files_lie_in_the_order_of_imagefolder_and_classes_may_be_links(pets: Path) -> None:
    torchvision: Any = importlib.import_module("torchvision.datasets")
    cat, more = pets / "train" / "cat", pets.parent / "more"
    for number, file in enumerate(("a/0.png", "a/0/1.png", "a-b/2.png")):
        write_image(cat / file, some(5, 4, seed=20 + number))
    more.mkdir()
    (cat / "0.JPG").symlink_to((cat / "0.png").rename(more / "0.png"))
    (pets / "test" / "dog").symlink_to((pets / "test" / "dog").rename(more / "dog"))
    expected = [Path(file) for file, _ in torchvision.ImageFolder(pets / "train").samples]
    found = datasets.load(f"folder:{pets}")
    assert found.train.paths == tuple(file.relative_to(pets).as_posix() for file in expected)
    assert (len(found.train), len(found.test)) == (9, 4)


def test_images_of_two_sizes_need_a_size(pets: Path) -> None:
    odd = pets / "test" / "dog" / "1.png"
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (16, 8))
    write_image(odd, stripes)
    message = refusal(f"folder:{pets}", Source())
    first = pets / "train" / "cat" / "0.png"
    assert f"{first} (5, 4), {odd} (16, 16); " in message
    assert "--image-size N" in message
    found = datasets.load(f"folder:{pets}", Source(image_size=4))
    assert found.image_shape == (1, 4, 4)
    inner = found.test.images[3, 0, :, 1:-1].float()
    assert (inner - 127.5).abs().max() < 20  # antialiased: stripes become grey


def test_folders_with_something_missing_are_refused(pets: Path) -> None:
    name, test = f"folder:{pets}", pets / "test"

    def broken(said: str) -> None:
        assert said in refusal(name, Source())

    (test / "dog").rename(test / "wolf")
    broken(f"data set '{name}' cannot be read: 'dog' is only in train")
    for file in (test / "wolf").iterdir():
        file.unlink()
    broken(f"{test} must have a folder for each class with images in it, and 2 classes at least: ")
    broken("there are none of wolf")
    shutil.rmtree(test / "wolf")
    broken("2 classes at least: it has 1")
    shutil.rmtree(test)
    broken(f"No such file or directory: '{test}'")


def test_positions_of_ids(digits: Dataset) -> None:
    ids = digits.train.ids[[7, 3, 999]].tolist()
    assert digits.train.positions(ids).tolist() == [7, 3, 999]
    for sample in (-1, 99999, int(digits.test.ids[0])):
        with pytest.raises(UserError, match=f"sample id {sample} is not a training sample"):
            digits.train.positions([sample])
    with pytest.raises(UserError, match="more than once"):
        digits.train.positions([ids[0], ids[0]])


def test_unreadable_images_are_named(pets: Path) -> None:
    file = pets / "train" / "dog" / "2.png"
    file.write_bytes(file.read_bytes()[:-30])
    assert f"image {file} cannot be read: " in refusal(f"folder:{pets}", Source())
    Image.fromarray(np.full((5, 4), 200, dtype=np.float32)).save(file, "TIFF")
    assert f"image {file} cannot be read: " in refusal(f"folder:{pets}", Source())


# Data sets from numpy's .npz


LABELS = np.array([3, 7, 3, -1, 7, -1], dtype=np.int16)
GREY, COLOUR = some(6, 5, 4), some(6, 5, 4, 3)
TEST = {"test_images": some(3, 5, 4, seed=1), "test_labels": np.array([7, 7, -1])}


def saved(folder: Path, **arrays: Any) -> str:
    np.savez_compressed(folder / "pets.npz", **arrays)
    return f"npz:{folder / 'pets.npz'}"


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (GREY / 255, GREY[:, None]),
        (np.eye(4)[None].repeat(6, 0), 255 * np.eye(4)[None, None].repeat(6, 0)),
    ],
)
def test_layouts_of_images(images: Any, expected: Any, tmp_path: Path) -> None:
    test = {"test_images": images[:3], "test_labels": TEST["test_labels"]}
    found = datasets.load(saved(tmp_path, images=images, labels=LABELS, **test))
    assert (found.name, found.white, found.classes) == ("npz-pets", 255, ("-1", "3", "7"))
    assert (found.train.images.dtype, found.train.labels.dtype) == (torch.uint8, torch.int64)
    np.testing.assert_array_equal(found.train.images.numpy(), expected)
    np.testing.assert_array_equal(found.test.images.numpy(), expected[:3])
    assert found.train.labels.tolist() == [1, 2, 1, 0, 2, 0]
    assert found.test.labels.tolist() == [2, 2, 0]
    assert found.train.ids.tolist() == list(range(6))


def test_a_fifth_is_held_out_where_no_test_set_is_given(tmp_path: Path) -> None:
    images, labels = some(50, 5, 4), some(50, below=3)
    name = saved(tmp_path, images=images, labels=labels)
    found = datasets.load(name)
    assert (len(found.train), len(found.test)) == (40, 10)
    assert sorted([*found.train.ids.tolist(), *found.test.ids.tolist()]) == list(range(50))
    for split in (found.train, found.test):
        np.testing.assert_array_equal(split.images[:, 0].numpy(), images[split.ids])
        np.testing.assert_array_equal(split.labels.numpy(), labels[split.ids])
    other = datasets.load(saved(tmp_path, images=images[::-1], labels=labels))
    assert other.fingerprint != found.fingerprint


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "it holds nothing: it takes the arrays images and labels"),
    "half": ({"images": GREY, "labels": LABELS, "test_images": GREY}, "may have test_images and"),
    "bits": ({"images": GREY % 2, "labels": LABELS}, "are uint8 from 0 to 1: it takes uint8 from"),
    "objects": ({"images": GREY, "labels": LABELS.astype(object)}, "Object arrays cannot be"),
    "fewer": ({"images": GREY, "labels": LABELS[:5]}, "there are 5 labels for 6 images"),
    "unknown": (
        {"images": GREY, "labels": LABELS, **TEST, "test_labels": np.array([7, 9, 3])},
        "the label 9 is in the test samples only",
    ),
    "twice": (
        {"images": GREY, "labels": LABELS, "classes": np.array(["a", "a"])},
        "gives two of its classes one name: a, a",
    ),
}


@pytest.mark.parametrize(("arrays", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_data_set_is_refused(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    name = saved(tmp_path, **arrays)
    assert f"data set '{name}' can" in refusal(name)
    assert said in refusal(name)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    name, path = saved(tmp_path, images=GREY, labels=LABELS), tmp_path / "pets.npz"
    path.write_bytes(path.read_bytes()[:-40])
    assert f"data set '{name}' cannot be read: " in refusal(name)
    path.unlink()
    assert f"data set '{name}' cannot be read: [Errno" in refusal(name)
