"""Which training samples are meant by what their owners call them: ids, paths or file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from unlearning.dataset import Dataset, Split
from unlearning.errors import UserError
from unlearning.naming import counted, nearest, number, printable

COMMENT = re.compile(r"\s#.*")  # behind a request
SHOWN = 5  # requests that a message names


def read_requests(path: Path) -> list[str]:
    """The requests in a file of UTF-8, one a line, without empty lines and comments.

    Raises UserError where it cannot be read or asks for nothing.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a text in UTF-8: {error}") from error
    asked = [line for line in lines if line and not line.startswith("#")]
    if not asked:
        raise UserError(
            f"{path} asks for nothing: it takes a sample's path, file name or id on each line"
        )
    return asked


def requested(dataset: Dataset, asked: Sequence[str], where: str) -> list[int]:
    """The ids of the training samples that are asked for, each once, in the order of asking.

    A request is a path in the data set's folder (`train/cat/7.png`), the end of one, down to the
    file's name, where no other ends so, or a path that leads into the folder from elsewhere. What
    is none of these is an id, or several.

    Args:
        where: the requests come from, for messages.

    Raises UserError that names those that no sample answers to, or several.
    """
    split, ids = dataset.train, dataset.train.ids.tolist()
    whole: dict[str, list[int]] = {}  # samples by their paths, and below by the ends of these
    ends: dict[str, list[int]] = {}
    for sample, path in zip(ids, split.paths or (), strict=False):
        parts = _composed(path).split("/")
        whole["/".join(parts)] = [sample]
        for start in range(len(parts)):
            ends.setdefault("/".join(parts[start:]), []).append(sample)
    found, missing = dict[int, None](), []
    for request in dict.fromkeys(asked):
        said = COMMENT.sub("", request).strip()
        places = [
            "/".join(path.parts[start:])
            for text in (said, said.replace("\\", "/"))
            for path in [PurePosixPath(_composed(text))]
            for start, part in enumerate(path.parts)
            if part == "train" or not start
        ]
        samples = next(filter(None, (whole.get(end) or ends.get(end) for end in places)), [])
        if len(samples) > 1:
            first, second = (split.path_of(sample) for sample in samples[:2])
            raise UserError(
                f"'{request}' in {where} ends the paths of {len(samples)} samples, such as {first} "
                f"and {second}: give more of its path"
            )
        if not samples:
            with suppress(ValueError):
                samples = [number(word, int) for word in said.replace(",", " ").split()]
        if not samples or not {*samples} <= {*ids}:
            missing.append(request)
        found |= dict.fromkeys(samples)
    if missing:
        names = {PurePosixPath(path).name for path in split.paths or ()}
        test = {*map(str, dataset.test.ids.tolist())}
        shown = [
            f"'{one}'"
            f"{' (a test sample)' if one in test else nearest(PurePosixPath(one).name, names)}"
            for one in missing[:SHOWN]
        ]
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        files = "paths, file names or " if names else ""
        raise UserError(
            f"{where}: {len(missing)} of {counted(len({*asked}), 'request')} "
            f"{'names' if len(missing) == 1 else 'name'} no training sample: {', '.join(shown)}"
            f"{more}; it takes {files}ids, of which there are {len(ids)} from {min(ids)} to "
            f"{max(ids)}, one a line"
        )
    return list(found)


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
    asked, by_image = {*ids}, dict[int, list[int]]()
    images = (image.tobytes() for image in split.images.numpy())
    keys = dict(zip(split.ids.tolist(), map(hash, images), strict=True))
    for sample, key in keys.items():
        if sample not in asked:
            by_image.setdefault(key, []).append(sample)
    return {sample: by_image[keys[sample]] for sample in ids if keys[sample] in by_image}


def _composed(text: str) -> str:
    """A text with accents as parts of their letters, which file systems may keep apart."""
    return unicodedata.normalize("NFC", printable(text))
