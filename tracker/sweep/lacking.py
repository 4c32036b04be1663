"""What members of a sweep lack: the values of factors, and what these could be measured of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from factors.family import Family, versions
from tracker.store.records import Finished, read_tag
from unlearning.base_model import BaseModel
from unlearning.outcome import Status

Planned = Mapping[str, Mapping[str, int]]  # by algorithm, the keys of its members with the samples
Families = tuple[Family, ...]


@dataclass(frozen=True)
class Lacking:
    """A member that lacks the values of families, or has them of another version.

    Attributes:
        measurable: those that can be measured of what is kept. of_weights, of_histories: those that
            could be if there were a checkpoint, or histories.
    """

    algorithm: str
    sample: int
    key: str
    member: Finished
    measurable: Families
    of_weights: Families
    of_histories: Families

    @property
    def unmeasurable(self) -> Families:
        """The families that can be measured only by unlearning the sample again."""
        return self.of_weights + self.of_histories


@dataclass
class Outcome:
    """What measuring came to.

    Attributes:
        current: members that lacked nothing. measured: members that were written.
        lacking: members of which something cannot be measured, for their weights or their
            histories are not kept.
        lost: why others cannot be measured, such as for damaged checkpoints.
    """

    current: int = 0
    measured: int = 0
    lacking: list[Lacking] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def said(self) -> Iterator[str]:
        """What the user has to know, a line each."""
        for what, members in (
            ("checkpoint", [member.of_weights for member in self.lacking]),
            ("histories", [member.of_histories for member in self.lacking]),
        ):
            counts = Counter(family.name for families in members for family in families)
            if counts:
                some = ", ".join(f"{name} of {count}" for name, count in counts.items())
                yield (
                    f"{sum(map(bool, members))} members have no {what}, and lack {some}: "
                    "'indelible measure --recompute' unlearns them again"
                )
        if self.lost:
            yield f"{len(self.lost)} members cannot be measured; of the first: {self.lost[0]}"


def lacking(
    base: BaseModel, planned: Planned, done: Mapping[str, Finished], families: Sequence[Family]
) -> list[Lacking]:
    """The members that lack values of some families, in the order of the plan."""
    expected: dict[int, dict[str, str]] = {}
    found = []
    for algorithm, keys in planned.items():
        for key, sample in keys.items():
            if key not in done:
                continue
            if sample not in expected:
                expected[sample] = versions(families, base.companions, sample)
            now, told = expected[sample], read_tag(done[key].versions)
            missing = [f for f in families if told.get(f.key) != now[f.key]]
            if missing:
                ways = _ways(done[key], missing)
                found.append(Lacking(algorithm, sample, key, done[key], *ways))
    return found


def _ways(member: Finished, families: Iterable[Family]) -> tuple[Families, Families, Families]:
    """Families that can be measured of what is kept; and for want of weights, or of histories."""
    has_weights = member.has_checkpoint or member.status == Status.ALREADY_WRONG
    ways: dict[str, list[Family]] = {"kept": [], "weights": [], "histories": []}
    for family in families:
        if family.of_histories and not member.has_histories:
            ways["histories"].append(family)
        else:
            is_free = has_weights or family.phase == "pre" or family.is_logged
            ways["kept" if is_free else "weights"].append(family)
    return tuple(ways["kept"]), tuple(ways["weights"]), tuple(ways["histories"])
