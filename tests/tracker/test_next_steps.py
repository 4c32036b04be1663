"""Each command that a command names as the next is pasted, and does what it says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.tracker.conftest import Indelible
from tracker.cli import run
from tracker.cli._output import Session

FEW = ("--samples", 2, "--trials", 2, "--seed", 3)
TWO = ("--algorithm", "ga", "--algorithm", "neggrad")


@pytest.mark.slow
def test_what_is_printed_can_be_pasted(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, asked = Path("my store"), Path("to go.txt")
    said: dict[str, list[str]] = {}

    def call(*words: object) -> str:
        answer = indelible(folder, *words)
        assert answer.code == 0, answer.err
        lines = answer.err.splitlines()
        said[str(words[0])] = [line for line in lines if line.startswith("indelible ")]
        return answer.out

    references = ("--references", 16, "--reference-share", 0.5)
    call("train", "--train-samples", 60, "--test-samples", 60, *references)
    rows = json.loads(call("predict", "--algorithm", "ga", "--samples", 2, "--format", "json"))
    asked.write_text("\n".join(str(row["sample_id"]) for row in rows), "utf-8")
    call("sweep", *TWO, "--samples", 2)
    call("tune", *TWO, *FEW, "--set", "ga.optimizer=sgd", "--output", "my own.toml")
    own = ("--preset", "my own.toml", "--set", "neggrad.alpha=0.5", "--seed", 1)
    call("advise", *TWO, *own, "--requests", asked, "--max-loss", 100)
    assert {name: len(lines) for name, lines in said.items()} == {
        **dict.fromkeys(("train", "predict", "sweep"), 0),
        **{"tune": 1, "advise": 2},
    }
    for line in (line for lines in said.values() for line in lines):
        done = (0, 1) if " unlearn " in line else (0,)  # 1 where a request is not forgotten
        assert run(shlex.split(line)[1:]) in done, line
    (sweep, restore, unlearn) = (line for lines in said.values() for line in lines)
    assert sweep.endswith("--preset 'my own.toml' --seed 3 --samples 60")
    assert "--requests 'to go.txt' --preset 'my own.toml' --seed 1 --max-loss 100" in unlearn
    assert Path(shlex.split(restore)[-1]).is_file()
    assert Path("forgotten/unlearned.safetensors").is_file()


def test_a_command_begins_with_the_options_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def begins(folder: str, uri: str | None, data: str) -> str:
        return Session(Path(folder), uri, Path(data), verbose=False, server_timeout=60).command

    for name in ("MLFLOW_TRACKING_URI", "INDELIBLE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert begins("mlruns", None, "data") == "indelible"
    uri = "postgresql://me:secret@host/db"
    said = begins("my store", uri, "there")
    shown = "postgresql://me:***@host/db"
    assert said == f"indelible --store 'my store' --tracking-uri '{shown}' --data-dir there"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("INDELIBLE_DATA_DIR", "there")
    assert begins("mlruns", uri, "there") == "indelible"
