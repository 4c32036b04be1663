"""What other people's algorithms raise in a sweep, which goes on with all else and says so."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from unlearning.errors import Raised

CHUNKS = 3  # of an algorithm that may raise something, before it is given up


@dataclass
class Broken:
    """The members of a sweep that were not done, since their algorithm raised something.

    Attributes:
        samples: whose, by the algorithm. raised: what each algorithm raised first.
    """

    samples: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    raised: dict[str, Raised] = field(default_factory=dict)
    _chunks: Counter[str] = field(default_factory=Counter)

    def add(self, algorithm: str, samples: Sequence[int], raised: Raised) -> None:
        """Take note of a chunk that was not done."""
        self.samples[algorithm] |= {*samples}
        self.raised.setdefault(algorithm, raised)
        self._chunks[algorithm] += 1

    def is_out(self, algorithm: str, sample: int) -> bool:
        """Whether a member is not tried again by this call."""
        return self._chunks[algorithm] >= CHUNKS or sample in self.samples[algorithm]

    def refuse(self, lacking: dict[str, int]) -> None:
        """Raise Raised if there were any.

        Args:
            lacking: how many members of each algorithm are not in the store.
        """
        if self.raised:
            said = "; ".join(
                f"{raised}: {lacking[name]} attempts of {name} are not done"
                for name, raised in self.raised.items()
            )
            line = f"{said}. All else is done, and the same command tries these again"
            traces = "\n".join(raised.trace for raised in self.raised.values())
            first = next(iter(self.raised.values()))
            raise Raised(first.kind, first.name, line, traces) from first
