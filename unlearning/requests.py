"""Which training samples are meant by what their owners call them: ids, paths or file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

import torch

from unlearning.dataset import Dataset, Split
from unlearning.errors import UserError
from unlearning.naming import counted, nearest, number, printable

COMMENT = "#"  # begins a line that asks for nothing
REMARK = re.compile(rf"\s+{COMMENT}")  # begins a comment behind a request
SHOWN = 5  # requests that a message names


def read_requests(path: Path) -> list[str]:
    """The requests in a file of UTF-8, one a line, without empty lines and comments.

    Raises UserError where it cannot be read or asks for nothing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text in UTF-8: save it as one") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    lines = (line.strip() for line in text.splitlines())
    asked = [line for line in lines if line and not line.startswith(COMMENT)]
    if not asked:
        raise UserError(
            f"{path} asks for nothing: it takes a sample's path, file name or id on each line"
        )
    return asked


def requested(dataset: Dataset, asked: Sequence[str], where: str) -> list[int]:
    """The ids of the training samples that are asked for, each once, in the order of asking.

    A request is a path in the data set's folder (`train/cat/7.png`), the end of one, down to the
    file's name, where no other ends so, or a path that leads into the folder from elsewhere. What
    is none of these is an id, or several. Behind a request may stand a comment.

    Args:
        where: the requests come from, for messages.

    Raises UserError that names those that no sample answers to, or several.
    """
    split, ids = dataset.train, set(dataset.train.ids.tolist())
    whole: dict[str, list[int]] = {}  # samples by their paths, and below by the ends of these
    ends: dict[str, list[int]] = {}
    for sample, path in zip(split.ids.tolist(), split.paths or (), strict=False):
        parts = _composed(path).split("/")
        whole["/".join(parts)] = [sample]
        for start in range(len(parts)):
            ends.setdefault("/".join(parts[start:]), []).append(sample)
    found, missing = dict[int, None](), []
    for request in dict.fromkeys(asked):
        places = (end for text in _without_remarks(request) for end in _ends(_composed(text)))
        samples = next(filter(None, (whole.get(end) or ends.get(end) for end in places)), [])
        if len(samples) > 1:
            first, second = (split.path_of(sample) for sample in samples[:2])
            raise UserError(
                f"'{request}' in {where} ends the paths of {len(samples)} samples, such as {first} "
                f"and {second}: give more of its path"
            )
        if not samples:
            with suppress(ValueError):
                words = REMARK.split(request)[0].replace(",", " ").split()
                samples = [number(word, int) for word in words]
        if not samples or not ids.issuperset(samples):
            missing.append(request)
        found |= dict.fromkeys(samples)
    if missing:
        names = {PurePosixPath(path).name for path in split.paths or ()}
        shown = [f"'{one}'{nearest(PurePosixPath(one).name, names)}" for one in missing[:SHOWN]]
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise UserError(
            f"{where}: {len(missing)} of {counted(len({*asked}), 'request')} "
            f"{'names' if len(missing) == 1 else 'name'} no training sample: {', '.join(shown)}"
            f"{more}; {_taken(ids, bool(ends))}"
        )
    return list(found)


def _taken(ids: set[int], has_files: bool) -> str:
    """What a request is, in words."""
    first, last = min(ids), max(ids)
    said = f"ids from {first} to {last}"
    if last - first >= len(ids):
        said += f", of which {len(ids)} are of training samples"
    if has_files:
        return f"it takes paths, file names or {said}, one a line"
    return f"it takes {said}, for the samples of this data set have no files"


def remarks(dataset: Dataset, asked: Sequence[str], ids: Sequence[int]) -> Iterator[str]:
    """What is to be known of requests that were found: a line each.

    Args:
        ids: as `requested` gives them.
    """
    if len(ids) < len(asked):
        yield f"{len(asked)} requests for {counted(len(ids), 'sample')}"
    found = replicas(dataset.train, ids)
    if found:
        sample, others = next(iter(found.items()))
        call = dataset.train.path_of
        yield (
            f"{counted(len(found), 'sample')} of {len(ids)} {'has' if len(found) == 1 else 'have'} "
            "copies in the training set that are not asked for, and are learned still: "
            f"{call(sample) or sample} is also {call(others[0]) or others[0]}"
        )


def replicas(split: Split, ids: Sequence[int]) -> dict[int, list[int]]:
    """By sample, those with the same image that are not among `ids`; only where there are any."""
    flat = split.images.flatten(1)
    sums, every, asked = flat.sum(dim=1, dtype=torch.float64), split.ids.tolist(), set(ids)
    found = {}
    for sample, position in zip(ids, split.positions([*ids]).tolist(), strict=True):
        near = (sums == sums[position]).nonzero()[:, 0]
        same = near[(flat[near] == flat[position]).all(dim=1)].tolist()
        others = [every[row] for row in same if every[row] not in asked]
        if others:
            found[sample] = others
    return found


def _composed(text: str) -> str:
    """A text with accents as parts of their letters, which file systems may keep apart."""
    return unicodedata.normalize("NFC", printable(text))


def _without_remarks(request: str) -> Iterator[str]:
    """A request as it is, and up to each place where a comment may begin, the last first."""
    yield request
    for begin in reversed([found.start() for found in REMARK.finditer(request)]):
        yield request[:begin]


def _ends(request: str) -> Iterator[str]:
    """A request as a path in the folder, and what it is there if it leads there from elsewhere."""
    yield request  # a name may have a backslash in it where Windows is not at home
    windows = "\\" in request and "/" not in request
    pure = PureWindowsPath(request) if windows else PurePosixPath(request)
    parts = pure.parts
    yield "/".join(parts)
    for start, part in enumerate(parts):
        if part == "train" and start:
            yield "/".join(parts[start:])
