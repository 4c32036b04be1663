"""The folder that an unlearning hands over: weights, the table, and a note on what they are."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from analysis.drafts import write_whole
from tracker.base.base_models import BaseRun
from tracker.studies.asked import FORGOTTEN, MISCLASSIFIED, NEVER, REMEMBERED, TABLE, WRONG, as_csv
from tracker.studies.forgotten import Forgotten
from tracker.studies.requests import Requests
from unlearning import algorithms
from unlearning.checkpoints import as_pickled
from unlearning.errors import UserError
from unlearning.naming import counted

WEIGHTS, PICKLED, README = "unlearned.safetensors", "unlearned.pt", "README.md"
FILES = (WEIGHTS, PICKLED, TABLE, README)
KEY = "indelible_unlearning"  # in the metadata of the weights: the key of the requests
FEW = 8  # samples that a command names one by one


def refuse_folder(folder: Path, key: str) -> None:
    """Raise UserError for a folder that cannot be made, or has the files of something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--output {folder} cannot be written: {error.strerror}") from error
    there = [name for name in FILES if (folder / name).exists()]
    if there and _key_in(folder / WEIGHTS) != key:
        raise UserError(
            f"{folder} has the {there[0]} of something else: give another --output, or move it away"
        )


def _key_in(path: Path) -> str | None:
    """The key in a file with weights, if it is one of ours."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(KEY)
    except (OSError, SafetensorError):
        return None


def as_safetensors(state: Mapping[str, Tensor], key: str) -> bytes:
    """A state dict in the safetensors format, with the key of the requests."""
    content: bytes = save({name: t.contiguous() for name, t in state.items()}, {KEY: key})
    return content


def hand_over(folder: Path, base_run: BaseRun, requests: Requests, done: Forgotten) -> None:
    """Write all files, the weights first: they say whose folder it is.

    Raises UserError where another process has taken the folder meanwhile.
    """
    weights = folder / WEIGHTS
    is_ours = _key_in(weights) == done.key
    write_whole(weights, as_safetensors(done.state, done.key), replace=is_ours)
    refuse_folder(folder, done.key)
    write_whole(folder / PICKLED, as_pickled(done.state))
    write_whole(folder / TABLE, as_csv(done.rows))
    write_whole(folder / README, _readme(base_run, requests, done).encode())


def _readme(base_run: BaseRun, requests: Requests, done: Forgotten) -> str:
    said, algorithm = done.metrics, requests.algorithm
    settings = ", ".join(f"{name} {value}" for name, value in algorithm.settings().items())
    return TEXT.format(
        asked=counted(len(done.rows), "training sample"),
        dataset=base_run.dataset,
        arch=base_run.arch,
        base=base_run.run_id,
        base_sha256=base_run.weights_sha256,
        run=done.run_id,
        algorithm=algorithm.name,
        settings=settings,
        order=requests.order,
        rounds=requests.rounds,
        seed=requests.plan.seed,
        precision=requests.plan.precision,
        forgotten=len(done.ids(FORGOTTEN)),
        misclassified=_listed(done.ids(MISCLASSIFIED)),
        remembered=_listed(done.ids(REMEMBERED)),
        wrong=_listed(done.ids(WRONG)),
        learned=_listed(done.learned),
        never=_listed(done.ids(NEVER)),
        before=said["before/test_accuracy"],
        after=said["after/test_accuracy"],
        lost=said["points_lost"],
        remaining_before=said.get("before/remaining_accuracy", float("nan")),
        remaining_after=said.get("after/remaining_accuracy", float("nan")),
        numbers=json.dumps(dict(sorted(said.items())), indent=1),
        command=_command(base_run, requests),
    )


def _listed(ids: list[int]) -> str:
    return ", ".join(map(str, ids)) or "none"


def _command(base_run: BaseRun, requests: Requests) -> str:
    """The command that does it again."""
    algorithm, plan = requests.algorithm, requests.plan
    words = ["indelible", "unlearn", "--model", base_run.run_id]
    words += ["--algorithm", algorithms.reference(algorithm.name)]
    for name, value in algorithm.settings().items():
        words += ["--set", f"{algorithm.name}.{name}={value}"]
    words += ["--order", requests.order, "--rounds", str(requests.rounds), "--seed", str(plan.seed)]
    words += [] if plan.precision == "float32" else ["--precision", plan.precision]
    if len(plan.sample_ids) > FEW:
        words += ["--sample-ids", "FILE"]
    for sample in plan.sample_ids if len(plan.sample_ids) <= FEW else ():
        words += ["--sample", str(sample)]
    return shlex.join([*words, "--output", "DIR"])


TEXT = """\
# A model that was asked to forget {asked}

`unlearned.safetensors` and `unlearned.pt` are the same state dict, of a {arch} for {dataset}:

    state = safetensors.torch.load_file("unlearned.safetensors")
    state = torch.load("unlearned.pt", weights_only=True)

`requests.csv` has a line a sample: how it ended in these weights, how many steps were taken for it,
what they cost, and the probability that its label has now.

## What was done

- base model: run `{base}`, weights `{base_sha256}`
- algorithm: {algorithm} ({settings})
- order {order}, at most {rounds} rounds, seed {seed}, precision {precision}
- logged as run `{run}`

None of the samples was among the data that steps rehearsed. The same again; FILE, where it stands,
has the first column of `requests.csv` without its heading:

    {command}

## What came out

- forgotten, which is that their own steps made the prediction another one than the base model's:
  {forgotten}
- misclassified after steps for others alone: {misclassified}
- still remembered: {remembered}
- wrong already under the base model, so that nothing was unlearned: {wrong};
  of these this model gets right: {learned}
- never seen by this model, which was trained without them: {never}
- test accuracy: {before:.1%} before, {after:.1%} now, {lost:z.1f} points lost
- accuracy on the remaining training samples: {remaining_before:.1%} before, now
  {remaining_after:.1%}

## What was not shown

A prediction that flipped is no proof that a sample is erased: the weights may still tell that it
was trained on. Evidence is how near the model is to one that never saw the samples (`indelible
unlearn --reference` trains that one, and gives `unlearning_gap`, which is to be seen beside
`untouched_gap` of the base model), and whether an attack takes the samples for ones never seen
(`called_unseen`). The attack here is a simple one, by confidence; stronger ones may see more.
Copies and near copies of the samples among the remaining data are not touched, nor is the base
model itself, or a backup.

All numbers:

```json
{numbers}
```
"""
