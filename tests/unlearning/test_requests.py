"""Samples, and other things, by what their owners call them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import torch

from unlearning import datasets
from unlearning.dataset import Dataset, Split
from unlearning.errors import UserError
from unlearning.naming import find, shortest
from unlearning.requests import read_requests, remarks, replicas, requested

PATHS = (
    "train/cat/1.png",
    "train/cat/2.png",
    "train/cat/sub/3.png",
    "train/dog/1.png",
    "train/dog/a b#c.png",
    "train/dog/caf\N{LATIN SMALL LETTER E WITH ACUTE}.png",
    "train/dog/train/cat/9.png",
)


def data(paths: tuple[str, ...] | None) -> Dataset:
    """A data set with ids 10, 11, ... whose samples have these files."""
    count = 7 if paths is None else len(paths)
    images, labels = torch.zeros((count, 1, 2, 2), dtype=torch.uint8), torch.zeros(count).long()
    split = Split(images, labels, torch.arange(10, 10 + count), paths)
    return Dataset("folder-x", split, split, ("cat", "dog"), white=255)


@pytest.mark.parametrize(
    ("request_", "ids"),
    [
        ("train/cat/1.png", [10]),
        ("cat/1.png", [10]),
        ("2.png", [11]),
        ("sub/3.png", [12]),
        (r"C:\pictures\train\dog\1.png", [13]),
        ("/train/animals/train/cat/2.png", [11]),
        ("a b#c.png", [14]),
        (unicodedata.normalize("NFD", "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png"), [15]),
        ("9.png", [16]),
        ("2.png \t    # of Bob # Baker", [11]),
        ("10", [10]),
        ("10, 12 11", [10, 12, 11]),
    ],
)
def test_what_is_meant(request_: str, ids: list[int]) -> None:
    assert requested(data(PATHS), [request_], "r.txt") == ids


def test_a_name_of_several_samples_is_refused() -> None:
    with pytest.raises(UserError) as refusal:
        requested(data(PATHS), ["2.png", "1.png"], "r.txt")
    assert str(refusal.value) == (
        "'1.png' in r.txt ends the paths of 2 samples, such as train/cat/1.png and "
        "train/dog/1.png: give more of its path"
    )


def test_all_that_is_not_found_is_named() -> None:
    asked = ["2.png", "22.png", "cat/7.gif", "-1", "17", "10 99", "x", "y"]
    with pytest.raises(UserError) as refusal:
        requested(data(PATHS), asked, "r.txt")
    assert str(refusal.value) == (
        "r.txt: 7 of 8 requests name no training sample: '22.png' (did you mean '2.png'?), "
        "'cat/7.gif', '-1', '17', '10 99' and 2 more; it takes paths, file names or ids, of which "
        "there are 7 from 10 to 16, one a line"
    )


def test_samples_without_files_have_ids_only() -> None:
    assert requested(data(None), ["12", "10"], "r.txt") == [12, 10]
    with pytest.raises(UserError, match="; it takes ids, of which"):
        requested(data(None), ["cat/1.png"], "r.txt")
    digits = datasets.load("digits")
    with pytest.raises(UserError, match=r"name no training sample: '0' \(a test sample\), '9999';"):
        requested(digits, ["0", "9999"], "r.txt")


def test_a_file_of_requests(tmp_path: Path) -> None:
    """As Windows writes it, with its mark at the beginning, comments and empty lines."""
    path = tmp_path / "requests.txt"
    path.write_bytes(b"\xef\xbb\xbf# twenty requests\r\ncat/1.png\r\n\r\n  42 \r\n#x\r\na b#c.png")
    assert read_requests(path) == ["cat/1.png", "42", "a b#c.png"]

    for content, said in ((b"# no\n\n", "asks for"), (b"\xff\xfe1", "UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=said):
            read_requests(path)


def test_copies_that_are_not_asked_for_are_told() -> None:
    images = torch.tensor([[1, 2], [2, 1], [1, 2], [5, 5], [5, 5], [1, 2]], dtype=torch.uint8)
    split = Split(images[:, None, None], torch.zeros(6).long(), torch.arange(10, 16), PATHS[:6])
    dataset = Dataset("folder-x", split, split, ("cat", "dog"), white=255)
    assert replicas(split, [10, 11, 13, 14]) == {10: [12, 15]}
    assert list(remarks(dataset, ["10", "11", "10", "13,14"], [10, 11, 13, 14])) == [
        "1 sample of 4 has copies in the training set that are not asked for, and are learned "
        "still: train/cat/1.png is also train/cat/sub/3.png"
    ]
    assert list(remarks(dataset, ["11", "11"], [11])) == ["2 requests for 1 sample"]


THINGS = [("abc123", "new"), ("abd456", "old"), ("new999", "old")]


def found(reference: str) -> str:
    return find(reference, THINGS, "sweep", "look")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("latest", "abc123"),
        ("abd456", "abd456"),
        ("abc", "abc123"),
        ("new", "abc123"),  # a name goes before the beginning of an id
        ("new9", "new999"),
    ],
)
def test_things_are_found(reference: str, expected: str) -> None:
    assert found(reference) == expected


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("ab", r"any of 2 sweeps, abc123 \(new\), abd456 \(old\): give more"),
        ("", "there is no sweep '': look"),
        ("odl", r"no sweep 'odl' \(did you mean 'old'\?\): look"),
    ],
)
def test_what_is_none_or_several_is_said(reference: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        found(reference)


def test_ids_are_as_short_as_tells_them_apart() -> None:
    assert shortest({"abc1", "abc2", "x"}, least=1) == {"abc1": "abc1", "abc2": "abc2", "x": "x"}
    assert shortest({"abcd", "axyz"}, least=1) == {"abcd": "ab", "axyz": "ax"}
    assert shortest({"a" * 32}) == {"a" * 32: "a" * 8}
