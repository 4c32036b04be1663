"""What is sent to another process arrives as it was: values, strides, and what shares memory."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from tests.factors.small_bases import Tied, normalised, random_base
from tracker.base.actors import Home
from tracker.base.parcels import packed, unpacked
from unlearning.base_model import BaseModel
from unlearning.errors import UserError


def sent(base: BaseModel) -> BaseModel:
    parcel = packed(base, pickle.Pickler, {}, base.state.values())
    arrived = unpacked(parcel, {})
    assert isinstance(arrived, BaseModel)
    return arrived


def test_a_base_model_arrives_bit_by_bit() -> None:
    base = random_base(normalised())
    arrived = sent(base)
    assert arrived.weights_sha256 == base.weights_sha256
    assert arrived.dataset.fingerprint == base.dataset.fingerprint
    for name in ("train_inputs", "test_inputs", "train_logits", "test_features", "held_out_prob"):
        before, after = getattr(base, name), getattr(arrived, name)
        assert torch.equal(before, after)
        assert before.stride() == after.stride()
    for name, p in arrived.network.named_parameters():
        assert p.data_ptr() == arrived.params[name].data_ptr(), "a parameter and its view"
        assert p.requires_grad
        assert p.stride() == base.params[name].stride()
    assert torch.equal(arrived.model(base.test_inputs), base.model(base.test_inputs))


def test_tied_weights_stay_tied() -> None:
    arrived = sent(random_base(Tied()))
    first, second = arrived.network.get_submodule("first"), arrived.network.get_submodule("second")
    assert first.weight is second.weight


def test_what_may_be_written_is_a_copy_and_nothing_else_is() -> None:
    base = random_base(normalised())
    before = base.weights_sha256
    parcel = packed(base, pickle.Pickler, {}, base.state.values())
    for array in parcel.arrays:
        array.flags.writeable = False  # as they arrive from a cluster
    arrived = unpacked(parcel, {})
    with torch.no_grad():
        next(iter(arrived.params.values())).add_(1)
    assert unpacked(parcel, {}).weights_sha256 == before == base.weights_sha256
    pixels = arrived.train_inputs.untyped_storage().data_ptr()
    assert pixels in {array.__array_interface__["data"][0] for array in parcel.arrays}


def test_what_the_receiver_has_already_is_not_sent() -> None:
    base = random_base(normalised())
    parcel = packed({"it": base, "seen": base.some(5)}, pickle.Pickler, {id(base): "base"})
    assert sum(array.nbytes for array in parcel.arrays) == 5 * 8
    arrived = unpacked(parcel, {"base": base})
    assert arrived["it"] is base
    assert torch.equal(arrived["seen"], base.some(5))


def test_a_tensor_without_entries_and_one_that_needs_a_gradient() -> None:
    some = [torch.empty(0, 3), torch.empty(0), torch.ones(2, requires_grad=True)]
    arrived = unpacked(packed(some, pickle.Pickler, {}), {})
    assert [tuple(tensor.shape) for tensor in arrived] == [(0, 3), (0,), (2,)]
    assert arrived[2].requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bool, torch.int64])
def test_every_type_of_numbers(dtype: torch.dtype) -> None:
    tensor = torch.arange(12).reshape(3, 4).to(dtype)[1:, ::2]
    arrived = unpacked(packed(tensor, pickle.Pickler, {}), {})
    assert arrived.dtype == dtype
    assert torch.equal(arrived, tensor)


def test_a_process_with_other_code_is_refused() -> None:
    home = Home.here()
    home.settle()
    with pytest.raises(
        UserError, match=r"has Indelible 0\..*, and this process has other: install"
    ):
        replace(home, code="other").settle()
    brought = {**home.providers, "algorithm": {"halt": "extension 1.0"}}
    said = r"the algorithm 'halt' is extension 1\.0 in this process, and on .* it is not there"
    with pytest.raises(UserError, match=said):
        replace(home, providers=brought).settle()


def test_twins_share_what_is_remembered_and_who_arrives_does_not() -> None:
    base = random_base(normalised())
    twin = base.twin()
    assert base.once("it", lambda: [1]) is twin.once("it", lambda: [2])
    assert sent(base).once("it", lambda: [3]) == [3]
