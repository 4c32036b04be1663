"""A seal: digests of a sweep's members, by which damage on the way to another store is seen.

A byte that changes within a number of a database makes another number of it, and neither the
database nor MLflow notices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import factors
from tracker.access.artifacts import Artifacts, Damaged
from tracker.access.blocks import in_blocks
from tracker.record.readers import DatabaseReader
from tracker.record.records import (
    HISTORIES,
    KEPT_STEP,
    MEASURED_AT,
    VERSIONS,
    Finished,
    milliseconds,
)
from tracker.record.whole import Whole, whole_runs

if TYPE_CHECKING:
    from tracker.record.store import Store
    from tracker.sweeping.plan import Plan

SEAL = "seal.json"  # among the artifacts of a sweep
AT_A_TIME = 500  # members whose logs are in memory

# Of a member's tags those that never change but for VERSIONS. Others are people's, or tell of
# files, which are compared with their own digests.
FIXED_TAGS = (
    *("kind", "key", "sample_id", "split_position", "label", "status", "code_version", KEPT_STEP),
    *("algorithm_providers", "factor_providers"),
)


@dataclass(frozen=True)
class Seal:
    """What a sweep's members were when it ended.

    Attributes:
        at_ms: when that was, milliseconds since 1970.
        names: of all params and metrics that members had then; what is added later is not looked
            at.
        sweep: a digest of the sweep's own run.
        members: two digests of each, by its key: of the attempt, and of its factors.
    """

    at_ms: int
    names: frozenset[str]
    sweep: str
    members: Mapping[str, tuple[str, str]]

    def is_of(self, sweep: Whole) -> bool:
        """Whether the run of a sweep is what was sealed."""
        return self.sweep == _of_sweep(sweep)

    def is_broken(self, member: Whole) -> bool:
        """Whether a member is not what was sealed.

        Of one that was measured since then only the attempt is compared, of one that was done
        again nothing.
        """
        sealed = self.members.get(member.tags.get("key", ""))
        if sealed is None or (member.ended_ms or 0) > self.at_ms:
            return False
        attempt, measured = _digests(member, self.names)
        said = member.tags.get(MEASURED_AT, "")
        is_measured = said.isdecimal() and int(said) > self.at_ms
        return sealed != (attempt, sealed[1] if is_measured else measured)


def write_seal(store: Store, sweep_id: str, plan: Plan, done: Mapping[str, Finished]) -> None:
    """Seal the members of a plan that are in the store, as a file of their sweep's run.

    Of a store that is no file nothing is written: it is not merged.
    """
    if store.address.file is None:
        return
    reader = DatabaseReader(store.address, store.patience)
    run_ids = [done[key].run_id for key in sorted(plan.keys() & done.keys())]
    runs, names = reader.runs(), set[str]()
    digests: dict[str, tuple[str, str]] = {}
    for block in in_blocks(run_ids, AT_A_TIME):
        for member in whole_runs(reader, runs, block):
            names |= member.params.keys() | member.metrics.keys()
            digests[member.tags["key"]] = _digests(member, None)
    (sweep,) = whole_runs(reader, runs, [sweep_id])
    content = {
        "at": milliseconds(),
        "names": sorted(names),
        "sweep": _of_sweep(sweep),
        "members": digests,
    }
    store.artifacts.write(sweep.artifact_uri, {SEAL: json.dumps(content, indent=0).encode()})


def read_seal(artifacts: Artifacts, uri: str, sweep_id: str) -> Seal | None:
    """The seal of a sweep, None if it has none. Raises Damaged if it is not what was written."""
    content = artifacts.read(uri, SEAL)
    if content is None:
        return None
    try:
        plain = json.loads(content)
        members = {str(key): _pair(digests) for key, digests in plain["members"].items()}
        names = frozenset(map(str, plain["names"]))
        return Seal(int(plain["at"]), names, str(plain["sweep"]), members)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{SEAL} of sweep {sweep_id} is damaged ({error!r})") from error


def _pair(digests: Iterable[Any]) -> tuple[str, str]:
    attempt, measured = map(str, digests)
    return attempt, measured


def _digests(member: Whole, names: frozenset[str] | None) -> tuple[str, str]:
    """Digests of an attempt and of its factors: the same in whatever order they are read.

    Args:
        names: of the params and metrics that count; all if None.
    """

    def counted(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
        return sorted((n, v) for n, v in values.items() if names is None or n in names)

    points = [point for point in member.points if names is None or point.key in names]
    curves = [point for point in points if point.key in factors.HISTORIES]
    others = [point for point in points if point.key not in factors.HISTORIES]
    tags = [(name, member.tags.get(name)) for name in FIXED_TAGS]
    tags += [(name, member.tags[name]) for name in (HISTORIES,) if name in member.tags]
    times = (member.started_ms, member.ended_ms)
    attempt = (counted(member.params), tags, times, curves)
    measured = (counted(member.metrics), member.tags.get(VERSIONS), others)
    return _digest(attempt), _digest(measured)


def _of_sweep(sweep: Whole) -> str:
    """A digest of what never changes of a sweep's run."""
    return _digest((sorted(sweep.params.items()), sweep.tags.get("key"), sweep.started_ms))


def _digest(plain: Any) -> str:
    """Numbers are written with all of their digits."""
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:32]
