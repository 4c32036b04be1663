from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib
import os
import pickle
import shutil
import struct
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from tests.fashion_mnist import unpack_fashion_mnist
from unlearning import datasets
from unlearning.dataset import Dataset
from unlearning.datasets import Source
from unlearning.errors import UserError
from unlearning.requests import requested

Bytes = NDArray[np.uint8]
PICTURES = ("cifar10", "fashion-mnist", "mnist", "svhn")
IDX = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
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


def hold(monkeypatch: pytest.MonkeyPatch, name: str, training: int) -> None:
    """Let the training split of a data set have so many samples."""
    module = f"unlearning.datasets.{name.replace('-', '_')}.DATASET"
    fewer = dataclasses.replace(datasets.REGISTRY.get(name), training=training)  # type: ignore[type-var]
    monkeypatch.setattr(module, fewer)


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision.datasets, and training splits that the fake files below can fill."""
    for name in PICTURES:
        hold(monkeypatch, name, TRAINED)
    return importlib.import_module("torchvision.datasets")


def some(*shape: int, below: int = 256, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, below, shape, dtype=np.uint8)


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def write_idx(folder: Path) -> dict[str, tuple[Bytes, Bytes]]:
    """MNIST's four files with images of 6x5 pixels; images and labels by part."""
    folder.mkdir(parents=True)
    parts = {}
    for seed, (part, count) in enumerate({"train": HELD, "t10k": TESTED}.items()):
        images, labels = some(count, 6, 5, seed=seed), some(count, below=10, seed=seed)
        parts[part] = images, labels
        for file, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{file}-ubyte").write_bytes(header + array.tobytes())
    return parts


def write_cifar10(
    root: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Bytes, list[int]]]:
    """CIFAR-10's pickles, and their checksums in the place of the real ones; all batches."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    kind, batches = torchvision.CIFAR10, []
    names = [name for name, _ in (*kind.train_list, *kind.test_list)]
    for seed, name in enumerate(names):
        count = TESTED if name == "test_batch" else HELD // 5
        data, labels = some(count, 3072, seed=seed), some(count, below=3, seed=seed).tolist()
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels}))
        batches.append((data, labels))
    meta = folder / "batches.meta"
    meta.write_bytes(pickle.dumps({"label_names": ["airplane", "automobile", "bird"]}))
    sums = [[name, md5(folder / name)] for name in names]
    monkeypatch.setattr(kind, "train_list", sums[:5])
    monkeypatch.setattr(kind, "test_list", sums[5:])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(meta)})
    return batches


def write_svhn(root: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Bytes]:
    """SVHN's two files, and their checksums in the place of the real ones; images by part."""
    parts, entries = {}, {}
    for seed, (part, count) in enumerate({"train": HELD, "test": TESTED}.items()):
        parts[part] = some(count, 3, 32, 32, seed=seed)
        labels = np.arange(count, dtype=np.uint8)[:, None] % 10 + 1  # a zero is labelled 10
        file = root / f"{part}_32x32.mat"
        scipy.io.savemat(file, {"X": parts[part].transpose(2, 3, 1, 0), "y": labels})
        entries[part] = ["", file.name, md5(file)]
    monkeypatch.setattr(torchvision.SVHN, "split_list", entries)
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
def pets(tmp_path: Path, torchvision: Any) -> Path:
    return write_folder(tmp_path / "pets")


def refusal(name: str, source: Source) -> str:
    with pytest.raises(UserError) as error:
        datasets.load(name, source)
    return str(error.value)


@pytest.mark.parametrize("name", list(IDX))
def test_idx_files(name: str, tmp_path: Path, torchvision: Any) -> None:
    parts = write_idx(tmp_path / IDX[name])
    found = datasets.load(name, Source(tmp_path))
    assert (found.name, found.white, found.image_shape) == (name, 255, (1, 6, 5))
    assert (
        found.classes[:2]
        == {
            "mnist": ("0 - zero", "1 - one"),
            "fashion-mnist": ("T-shirt/top", "Trouser"),
        }[name]
    )
    assert (len(found.train), len(found.test)) == (TRAINED, TESTED)
    assert found.test.ids.tolist() == list(range(TESTED))
    for split, (images, labels) in zip((found.train, found.test), parts.values(), strict=True):
        ids = split.ids.numpy()
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        np.testing.assert_array_equal(split.images[:, 0].numpy(), images[ids])
        np.testing.assert_array_equal(split.labels.numpy(), labels[ids])


