"""Data sets from numpy's .npz."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tracker.cli import run
from unlearning import datasets
from unlearning.datasets import Source
from unlearning.errors import UserError


def some(*shape: int, below: int = 256, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, below, shape, dtype=np.uint8)


LABELS = np.array([3, 7, 3, -1, 7, -1], dtype=np.int16)
GREY, COLOUR = some(6, 5, 4), some(6, 5, 4, 3)
TEST = {"test_images": some(3, 5, 4, seed=1), "test_labels": np.array([7, 7, -1])}


def saved(folder: Path, **arrays: Any) -> str:
    np.savez_compressed(folder / "pets.npz", **arrays)
    return f"npz:{folder / 'pets.npz'}"


def refusal(name: str, source: Source = datasets.AS_IT_IS) -> str:
    with pytest.raises(UserError) as error:
        datasets.load(name, source)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        ((GREY / 255).astype(np.float32), GREY[:, None]),
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
    assert found.test.ids.tolist() != list(range(10))
    for split in (found.train, found.test):
        np.testing.assert_array_equal(split.images[:, 0].numpy(), images[split.ids])
        np.testing.assert_array_equal(split.labels.numpy(), labels[split.ids])
    assert datasets.load(name).fingerprint == found.fingerprint


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    before = datasets.load(saved(tmp_path, images=GREY, labels=LABELS, **TEST))
    (tmp_path / "pets.npz").rename(tmp_path / "other pets.npz")
    after = datasets.load(f"npz:{tmp_path / 'other pets.npz'}")
    assert (after.name, after.fingerprint) == ("npz-other-pets", before.fingerprint)
    other = datasets.load(saved(tmp_path, images=GREY[::-1], labels=LABELS, **TEST))
    assert other.fingerprint != before.fingerprint


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "it holds nothing: it takes the arrays images and labels"),
    "half": ({"images": GREY, "labels": LABELS, "test_images": GREY}, "may have test_images and"),
    "flat": ({"images": GREY[:, 0], "labels": LABELS}, "have the shape (6, 4): it takes (N, C"),
    "four": ({"images": some(6, 5, 4, 4), "labels": LABELS}, "with C of 1 or 3"),
    "bits": ({"images": GREY % 2, "labels": LABELS}, "are uint8 from 0 to 1: it takes uint8 from"),
    "text": ({"images": GREY.astype("U"), "labels": LABELS}, "can't convert np.ndarray of type"),
    "objects": ({"images": GREY, "labels": LABELS.astype(object)}, "Object arrays cannot be"),
    "fewer": ({"images": GREY, "labels": LABELS[:5]}, "there are 5 labels for 6 images"),
    "one": ({"images": GREY, "labels": LABELS * 0}, "has too few classes: 1"),
    "none": ({"images": GREY[:4], "labels": LABELS[:4]}, "has a part without samples"),
    "unknown": (
        {"images": GREY, "labels": LABELS, **TEST, "test_labels": np.array([7, 9, 3])},
        "the label 9 is in the test samples only",
    ),
    "sizes": (
        {"images": COLOUR, "labels": LABELS, **TEST},
        "training and test images have the shapes [(3, 5, 4), (1, 5, 4)]",
    ),
    "names": (
        {"images": GREY, "labels": LABELS % 3, "classes": np.array(["a", "b"])},
        "its labels go from ",
    ),
    "twice": (
        {"images": GREY, "labels": LABELS, "classes": np.array(["a", "a"])},
        "gives two of its classes one name: a, a",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_data_set_is_refused(wrong: str, tmp_path: Path) -> None:
    arrays, said = WRONG[wrong]
    name = saved(tmp_path, **arrays)
    assert f"data set '{name}' can" in refusal(name)
    assert said in refusal(name)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    for name in ("npz:", f"npz:{tmp_path / 'x.npz'}", f"npz:{tmp_path}"):
        assert f"data set '{name}' cannot be read: [Errno" in refusal(name)
    name = saved(tmp_path, images=GREY, labels=LABELS)
    whole, path = (tmp_path / "pets.npz").read_bytes(), tmp_path / "pets.npz"
    for content in (b"", b"no zip", whole[:-40]):
        path.write_bytes(content)
        assert f"data set '{name}' cannot be read: " in refusal(name)


def test_numbers_called_classes_are_no_names(tmp_path: Path) -> None:
    arrays = {"images": some(12, 5, 4), "labels": np.repeat([3, 5], 6), "classes": np.array([3, 5])}
    assert datasets.load(saved(tmp_path, **arrays)).classes == ("3", "5")


def test_it_is_trained_on_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path, images=some(40, 8, 8), labels=some(40, below=3))
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--dataset", "npz:pets.npz", "--epochs", "1"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    sweep = ["sweep", "--algorithm", "ga", "--samples", "2"]
    assert run(["--store", str(tmp_path / "mlruns"), *sweep]) == 0
    capsys.readouterr()
    assert run(["train", "--dataset", f"npz:{tmp_path / 'mlruns'}"]) == 2
    assert "indelible: " in capsys.readouterr().err.splitlines()[-1]


def test_fewer_test_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = datasets.load("digits")
    found = datasets.load("digits", Source(test_samples=50))
    assert torch.equal(found.train.images, every.train.images)
    assert torch.equal(found.test.ids, every.test.draw(50).ids)
    assert found.fingerprint != every.fingerprint
    told = datasets.described("digits", Source(test_samples=50))
    assert datasets.load_described(told).fingerprint == found.fingerprint
    assert "test_samples" not in datasets.described("digits")
    assert "--test-samples 798 is too many" in refusal("digits", Source(test_samples=798))
    store, command = ["--store", str(tmp_path)], ["train", "--epochs", "1"]
    ids = []
    for options in ([], ["--test-samples", "50"], ["--test-samples", "50"]):
        assert run([*store, *command, *options]) == 0
        ids.append(capsys.readouterr().out)
    assert ids[0] != ids[1] == ids[2]
    assert run([*store, "models", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert run([*store, *command, "--test-samples", "1"]) == 2
    assert "--test-samples 1 is too few" in capsys.readouterr().err
