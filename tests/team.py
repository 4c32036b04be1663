"""A store as a team has it: PostgreSQL, S3 (moto's) and an MLflow server that asks for passwords.

`python -m tests.team` starts all three, prints the URI and the command to begin with, and stays
until Ctrl-C. It needs PostgreSQL's server, and of Python `moto[server,s3]` and `mlflow[auth]`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.ports import free_port, wait_for_server
from tests.postgres import server as postgres
from tests.postgres import why_not as why_no_postgres

USER, PASSWORD = "admin", "pass:w/rd@a-team"
BUCKET = "artifacts"
KEYS = {
    "AWS_ACCESS_KEY_ID": "a-key",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Else boto waits for a minute and more before the server says that S3 is away.
    "AWS_MAX_ATTEMPTS": "1",
}
AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = {user}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def why_not() -> str:
    """Why nothing of it can be started here; empty if it can."""
    for module in ("moto", "boto3", "flask_wtf"):
        if find_spec(module) is None:
            return "needs moto[server,s3] and mlflow[auth]"
    return why_no_postgres()


@dataclass
class Service:
    """A program that runs until it is stopped."""

    command: list[str]
    folder: Path
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Service]:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | self.environment
        how: dict[str, Any] = {"cwd": self.folder, "env": environment, "start_new_session": True}
        with (self.folder / f"{self.port}.log").open("ab") as log:
            process = subprocess.Popen(self.command, stdout=log, stderr=log, **how)
        try:
            yield self
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def s3(folder: Path) -> Service:
    """Moto's server; what it holds is gone when it ends."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    return Service(command, folder, port, KEYS)


def make_bucket(endpoint: str) -> None:
    import boto3  # type: ignore[import-untyped]

    _wait_for_port(endpoint)
    named = {name.lower(): KEYS[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **named).create_bucket(
        Bucket=BUCKET
    )


def mlflow_server(folder: Path, database: str, artifacts: str, endpoint: str = "") -> Service:
    """An MLflow server whose users have passwords, over a database and an artifact root."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "auth.ini").write_text(AUTH.format(folder=folder, user=USER), "utf-8")
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", artifacts]
    environment = {
        **KEYS,
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-secret-key",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **({"MLFLOW_S3_ENDPOINT_URL": endpoint} if endpoint else {}),
    }
    return Service(command, folder, port, environment)


@dataclass(frozen=True)
class Team:
    """What is running: the URIs, with passwords, of the server and of its database."""

    uri: str
    database_uri: str


@contextmanager
def team(folder: Path) -> Iterator[Team]:
    """A store as a team has it, with its data in the folder; stopped in the end."""
    with ExitStack() as stack:
        database_uri = stack.enter_context(postgres(folder / "postgres"))
        database_uri = database_uri.replace("indelible@", f"indelible:{quote(PASSWORD, safe='')}@")
        storage = stack.enter_context(s3(folder / "s3").running())
        make_bucket(storage.uri)
        served = mlflow_server(folder / "mlflow", database_uri, f"s3://{BUCKET}", storage.uri)
        stack.enter_context(served.running())
        wait_for_server(served.uri)
        uri = served.uri.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
        yield Team(uri, database_uri)


def _wait_for_port(address: str) -> None:
    host, _, port = address.rpartition("/")[2].partition(":")
    until = time.monotonic() + 300
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.1)


def main() -> None:
    if said := why_not():
        sys.exit(said)
    with tempfile.TemporaryDirectory() as folder, team(Path(folder)) as running:
        print(f"MLFLOW_TRACKING_URI={running.uri}", flush=True)
        print("Try: indelible --store team demo   Ctrl-C ends it.", file=sys.stderr)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
