"""Tensors that are kept beside a base model's run, in parts that are added and never changed.

Each part is a file of its own, named by its content, with a tag of its own. So two processes may
add parts at the same moment, and neither overwrites what the other wrote.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetensors.torch import save

from tracker.access.artifacts import Artifacts, Damaged
from unlearning.checkpoints import read_tensors
from unlearning.errors import UserError
from unlearning.version import VERSION

if TYPE_CHECKING:
    from mlflow.entities import Run
    from torch import Tensor

    from tracker.record.store import Store

NAME = re.compile("[0-9a-f]{12}")
VERSION_OF = re.compile(r" in version (\d+)$")  # a tag without a version is of the first


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

    def add(self, store: Store, run_id: str, content: Mapping[str, Tensor], says: str) -> None:
        """Keep tensors beside a base model's run, under a tag with the value `says`."""
        store.attach(run_id, *self.made_of(content, says))

    def made_of(
        self, content: Mapping[str, Tensor], says: str
    ) -> tuple[str, bytes, tuple[str, str]]:
        """The part that tensors make: its file, the content of that, and the tag that tells."""
        part = save(dict(content))
        name = hashlib.sha256(part).hexdigest()[:12]
        said = says if self.version == 1 else f"{says} in version {self.version}"
        return self.file(name), part, (self.tag(name), said)

    def of(self, store: Store, run: Run, outdated: bool = False) -> Iterator[dict[str, Tensor]]:
        """All parts of this version, or of others, that a run tells of.

        Raises Damaged if one is lost or damaged.
        """
        for name, said in self.names(run.data.tags).items():
            match = VERSION_OF.search(said)
            if (self.version == (int(match[1]) if match else 1)) is not outdated:
                yield self.read(store.artifacts, run.info.artifact_uri, run.info.run_id, name)

    def read(self, artifacts: Artifacts, uri: str, run_id: str, name: str) -> dict[str, Tensor]:
        """One part. Raises Damaged if it is lost or damaged."""
        content, what = artifacts.read(uri, self.file(name)), f"{self.file(name)} of {run_id}"
        if content is not None and hashlib.sha256(content).hexdigest().startswith(name):
            with suppress(UserError):
                tensors = read_tensors(content, what)
                if tensors.keys() >= set(self.tensors):
                    return tensors
        raise Damaged(
            f"{what} is lost or damaged: 'indelible check --repair' lets go of it, and it can be "
            "made again"
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


LEFT_OUT = Parts("leave_one_out", ("ids", "logits"), VERSION)
SECOND_SEED = Parts("second_seed", ("ids", "logits"), VERSION)
MEMORIZATION = Parts("memorization", ("ids", "included", "correct"))
LEARNING = Parts("learning", ("losses", "margins"))
PRE_FACTORS = Parts("pre_factors", ("sample_ids",))
ALL = (LEFT_OUT, SECOND_SEED, MEMORIZATION, LEARNING, PRE_FACTORS)
