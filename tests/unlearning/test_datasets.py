from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from indelible.errors import UserError
from indelible.unlearning import datasets


def test_digits_are_scikit_learns(digits: datasets.Dataset) -> None:
    reference = load_digits()
    for split in (digits.train, digits.test):
        ids = split.ids.numpy()
        np.testing.assert_array_equal(split.images[:, 0].numpy(), reference.images[ids])
        np.testing.assert_array_equal(split.labels.numpy(), reference.target[ids])


def test_digits_split_is_whole_and_disjoint(digits: datasets.Dataset) -> None:
    assert (len(digits.train), len(digits.test)) == (1000, 797)
    both = torch.cat([digits.train.ids, digits.test.ids])
    assert both.sort().values.tolist() == list(range(1797))


def test_inputs_lie_between_zero_and_one(digits: datasets.Dataset) -> None:
    inputs = digits.inputs(digits.train)
    assert inputs.dtype == torch.float32
    assert (inputs.min().item(), inputs.max().item()) == (0, 1)


def test_fingerprint_sees_a_pixel_a_label_and_the_split(digits: datasets.Dataset) -> None:
    def changed(**parts: torch.Tensor) -> datasets.Dataset:
        return dataclasses.replace(digits, train=dataclasses.replace(digits.train, **parts))

    images, labels = digits.train.images.clone(), digits.train.labels.clone()
    images[5, 0, 3, 3] ^= 1
    labels[5] = (labels[5] + 1) % 10
    others = [changed(images=images), changed(labels=labels), changed(ids=digits.train.ids + 1)]
    found = {digits.fingerprint, *(other.fingerprint for other in others)}
    assert len(found) == 4
    assert digits.fingerprint == datasets.load("digits").fingerprint


def test_positions_find_ids(digits: datasets.Dataset) -> None:
    ids = digits.train.ids[[7, 3, 999]].tolist()
    assert digits.train.positions(ids).tolist() == [7, 3, 999]


def test_positions_refuse_what_is_no_training_sample(digits: datasets.Dataset) -> None:
    for sample in (-1, 99999, int(digits.test.ids[0])):
        with pytest.raises(UserError, match=f"sample id {sample} is not a training sample"):
            digits.train.positions([sample])


def test_positions_refuse_repeated_ids(digits: datasets.Dataset) -> None:
    sample = int(digits.train.ids[0])
    with pytest.raises(UserError, match="more than once"):
        digits.train.positions([sample, sample])


def test_unknown_data_set_is_refused() -> None:
    with pytest.raises(UserError, match="digits"):
        datasets.load("imagenet")
