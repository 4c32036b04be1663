"""A PostgreSQL server of one's own on a loopback port, where Debian's binaries are there."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.ports import free_port


def _binaries() -> Path | None:
    for folder in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def why_not() -> str:
    """Why no server can be started here; empty if one can."""
    if _binaries() is None:
        return "needs PostgreSQL's server (initdb, pg_ctl)"
    if find_spec("psycopg") is None:
        return "needs the extra 'postgres'"
    return ""


def _who() -> dict[str, Any]:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid}


def restart(folder: Path, pause_s: float) -> None:
    """Kill a server with data in the folder, and start it again after a while."""
    binaries = _binaries()
    assert binaries
    control = [str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    quiet: dict[str, Any] = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL, **_who()}
    options = (folder / "data" / "postmaster.opts").read_text().split(maxsplit=1)[1]
    subprocess.run([*control, "-t", "300", "-m", "immediate", "stop"], **quiet)
    time.sleep(pause_s)
    options = options.replace(f'"-D" "{folder / "data"}"', "").replace('"', "").strip()
    subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], **quiet)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A fresh server with its data in the folder; the URI of its database."""
    binaries = _binaries()
    assert binaries
    port = free_port()
    folder.mkdir(parents=True)
    who = _who()
    if who:
        os.chown(folder, who["user"], who["group"])
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    data, log = folder / "data", folder / "log"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    quiet: dict[str, Any] = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL, **who}
    subprocess.run(
        [str(binaries / "initdb"), "-D", str(data), "-U", "indelible", "-A", "trust"], **quiet
    )
    control = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run([*control, "-l", str(log), "-o", options, "start"], **quiet)
    try:
        yield f"postgresql+psycopg://indelible@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-t", "300", "-m", "fast", "stop"], **quiet)
