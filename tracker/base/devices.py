"""Where is computed: the devices that a user names."""

from __future__ import annotations

import re

import torch

from unlearning.errors import UserError

GPU = "cuda:(0|[1-9][0-9]?)"
ONE, SEVERAL = f"cpu|mps|cuda|{GPU}", f"{GPU}(,{GPU})+"


def pick_devices(name: str) -> tuple[torch.device, ...]:
    """The devices of that name; of several GPUs each gets a part of the work.

    `auto` is an NVIDIA GPU where there is one, or else the CPU: whoever wants Apple's GPU says so.

    Raises UserError for a device that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    whole = ",".join(f"cuda:{index}" for index in range(count)) or "cuda:0"
    names = {"auto": "cuda" if count else "cpu", "cuda:all": whole}.get(name, name)
    found = tuple(dict.fromkeys(names.split(",")))
    if not re.fullmatch(f"{ONE}|{SEVERAL}", names):
        raise UserError(
            f"device is {name!r}: choose auto, cpu, cuda, cuda:1, cuda:0,cuda:1, cuda:all or mps"
        )
    devices = tuple(map(torch.device, found))
    for device in devices:
        if device.type == "cuda" and (device.index or 0) >= count:
            there = f"{count}, from cuda:0 on" if count else "none: use --device cpu"
            raise UserError(f"device '{device}' is asked for, but torch sees {there}")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise UserError("device 'mps' is asked for, but torch sees none: use --device cpu")
    return devices


def pick_device(name: str) -> torch.device:
    """The device of that name, or the first of several. Raises UserError."""
    return pick_devices(name)[0]


def only_device(name: str) -> torch.device:
    """The device of that name, for what computes with one. Raises UserError for several."""
    device, *further = pick_devices(name)
    if further:
        raise UserError(f"device is {name!r}: this computes on a single one, name that")
    return device


def further_devices(name: str, on_ray: bool) -> tuple[torch.device, ...]:
    """All devices of that name but the first, which base models are on.

    Raises UserError for one that a slot of a Ray cluster does not have.
    """
    first, *further = pick_devices(name)
    if on_ray and (further or first.index):
        raise UserError(
            f"device is {name!r}: on a Ray cluster each slot has a GPU of its own, give 'cuda'"
        )
    return tuple(further)
