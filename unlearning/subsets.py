"""Which samples each of K networks is trained on, and in what batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Subsets(Protocol):
    """What K networks see of the data."""

    @property
    def size(self) -> int:
        """Of how many samples a recipe's batches are drawn."""

    def __len__(self) -> int:
        """K."""

    def of(self, network: int) -> Subsets:
        """What one of the networks sees."""

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """What the networks see of a batch that was drawn, (B,) below `size`.

        Returns: positions in the data, (K, B), and which of them count, (K, B) bool.
        """

    def may_be_empty(self, batch_size: int) -> bool:
        """Whether some network may see nothing of some batch."""


@dataclass(frozen=True)
class Parts:
    """Parts of the data with batches of their own.

    Attributes:
        positions: (K, S), in the order of which batches are drawn.
    """

    positions: Tensor

    @property
    def size(self) -> int:
        """S."""
        return self.positions.shape[1]

    def __len__(self) -> int:
        return len(self.positions)

    def of(self, network: int) -> Parts:
        """One part."""
        return Parts(self.positions[network : network + 1])

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """All of it, from each part."""
        at = self.positions[:, drawn]
        return at, torch.ones_like(at, dtype=torch.bool)

    def may_be_empty(self, batch_size: int) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class AllBut:
    """All of the data, in the very batches of a network that sees it all, with one sample skipped.

    Attributes:
        left_out: (K,), the position that each network does not see. size: of the data.
    """

    left_out: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.left_out)

    def of(self, network: int) -> AllBut:
        """All but one sample."""
        return AllBut(self.left_out[network : network + 1], self.size)

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """The batch itself, without the sample where it is in it."""
        return drawn.expand(len(self), -1), drawn != self.left_out[:, None]

    def may_be_empty(self, batch_size: int) -> bool:
        """Where a batch has one sample only."""
        return batch_size == 1 or self.size % batch_size == 1
