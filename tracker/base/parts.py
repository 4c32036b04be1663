"""Tensors that are kept beside a base model's run, in parts that are added and never changed.

Each part is a file of its own, named by its content, with a tag of its own. So two processes may
add parts at the same moment, and neither overwrites what the other wrote.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from analysis.warehouse import FORECAST
from tracker.store.files import Artifacts, Damaged
from unlearning.errors import UserError
from unlearning.version import VERSION

if TYPE_CHECKING:
    from mlflow.entities import Run
    from torch import Tensor

    from tracker.store.write import Store

SAVED_EVERY = 30  # seconds at first, then less often
ABOUT = "about"  # the entry of a file's metadata
NAME = re.compile("[0-9a-f]{12}")
VERSION_OF = re.compile(r" in version (\d+)$")  # a tag without a version is of the first

Result = TypeVar("Result")


@dataclass(frozen=True)
class Parts:
    """All parts of one kind.

    Attributes:
        kind: begins the names of their files and tags. tensors: the names that each part has.
        version: of the code that computes them; parts of other versions are outdated.
    """

    kind: str
    tensors: tuple[str, ...]
    version: int = 1

    def add(
        self,
        store: Store,
        run_id: str,
        content: Mapping[str, Tensor],
        says: str,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep tensors beside a base model's run, under a tag with the value `says`.

        Args:
            about: plain values that the file holds beside them: see `about`.
        """
        store.attach(run_id, *self.made_of(content, says, about))

    def made_of(
        self, content: Mapping[str, Tensor], says: str, about: Mapping[str, Any] | None = None
    ) -> tuple[str, bytes, tuple[str, str]]:
        """The part that tensors make: its file, the content of that, and the tag that tells."""
        from safetensors.torch import save

        # One entry of metadata: safetensors writes several in any order.
        part = save(dict(content), {ABOUT: json.dumps(about)} if about else None)
        name = hashlib.sha256(part).hexdigest()[:12]
        said = says if self.version == 1 else f"{says} in version {self.version}"
        return self.file(name), part, (self.tag(name), said)

    def of(self, store: Store, run: Run) -> Iterator[dict[str, Tensor]]:
        """All parts of this version that a run tells of.

        Raises Damaged if one is lost or damaged.
        """
        for name, said in self.names(run.data.tags).items():
            match = VERSION_OF.search(said)
            if self.version == (int(match[1]) if match else 1):
                yield self.read(store.artifacts, run.info.artifact_uri, run.info.run_id, name)

    def read(self, artifacts: Artifacts, uri: str, run_id: str, name: str) -> dict[str, Tensor]:
        """One part. Raises Damaged if it is lost or damaged."""
        from unlearning.checkpoints import read_tensors

        content = self.content(artifacts, uri, run_id, name)
        with suppress(UserError):
            tensors = read_tensors(content, self.file(name))
            if tensors.keys() >= set(self.tensors):
                return tensors
        raise self._damaged(run_id, name)

    def content(self, artifacts: Artifacts, uri: str, run_id: str, name: str) -> bytes:
        """The file of a part. Raises Damaged if it is lost, or is not what was written."""
        content = artifacts.read(uri, self.file(name))
        if content is None or not hashlib.sha256(content).hexdigest().startswith(name):
            raise self._damaged(run_id, name)
        return content

    def _damaged(self, run_id: str, name: str) -> Damaged:
        return Damaged(
            f"{self.file(name)} of {run_id} is lost or damaged: 'indelible check --repair' lets go "
            "of it, and it can be made again"
        )

    def names(self, tags: Mapping[str, str]) -> dict[str, str]:
        """The parts that a run's tags tell of, by name, with what the tag says.

        The part without a name was written by a version that kept a single file.
        """
        begins = f"{self.kind}/"
        names = {tag: tag.removeprefix(begins) for tag in sorted(tags) if tag.startswith(begins)}
        first = {"": tags[self.kind]} if self.kind in tags else {}
        return first | {name: tags[tag] for tag, name in names.items() if NAME.fullmatch(name)}

    def file(self, name: str) -> str:
        """The file of a part."""
        return f"{self.kind}{'-' if name else ''}{name}.safetensors"

    def tag(self, name: str) -> str:
        """The tag that tells of a part."""
        return f"{self.kind}/{name}" if name else self.kind


def about(content: bytes) -> dict[str, Any]:
    """The plain values that the file of a part holds beside its tensors.

    Raises ValueError, LookupError or TypeError where it holds none, or is no such file.
    """
    length = int.from_bytes(content[:8], "little")
    told: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][ABOUT])
    return told


LEFT_OUT = Parts("leave_one_out", ("ids", "logits"), VERSION)
SECOND_SEED = Parts("second_seed", ("ids", "logits"), VERSION)
MEMORIZATION = Parts("memorization", ("ids", "included", "correct"))
LEARNING = Parts("learning", ("losses", "margins"))
PRE_FACTORS = Parts("pre_factors", ("sample_ids",))
FORECASTS = Parts("forecasts", ("sample_ids", *FORECAST))

# What parts with `pre` factors and forecasts hold beside these.
IDS, POSITIONS, LABELS = "sample_ids", "split_positions", "labels"  # tensors, (samples,)
SECONDS = "seconds/"  # begins the names of tensors with what each thing asked took for a sample
INDEX = "index/"  # begins what is asked of the index; an algorithm's name ends it
CATALOG = "catalog"  # among what the file is about: the factors as rows of the catalog
PATHS = "paths"  # likewise: of the samples' files, where they have any
AT = "at"  # likewise: when it was written, milliseconds since 1970; the later of two values counts
ALL = (LEFT_OUT, SECOND_SEED, MEMORIZATION, LEARNING, PRE_FACTORS, FORECASTS)


class Kept(Generic[Result]):
    """Results by number, saved now and then and at the end, also after an interruption."""

    def __init__(self, save: Callable[[Mapping[int, Result]], None]) -> None:
        self.save, self.new = save, dict[int, Result]()
        self.began = self.saved = time.monotonic()

    def __enter__(self) -> Kept[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        if self.new:
            self.save(self.new)

    def add(self, results: Mapping[int, Result]) -> None:
        """Keep more results."""
        self.new |= results
        now = time.monotonic()
        if now - self.saved > max(SAVED_EVERY, (self.saved - self.began) / 2):
            self.save(self.new)
            self.new, self.saved = {}, now
