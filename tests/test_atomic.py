"""Files that are whole or absent."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from analysis.atomic import OLD, written_atomically
from unlearning.errors import UserError

OURS = ".indelible-0123456789abcdef.draft"


def aged(path: Path, seconds: float = OLD + 60) -> Path:
    """The file as if it had been written a while ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_a_draft_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with written_atomically(path) as draft:
        draft.write_text("new")
        assert not path.exists()
        assert draft.parent == tmp_path
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_was_there_stays_where_something_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def fail(draft: Path) -> None:
        draft.write_text("half")
        draft.with_name(f"{draft.name}.wal").write_text("")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), written_atomically(path) as draft:
        fail(draft)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_duckdb_keeps_on_the_disk_beside_a_draft_goes_with_it(tmp_path: Path) -> None:
    left = tmp_path / f"{OURS}.tmp"
    left.mkdir()
    (left / "duckdb_temp_storage_DEFAULT-0.tmp").write_text("")
    os.utime(left, (time.time() - OLD - 60,) * 2)
    with written_atomically(tmp_path / "x") as draft:
        own = draft.with_name(f"{draft.name}.tmp")
        own.mkdir()
        (own / "duckdb_temp_storage_DEFAULT-0.tmp").write_text("")
        draft.write_text("")
    assert {file.name for file in tmp_path.iterdir()} == {"x"}


@pytest.mark.parametrize("name", [OURS, f"{OURS}.wal", f"{OURS}-wal", f"{OURS}-shm"])
def test_old_drafts_of_killed_processes_are_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    (tmp_path / name.replace("0", "f")).write_text("")
    aged(tmp_path / name)
    with written_atomically(tmp_path / "x") as draft:
        draft.write_text("")
    assert {file.name for file in tmp_path.iterdir()} == {"x", name.replace("0", "f")}


@pytest.mark.parametrize(
    "name",
    [
        ".x.swp",
        ".x.123",
        ".x.",
        ".indelible-.draft",
        ".indelible-0123456789ABCDEF.draft",
        f"{OURS}.bak",
        f"a{OURS}",
    ],
)
def test_files_of_others_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    aged(tmp_path / name)
    with written_atomically(tmp_path / "x") as draft:
        draft.write_text("")
    assert {file.name for file in tmp_path.iterdir()} == {"x", name}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 300, "File name too long"),
        ("absent/x", "No such file"),
        ("file/x", "Not a directory"),
    ],
)
def test_a_place_where_no_file_can_be_is_one_line(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=said), written_atomically(tmp_path / name) as draft:
        draft.write_text("")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
