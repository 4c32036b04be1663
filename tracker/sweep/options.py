"""How a sweep is run, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tracker.base.workers import THREADS, Clock, Engine
from tracker.store.records import Finished, Histories
from tracker.sweep.retention import Retention
from tracker.sweep.shards import Shard
from unlearning.execution import Execution


@dataclass(frozen=True)
class Options:
    """How a sweep is run; nothing here changes its numbers beyond the order of sums.

    Attributes:
        chunk: members at a time; as many as memory has room for if None.
        execution: of the members of a chunk; measured for each algorithm if None.
        engine: computes; threads, one a core, if nothing else is said.
        retention: which checkpoints are kept.
        shard: the share of the plan that is done; all of it if None.
        histories: where those of members are kept that are written now.
    """

    chunk: int | None = None
    execution: Execution | None = None
    engine: Engine = THREADS
    retention: Retention = field(default_factory=lambda: Retention("all"))
    shard: Shard | None = None
    histories: Histories = Histories.RUNS


@dataclass(frozen=True)
class Reporter:
    """Who is told of a sweep while it runs.

    Attributes:
        progress: is told how many members were just finished, and with which algorithm.
        say: is told, a line each, what there is to remark.
        clock: adds up where the time goes.
        ended: is given the members that are in the store, by key, when all is done.
    """

    progress: Callable[[int, str], None] = lambda members, doing: None
    say: Callable[[str], None] = lambda line: None
    clock: Clock = field(default_factory=Clock)
    ended: Callable[[Mapping[str, Finished]], None] = lambda members: None

    def say_all(self, lines: Iterable[str]) -> None:
        """Say several lines."""
        for line in lines:
            self.say(line)
