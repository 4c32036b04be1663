"""A server that asks for passwords, over PostgreSQL and S3: what is said of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests import team as services
from tests.ports import free_port, wait_for_server
from tests.team import PASSWORD, Team, team

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.skipif(bool(services.why_not()), reason=services.why_not()),
]


@pytest.fixture(scope="module")
def running() -> Iterator[Team]:
    # Another pytest that starts meanwhile closes the folder of all to PostgreSQL's user.
    with tempfile.TemporaryDirectory() as folder, team(Path(folder) / "team") as running:
        yield running


def started(*arguments: object, **named: Any) -> subprocess.Popen[str]:
    """A command in a process that has its command line."""
    words = [sys.executable, "-m", "indelible", *map(str, arguments)]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **named
    )


def secrets() -> set[str]:
    return {PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD)}


def command_lines() -> str:
    """The command lines of all processes."""
    return subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True).stdout


def test_work_on_the_teams_store_says_no_password(running: Team, tmp_path: Path) -> None:
    mine, seen, said = tmp_path / "mine", "", ""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": running.uri}
    commands = ("train --epochs 2", "sweep --algorithm ga --samples 4", "report --log")
    for command in commands:
        process = started("--store", mine, "--verbose", *command.split(), env=environment)
        while process.poll() is None:
            seen += command_lines()
            time.sleep(0.5)
        said += "".join(process.communicate(timeout=300))
        assert process.returncode == 0, said
    written = b"".join(path.read_bytes() for path in mine.rglob("*") if path.is_file())
    import psycopg

    with psycopg.connect(running.database_uri.replace("+psycopg", "")) as connection:
        tables = ("params", "tags", "experiment_tags", "datasets", "runs", "inputs")
        rows = [str(connection.execute(f"select * from {t}").fetchall()) for t in tables]
    for secret in secrets():
        assert secret not in said + seen
        assert secret.encode() not in written
        assert not any(secret in row for row in rows)


def test_the_ui_of_a_database_shows_its_password_to_nobody(running: Team, tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": running.database_uri}
    process = started("--store", tmp_path, "ui", "--port", port, env=environment)
    try:
        wait_for_server(f"http://127.0.0.1:{port}")
        lines = command_lines()
        assert " ui " in lines
        assert not any(secret in lines for secret in secrets())
    finally:
        process.terminate()
        out, said = process.communicate(timeout=300)
    assert not any(secret in out + said for secret in secrets())
