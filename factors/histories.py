"""What stands for the histories of attempts where these are not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unlearning.errors import UserError


class NotKept(Tensor):
    """A history that is not there: whoever looks at it is told so by a UserError."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise UserError("it looks at histories, and these are not kept")


def not_kept() -> Tensor:
    """In place of the histories of some members."""
    return torch.empty(0).as_subclass(NotKept)
