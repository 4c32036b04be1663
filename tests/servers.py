"""MLflow's server, as tests start it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.forked import Forked
from tests.ports import free_port, wait_for_server


@contextmanager
def mlflow_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """Its address; with a SQLite file, and the artifacts that it serves, in a folder."""
    port = port or free_port()
    words: tuple[object, ...] = ("--host", "127.0.0.1", "--port", port, "--workers", 1)
    words += ("--backend-store-uri", f"sqlite:///{folder / 'server.db'}")
    words += ("--artifacts-destination", folder / "served")
    process = Forked("server", *words, program="mlflow", cwd=folder)
    try:
        wait_for_server(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
