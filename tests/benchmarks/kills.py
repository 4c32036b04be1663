"""Signals at random moments: no command that writes loses, doubles or half-writes anything.

Each command runs undisturbed first, from the store that those before it have left. Then it begins
from there again, gets three signals in a row, each at a moment uniform over the time that it took,
and is called until it is done. Printed is what the store then has more of, less of, or with other
values: runs with their params, status and metrics (but seconds), attempts in the warehouse, names
of files, and what `check` says when they are old.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from tests.forked import Forked

EACH = 11  # signals a command
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TRAIN = "train --epochs 15 --batch-size 16 --train-samples 120 --test-samples 60"
SWEEP = "sweep --samples 4 --execution sequential --chunk 1 --algorithm ga"
SHARD = f"{SWEEP} --seed 5 --shard"
COMMANDS = (
    TRAIN,
    f"{TRAIN} --references 12 --reference-share 0.5",
    "predict --algorithm ga --samples 4",
    f"{SWEEP} --algorithm salun --checkpoints all --name first",
    f"{SWEEP} --until reference --checkpoints all --name until",
    f"{SHARD} 1/2",
    "merge other",
    "tune --algorithm ga --samples 3 --trials 3 --output out/tuned.toml",
    "advise --sample-ids 612,758 --algorithm ga --algorithm neggrad",
    "unlearn --sample 612 --sample 758 --max-loss 100 --output out/forgotten",
    "measure --sweep first --factors relearning",
    "audit --sweep until",
    "load --deep",
    "report --sweep first --output out/report --log",
    "prune --sweep first --checkpoints none --yes",
)
SMALLEST = {"EACH": 1, "COMMANDS": COMMANDS[:1]}
TIMED = re.compile(r"second|elapsed|duration|_s$")
ID = re.compile(r"[0-9a-f]{12,}")
ATTEMPTS = "select sweep, algorithm, sample_id, status, steps, gt from attempts"
KIND = "(select value from tags t where t.run_uuid = r.run_uuid and key = 'kind')"
RUNS = f"select run_uuid, {KIND}, name, status from runs r where lifecycle_stage = 'active'"


def call(root: Path, words: str, *more: str, store: str = "store") -> str:
    """What a command says on stdout; it succeeds, but for `check`."""
    process = Forked("--store", root / store, *words.split(), *more, cwd=root)
    out, err = process.communicate(timeout=300)
    is_done = process.returncode in ((0, 1) if words.startswith(("check", "unlearn")) else (0,))
    assert is_done, f"{words}: {err}"
    return out


def state(root: Path) -> dict[str, list[float]]:
    """Numbers of whatever there is, by what it is; 1 where it has none."""
    found = defaultdict[str, list[float]](list)
    for path in (p for name in ("store", "out") for p in (root / name).rglob("*") if p.is_file()):
        if not path.name.endswith(("-wal", "-shm")):  # SQLite's
            found["file " + ID.sub("ID", str(path.relative_to(root)))].append(1)
    for path in (root / "store/artifacts").rglob("*"):
        os.utime(path, (0, 0))
    for *what, steps, gt in map(dict.values, json.loads(call(root, "sql --format json", ATTEMPTS))):
        found[f"attempt {what}"] += [steps or 0, gt or 0]
    for row in json.loads(call(root, "check --format json")):
        found[f"problem {row['audit']}"].append(1)
    with closing(sqlite3.connect(root / "store/mlflow.db")) as db:
        for run, *is_one in db.execute(RUNS).fetchall():
            params, metrics = (
                db.execute(f"select key, value from {t} where run_uuid = ?", [run]).fetchall()
                for t in ("params", "latest_metrics")
            )
            named = ID.sub("ID", f"run {is_one} {sorted(params)}")
            for key, value in [("", 1), *metrics]:
                if not TIMED.search(key):
                    found[f"{key} {named}"].append(value)
    return found


def disturbed(root: Path, words: str, seconds: float, drawn: random.Random) -> int:
    """Call a command that signals end; how many did."""
    sent = 0
    for number in drawn.sample(SIGNALS, len(SIGNALS)):
        process = Forked("--store", root / "store", *words.split(), cwd=root)
        try:
            process.wait(drawn.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            sent += process.wait(120) != 0
    return sent


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, before, after = (Path(folder) / name for name in ("now", "before", "after"))
        (root / "out").mkdir(parents=True)
        call(root, "algorithms")  # so that what is measured has been imported
        for words in COMMANDS:
            if words.startswith(SHARD):
                call(root, "models --export other")
                call(root, f"{SHARD} 2/2", store="other")
            shutil.copytree(root, before)
            began = time.monotonic()
            call(root, words)
            seconds, expected = time.monotonic() - began, state(root)
            root.rename(after)
            drawn, sent, said = random.Random(words), 0, Counter[str]()
            while sent < EACH:
                shutil.copytree(before, root)
                sent += disturbed(root, words, seconds, drawn)
                try:
                    call(root, words)
                    now = state(root)
                except AssertionError as error:
                    now = {f"failure {error}": [1.0], **expected}
                for what in now.keys() | expected.keys():
                    has, had = sorted(now.get(what, [])), sorted(expected.get(what, []))
                    if len(has) != len(had):
                        said[f"{'more' if len(has) > len(had) else 'less'} {what[:99]}"] += 1
                    elif has != pytest.approx(had, rel=1e-5, abs=1e-8):
                        said[f"other {what[:99]}"] += 1
                shutil.rmtree(root)
            shutil.rmtree(before)
            after.rename(root)
            print(f"{words}: {seconds:.1f} s, {sent} signals, {dict(said)}", flush=True)
