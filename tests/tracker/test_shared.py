"""A database of another MLflow is nobody's to migrate, and no message says a password."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.postgres import why_not
from tests.tracker.conftest import Answer, Done, Indelible, own_copy
from tracker.store.addresses import without_password

needs_postgres = pytest.mark.skipif(bool(why_not()), reason=why_not())
WRITING = (
    ("train", "--epochs", 1),
    ("sweep", "--algorithm", "ga"),
    ("predict", "--algorithm", "ga"),
    ("ui",),
)
READING = (("load",), ("check",), ("models",))


def one_line(answer: Answer, *words: str) -> None:
    assert answer.code == 2, answer
    assert answer.out == ""
    (line,) = answer.err.splitlines()
    for word in words:
        assert word in line


@pytest.fixture
def copy(done: Done, tmp_path: Path) -> Path:
    return own_copy(done.folder, tmp_path / "copy")


def everything(database: Path) -> str:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return "\n".join(connection.iterdump())


@pytest.mark.parametrize("revision", ["5b0e9adcef9c", "f4a9b2c7d1e6"])  # an older, a newer
@pytest.mark.parametrize("embedded", [True, False])
def test_a_database_of_another_mlflow_is_refused_and_not_migrated(
    copy: Path, indelible: Indelible, revision: str, embedded: bool
) -> None:
    database = copy / "mlflow.db"
    to: tuple[object, ...] = ()
    if not embedded:
        database = copy / "theirs.db"
        with (
            closing(sqlite3.connect(copy / "mlflow.db")) as own,
            closing(sqlite3.connect(database)) as theirs,
        ):
            own.backup(theirs)
        to = ("--tracking-uri", f"sqlite:///{database}")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("update alembic_version set version_num = ?", [revision])
    before = everything(database)
    for command in WRITING:
        answer = indelible(copy, *to, *command)
        one_line(answer, revision, f"mlflow db upgrade sqlite:///{database}", "install that MLflow")
    for command in READING:
        answer = indelible(copy, *to, *command)
        assert answer.code == 0, answer.err
    assert everything(database) == before


@pytest.mark.parametrize(
    "text",
    [
        "no user at postgresql://me:p%40ss@h/x, nor postgresql://me:p@ss@h/x",
        "postgresql://h/x?password=p%40ss&a=b and http://h/?token=p@ss",
        "404 Client Error for url: http://me:p@ss@h:5000/api",
    ],
)
def test_no_message_says_a_password(text: str) -> None:
    said = without_password(text)
    assert "ss@" not in said
    assert "p%40ss" not in said
    assert "p@ss" not in said
    assert "***" in said