def test_cifar10(tmp_path: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = write_cifar10(tmp_path, torchvision, monkeypatch)
    found = datasets.load("cifar10", Source(tmp_path))
    assert (found.image_shape, found.white) == ((3, 32, 32), 255)
    assert found.classes == ("airplane", "automobile", "bird")
    images = np.concatenate([data for data, _ in batches[:5]]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([labels for _, labels in batches[:5]])
    np.testing.assert_array_equal(found.train.images.numpy(), images[found.train.ids.numpy()])
    np.testing.assert_array_equal(found.train.labels.numpy(), labels[found.train.ids.numpy()])
    np.testing.assert_array_equal(found.test.images.flatten(1).numpy(), batches[5][0])
    assert found.test.labels.tolist() == batches[5][1]


def test_svhn(tmp_path: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = write_svhn(tmp_path, torchvision, monkeypatch)
    found = datasets.load("svhn", Source(tmp_path))
    assert (len(found.train), len(found.test), found.white) == (TRAINED, TESTED, 255)
    assert found.classes == tuple("0123456789")
    np.testing.assert_array_equal(found.test.images.numpy(), parts["test"])
    for split, part in ((found.train, "train"), (found.test, "test")):
        np.testing.assert_array_equal(split.images.numpy(), parts[part][split.ids.numpy()])
        assert torch.equal(split.labels, (split.ids % 10 + 1) % 10)


def test_the_real_fashion_mnist(tmp_path: Path) -> None:
    where = unpack_fashion_mnist(tmp_path)
    found = datasets.load("fashion-mnist", Source(where))
    assert found.train.images.shape == (54_000, 1, 28, 28)
    assert found.test.images.shape == (10_000, 1, 28, 28)
    assert found.test.labels.bincount().tolist() == [1000] * 10
    left = 6000 - found.train.labels.bincount()
    assert left.sum() == 6000
    assert all(500 < count < 700 for count in left.tolist())  # a random tenth of each class
    raw = where / "FashionMNIST" / "raw"
    for split, part in ((found.train, "train"), (found.test, "t10k")):
        ids = split.ids.numpy()
        images = np.fromfile(raw / f"{part}-images-idx3-ubyte", np.uint8, offset=16)
        labels = np.fromfile(raw / f"{part}-labels-idx1-ubyte", np.uint8, offset=8)
        rows = images.reshape(-1, 784)[ids]
        np.testing.assert_array_equal(split.images.flatten(1).numpy(), rows)
        np.testing.assert_array_equal(split.labels.numpy(), labels[ids])
    few = datasets.load("fashion-mnist", Source(where, train_samples=1000))
    assert torch.equal(
        few.train.images, found.train.images[found.train.positions(few.train.ids.tolist())]
    )
    assert few.fingerprint != found.fingerprint


@pytest.mark.skipif(sys.platform != "linux", reason="file names are texts there")
def test_names_that_are_no_utf8_can_be_written(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "pets") / "train"
    image = min(train.rglob("*.png"))
    odd = image.rename(image.parent / os.fsdecode(b"\xff\xfe.png"))
    for part in ("train", "test"):
        old = tmp_path / "pets" / part / image.parent.name
        old.rename(old.parent / os.fsdecode(b"z\xe9"))
    found = datasets.load(f"folder:{tmp_path / 'pets'}")
    assert found.classes[-1] == r"z\udce9"
    path = r"train/z\udce9/\udcff\udcfe.png"
    for asked in (path, r"\udcff\udcfe.png", odd.name):
        assert found.train.path_of(*requested(found, [asked], "r.txt")) == path


@pytest.mark.parametrize("name", ["digits", "mnist", "folder"])
def test_fewer_training_samples_are_among_the_more(
    name: str, tmp_path: Path, torchvision: Any
) -> None:
    write_idx(tmp_path / IDX["mnist"])
    if name == "folder":
        name = f"folder:{write_folder(tmp_path / 'pets')}"
    every = datasets.load(name, Source(tmp_path))
    larger = every.train
    for count in (6, 4, 2):
        found = datasets.load(name, Source(tmp_path, train_samples=count))
        ids = found.train.ids.tolist()
        assert len(ids) == count
        assert ids == sorted({*ids} & {*larger.ids.tolist()})
        rows = every.train.positions(ids)
        assert torch.equal(found.train.images, every.train.images[rows])
        assert torch.equal(found.train.labels, every.train.labels[rows])
        assert torch.equal(found.test.images, every.test.images)
        larger = found.train
    again = datasets.load(name, Source(tmp_path, train_samples=2))
    assert again.fingerprint == found.fingerprint != every.fingerprint


def test_numbers_of_samples_are_held_to_what_there_is() -> None:
    message = refusal("digits", Source(train_samples=1001))
    assert message == "--train-samples 1001 is too many: digits has 1000 train samples"
    for wrong in ({"train_samples": 1}, {"test_samples": -3}, {"image_size": 0}):
        with pytest.raises(UserError, match="is too few"):
            Source(**wrong)  # type: ignore[arg-type]


def test_names_and_what_an_unknown_one_is_told() -> None:
    assert {*PICTURES, "digits"} <= {*datasets.names()}
    for name in ("imagenet", "MNIST"):
        message = refusal(name, Source())
        assert f"unknown data set '{name}'" in message
        assert "fashion-mnist" in message
        assert "folder:PATH" in message


@pytest.mark.parametrize("name", PICTURES)
def test_missing_files_are_told_and_not_downloaded(
    name: str, tmp_path: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("downloads"))
    where = tmp_path / "my data"
    message = refusal(name, Source(where))
    assert f"data set '{name}' cannot be read from {where}" in message
    assert f"'indelible --data-dir '{where}' train --dataset {name} --download'" in message
    assert not where.exists()


@pytest.mark.parametrize("name", PICTURES)
def test_a_download_without_a_network_is_one_line(
    name: str, tmp_path: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    message = refusal(name, Source(tmp_path / "new", download=True))
    assert "Name or service not known" in message or "Error downloading" in message
    assert "\n" not in message


@pytest.fixture
def mirror(tmp_path: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a fake MNIST's archives that MNIST is downloaded from."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    write_idx(tmp_path / "unpacked")
    folder = tmp_path / "mirror"
    folder.mkdir()
    resources = []
    for name, _ in torchvision.MNIST.resources:
        content = (tmp_path / "unpacked" / name).with_suffix("").read_bytes()
        (folder / name).write_bytes(gzip.compress(content))
        resources.append((name, md5(folder / name)))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torchvision.MNIST, "resources", resources)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(torchvision.MNIST, "mirrors", [address])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def test_a_download_is_there_afterwards(mirror: Path, tmp_path: Path) -> None:
    where = tmp_path / "data"
    found = datasets.load("mnist", Source(where, download=True))
    shutil.rmtree(mirror)  # and is not asked again
    again = datasets.load("mnist", Source(where, download=True))
    assert datasets.load("mnist", Source(where)).fingerprint == found.fingerprint
    assert again.fingerprint == found.fingerprint


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_folders(shape: tuple[int, ...], tmp_path: Path, torchvision: Any) -> None:
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


def test_one_image_in_colour_makes_all_of_them_colour(pets: Path) -> None:
    before = datasets.load(f"folder:{pets}")
    pixels = some(5, 4, 3)
    write_image(pets / "test" / "dog" / "1.png", pixels)
    after = datasets.load(f"folder:{pets}")
    assert after.image_shape == (3, 5, 4)
    assert torch.equal(after.train.images, before.train.images.expand(-1, 3, -1, -1))
    np.testing.assert_array_equal(after.test.images[3].permute(1, 2, 0).numpy(), pixels)


def test_bits_and_16_bits_are_grey_too(pets: Path) -> None:
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


EXTRA: dict[str, Callable[[Path], object]] = {  # in train/cat, which is given
    "a link above": lambda cat: (cat / "up").symlink_to(cat.parents[1]),
    "a link to nothing": lambda cat: (cat / "5.png").symlink_to(cat / "6.png"),
    "a pipe": lambda cat: os.mkfifo(cat / "x.png"),
    "a hidden class": lambda cat: write_image(cat.parent / ".checkpoints/0.png", some(5, 4)),
    "a hidden folder": lambda cat: write_image(cat / ".checkpoints" / "0.png", some(5, 4)),
    "a hidden file": lambda cat: write_image(cat / ".0.png", some(5, 4)),
    "no image": lambda cat: (cat / "Thumbs.db").write_bytes(b"x"),
}


@pytest.mark.parametrize("extra", EXTRA)
def test_what_is_no_image_is_not_read(extra: str, pets: Path) -> None:
    before = datasets.load(f"folder:{pets}")
    EXTRA[extra](pets / "train" / "cat")
    after = datasets.load(f"folder:{pets}")
    assert after.train.paths == before.train.paths
    assert (after.fingerprint, after.classes) == (before.fingerprint, ("cat", "dog"))


def test_files_lie_in_the_order_of_imagefolder_and_classes_may_be_links(
    pets: Path, torchvision: Any
) -> None:
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
    moved = pets.rename(pets.parent / "other pets")
    same = datasets.load(f"folder:{moved}", Source(image_size=4))
    assert (same.name, same.fingerprint) == ("folder-other-pets", found.fingerprint)


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


def test_damaged_files_are_refused_in_one_line(
    tmp_path: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / IDX["mnist"])
    write_cifar10(tmp_path, torchvision, monkeypatch)
    write_svhn(tmp_path, torchvision, monkeypatch)
    labels = f"{IDX['mnist']}/train-labels-idx1-ubyte"
    fewer = struct.pack(">BBBBI", 0, 0, 8, 1, HELD - 1) + bytes(HELD - 1)
    eleven = struct.pack(">BBBBI", 0, 0, 8, 1, HELD) + bytes([10] * HELD)
    for name, file, content in (
        ("mnist", labels, b"<html>404</html>"),
        ("mnist", labels, fewer),
        ("mnist", labels, eleven),
        ("cifar10", "cifar-10-batches-py/data_batch_3", b"x"),
        ("svhn", "test_32x32.mat", b"x"),
    ):
        (tmp_path / file).write_bytes(content)
        message = refusal(name, Source(tmp_path))
        assert f"data set '{name}' cannot be " in message
        assert "\n" not in message
    write_idx(tmp_path / "whole" / IDX["mnist"])
    hold(monkeypatch, "mnist", HELD + 1)
    assert f"of {HELD + 1} samples {HELD} are there" in refusal("mnist", Source(tmp_path / "whole"))


def test_positions_of_ids(digits: Dataset) -> None:
    ids = digits.train.ids[[7, 3, 999]].tolist()
    assert digits.train.positions(ids).tolist() == [7, 3, 999]
    for sample in (-1, 99999, int(digits.test.ids[0])):
        with pytest.raises(UserError, match=f"sample id {sample} is not a training sample"):
            digits.train.positions([sample])
    with pytest.raises(UserError, match="more than once"):
        digits.train.positions([ids[0], ids[0]])


@pytest.mark.parametrize("how", ["empty", "cut short", "float", "GIF"])
def test_unreadable_images_are_named(how: str, pets: Path) -> None:
    file = pets / "train" / "dog" / "2.png"
    if how == "float":
        Image.fromarray(np.full((5, 4), 200, dtype=np.float32)).save(file, "TIFF")
    elif how == "GIF":
        Image.fromarray(some(5, 4)).save(file, "GIF")
    else:
        file.write_bytes(b"" if how == "empty" else file.read_bytes()[:-30])
    assert f"image {file} cannot be read: " in refusal(f"folder:{pets}", Source())
