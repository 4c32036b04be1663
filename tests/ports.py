"""Ports for servers that tests start."""

from __future__ import annotations

import socket
import time
import urllib.request
from contextlib import suppress


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for_server(address: str) -> None:
    """Until an MLflow server answers, or five minutes are over."""
    for _ in range(600):
        with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.5)
