"""Which samples each of K networks is trained on, and in what batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Subsets(Protocol):
    """The data that each of K networks is trained on."""

    @property
    def size(self) -> int:
        """The number of samples from which batches are drawn."""

    def __len__(self) -> int:
        """K."""

    def of(self, network: int) -> Subsets:
        """The subset of one of the networks."""

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """The samples of one batch for each network.

        Args:
            drawn: (B,), the batch as numbers below `size`.

        Returns: positions in the data, (K, B), and which of them count, (K, B) bool.
        """

    def may_be_empty(self, batch_size: int) -> bool:
        """Whether a network may have no sample in some batch."""


@dataclass(frozen=True)
class Parts:
    """K parts of the data, with batches drawn from each part.

    Attributes:
        positions: (K, S), the samples of each part.
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
        """The drawn samples of each part; all count."""
        at = self.positions[:, drawn]
        return at, torch.ones_like(at, dtype=torch.bool)

    def may_be_empty(self, batch_size: int) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class AllBut:
    """All of the data but one sample or several, in the same batches as with them.

    Attributes:
        left_out: (K,) or (K, M), the positions of the samples that each network does not see.
        size: the number of samples in the data.
    """

    left_out: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.left_out)

    def of(self, network: int) -> AllBut:
        """All but the samples that this network does not see."""
        return AllBut(self.left_out[network : network + 1], self.size)

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """The batch as drawn; the samples that are left out do not count."""
        out = self.left_out.reshape(len(self), -1)
        counted = (drawn[:, None] != out[:, None]).all(dim=2)
        return drawn.expand(len(self), -1), counted

    def may_be_empty(self, batch_size: int) -> bool:
        """Yes where a batch has no more samples than are left out."""
        return min(batch_size, self.size % batch_size or batch_size) <= self.left_out[0].numel()
