"""`indelible demo` in a cold process and an empty store, and once more with the work done."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(folder: Path, *arguments: str) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one command."""
    command = [sys.executable, "-m", "indelible", "--store", str(folder), *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(arguments)} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            for state in ("empty store", "work done"):
                seconds, memory = run(Path(folder) / "store", "demo")
                print(f"{state:12} {seconds:5.1f} s, {memory:5.0f} MB at its peak", flush=True)
