"""Where is computed: the device that a user names."""

from __future__ import annotations

import re

import torch

from unlearning.errors import UserError

NAMES = "cpu|mps|cuda|cuda:(0|[1-9][0-9]?)"


def pick_device(name: str, on_ray: bool = False) -> torch.device:
    """The device of that name.

    `auto` is an NVIDIA GPU where there is one, or else the CPU: whoever wants Apple's GPU says so.

    Raises UserError for one that is not there, or that a slot of a Ray cluster does not have.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = {"auto": "cuda" if count else "cpu"}.get(name, name)
    if not re.fullmatch(NAMES, known):
        raise UserError(f"device is {name!r}: choose auto, cpu, cuda, cuda:1 or mps")
    device = torch.device(known)
    if device.type == "cuda" and (device.index or 0) >= count:
        there = f"{count}, from cuda:0 on" if count else "none: use --device cpu"
        raise UserError(f"device '{device}' is asked for, but torch sees {there}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device 'mps' is asked for, but torch sees none: use --device cpu")
    if on_ray and device.index:
        raise UserError(
            f"device is {name!r}: on a Ray cluster each slot has a GPU of its own, give 'cuda'"
        )
    return device
