"""Files that are whole or absent."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from analysis.atomic import OLD, written_atomically
from unlearning.errors import UserError

DRAFT = ".indelible-0123456789abcdef.draft"
LEFT = (DRAFT, f"{DRAFT}.wal", f"{DRAFT}-wal", f"{DRAFT}-shm")  # by a process that was killed
OTHERS = (".x.swp", f"{DRAFT}.bak", f"a{DRAFT}", ".indelible-.draft")


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_draft_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with written_atomically(path) as draft:
        draft.write_text("new")
        draft.with_name(f"{draft.name}.tmp").mkdir()  # as DuckDB has one for what is too large
        assert not path.exists()
        assert draft.parent == tmp_path
    assert path.read_text() == "new"
    assert names(tmp_path) == {"x"}
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_was_there_stays_where_something_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    with suppress(ZeroDivisionError), written_atomically(path) as draft:
        draft.write_text("half")
        draft.with_name(f"{draft.name}.wal").write_text("")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert names(tmp_path) == {"x"}


def test_old_drafts_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    young = [name.replace("0", "f") for name in LEFT]
    for name in (*LEFT, *OTHERS, *young):
        (tmp_path / name).write_text("")
    (tmp_path / f"{DRAFT}.tmp").mkdir()
    (tmp_path / f"{DRAFT}.tmp" / "duckdb_temp_storage_DEFAULT-0.tmp").write_text("")
    then = time.time() - OLD - 60
    for name in (*LEFT, *OTHERS, f"{DRAFT}.tmp"):
        os.utime(tmp_path / name, (then, then))
    with written_atomically(tmp_path / "x") as draft:
        draft.write_text("")
    assert names(tmp_path) == {"x", *OTHERS, *young}


@pytest.mark.parametrize(
    ("name", "said"), [("x" * 300, "File name too long"), ("file/x", "Not a directory")]
)
def test_a_place_where_no_file_can_be_is_one_line(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=said), written_atomically(tmp_path / name) as draft:
        draft.write_text("")
    assert names(tmp_path) == {"file"}
