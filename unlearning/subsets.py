"""Which samples each of K networks is trained on, and in what batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """The data that each of K networks is trained on.

    Attributes:
        positions: (K, S), the samples of each, from which batches are drawn.
        left_out: (K, M), positions of samples that do not count in these batches; None for none.
    """

    positions: Tensor
    left_out: Tensor | None = None

    @property
    def size(self) -> int:
        """S, the number of samples from which batches are drawn."""
        return self.positions.shape[1]

    def __len__(self) -> int:
        return len(self.positions)

    def of(self, network: int) -> Parts:
        """The data of one of the networks."""
        one = slice(network, network + 1)
        return Parts(self.positions[one], None if self.left_out is None else self.left_out[one])

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """The samples of one batch for each network.

        Args:
            drawn: (B,), the batch as numbers below `size`.

        Returns: positions in the data, (K, B), and which of them count, (K, B) bool.
        """
        at = self.positions[:, drawn]
        if self.left_out is None:
            return at, torch.ones_like(at, dtype=torch.bool)
        return at, (at[:, :, None] != self.left_out[:, None]).all(dim=2)

    def may_be_empty(self, batch_size: int) -> bool:
        """Whether a batch may have no more samples than are left out."""
        most = 0 if self.left_out is None else self.left_out.shape[1]
        return min(batch_size, self.size % batch_size or batch_size) <= most


def all_but(left_out: Tensor, size: int) -> Parts:
    """All of the data but one sample or several, in the same batches as with them.

    Args:
        left_out: (K,) or (K, M), the positions of the samples that each network does not see.
        size: the number of samples in the data.
    """
    everything = torch.arange(size).expand(len(left_out), -1)
    return Parts(everything, left_out.reshape(len(left_out), -1))
