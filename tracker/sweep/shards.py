"""A share of a sweep, for one of several machines that have no store in common.

Plan, sweep key and member keys are those of the whole sweep, so that the stores of all shares can
be merged into one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from tracker.base.beforehand import BLOCK
from tracker.store.records import in_blocks
from tracker.store.write import Store
from tracker.sweep.chunks import Work
from tracker.sweep.memory import LARGEST_CHUNK
from tracker.sweep.plan import Plan
from unlearning.errors import UserError

SHARD = "shard"  # the tag of a sweep of which the store has shares only, with these
CHUNKS = 4  # that each share gets at least, where there are enough members
WRITTEN = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class Shard:
    """Which share: the `number`-th, counted from 1, of `count`."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The share as the command line gives it. Raises UserError."""
        match = WRITTEN.fullmatch(text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise UserError(
                f"--shard is '{text}': it takes K/N for the K-th of N shares, from 1/N to N/N, "
                "such as 3/16"
            )
        return shard

    def __str__(self) -> str:
        """As the command line gives it."""
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class Share:
    """What a call of a sweep does of its plan.

    Attributes:
        shard: which share; None for all of the plan.
        blocks: its members, as algorithms with samples, in the plan's order.
    """

    plan: Plan
    shard: Shard | None
    blocks: tuple[Work, ...]

    @classmethod
    def of(cls, plan: Plan, shard: Shard | None, chunk: int | None) -> Share:
        """A share of a plan: of its blocks of members every N-th, beginning with the K-th.

        A block is a chunk as the whole sweep makes it: `chunk` samples of one algorithm. Where no
        size is given, it follows from the plan and N alone, so that all machines come to the same
        blocks: as many as the largest chunk has, or fewer, so that each share gets CHUNKS blocks
        if there are enough members. A machine with too little memory for a block divides it.
        """
        if shard is None:
            return cls(plan, None, tuple((a, list(plan.sample_ids)) for a in plan.algorithms))
        size = chunk or max(1, min(LARGEST_CHUNK, plan.size // (CHUNKS * shard.count)))
        blocks = [(a, some) for a in plan.algorithms for some in in_blocks(plan.sample_ids, size)]
        return cls(plan, shard, tuple(blocks[shard.number - 1 :: shard.count]))

    @property
    def size(self) -> int:
        """How many members it has."""
        return sum(len(samples) for _, samples in self.blocks)

    def planned(self) -> dict[str, dict[str, int]]:
        """For each algorithm, by name, the keys of its members with the samples."""
        found: dict[str, dict[str, int]] = {a.name: {} for a in self.plan.algorithms}
        for algorithm, samples in self.blocks:
            found[algorithm.name] |= {self.plan.key(algorithm, s): s for s in samples}
        return found

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys of its members."""
        return frozenset(key for keys in self.planned().values() for key in keys)

    @cached_property
    def pre_samples(self) -> list[int]:
        """The samples of the plan whose `pre` factors are computed.

        They are computed in blocks, on which their last bits depend: a block of which one sample
        is needed is computed as a whole, as in the whole sweep.
        """
        needed = {sample for _, samples in self.blocks for sample in samples}
        blocks = in_blocks([*dict.fromkeys(self.plan.sample_ids)], BLOCK)
        return [sample for block in blocks if not needed.isdisjoint(block) for sample in block]


def tell(
    store: Store, sweep_id: str, share: str, planned: Collection[str], done: Collection[str]
) -> str:
    """Write into the tags of a sweep's run which shares are in the store, or that all is.

    Args:
        share: one more, or several, with a space between; empty if none.
        planned: the keys of its members. done: of those that are there, and perhaps of others.

    Returns: what begins the description of a run of which there are shares only, else nothing.
    """
    before = store.run(sweep_id).tags.get(SHARD, "")
    shares, keys = " ".join(sorted({*before.split(), *share.split()})), {*planned}
    if keys <= {*done}:
        if before:
            store.untag(sweep_id, SHARD)
        return ""
    if shares != before:
        store.client.set_tag(sweep_id, SHARD, shares)
    there = f"{len(keys & {*done})} of its {len(keys)} attempts are here"
    return f"**Share {shares} of a sweep: {there}.**\n\n" if shares else ""
