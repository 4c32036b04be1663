"""A PostgreSQL server of one's own on a loopback port, where Debian's binaries are there."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
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
    if find_spec("psycopg") is None or find_spec("adbc_driver_postgresql") is None:
        return "needs the extra 'postgres'"
    return ""


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A fresh server with its data in the folder; the URI of its database."""
    binaries = _binaries()
    assert binaries
    port = free_port()
    folder.mkdir(parents=True)
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        account = pwd.getpwnam("postgres")
        who = {"user": account.pw_uid, "group": account.pw_gid}
        os.chown(folder, account.pw_uid, account.pw_gid)
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
        subprocess.run([*control, "-m", "fast", "stop"], **quiet)
