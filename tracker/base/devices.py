"""Where is computed: the device that a user names."""

from __future__ import annotations

import torch

from unlearning.errors import UserError


def pick_device(name: str, on_ray: bool = False) -> torch.device:
    """The device of that name.

    `auto` is an NVIDIA GPU where there is one, or else the CPU: whoever wants Apple's GPU says so.

    Raises UserError for one that is not there, or that a slot of a Ray cluster does not have.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counts = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": there}
    try:
        device = torch.device(("cuda" if there else "cpu") if name == "auto" else name)
        count = counts[device.type]
    except (RuntimeError, KeyError) as error:
        raise UserError(f"device is {name!r}: choose auto, cpu, cuda, cuda:1 or mps") from error
    if (device.index or 0) >= count:
        seen = f"{count}, from {device.type}:0 on" if count else "none: use --device cpu"
        raise UserError(f"device '{device}' is asked for, but torch sees {seen}")
    if on_ray and device.index:
        raise UserError(
            f"device is {name!r}: on a Ray cluster each slot has a GPU of its own, give 'cuda'"
        )
    return device
