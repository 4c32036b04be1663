"""`indelible demo` in a cold process and an empty store, and once more with the work done."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS, DEMO = 3, ("demo",)
SMALLEST = {"ROUNDS": 1, "DEMO": ("demo", "--samples", "1")}
MEASURED = """
import resource, subprocess, sys, time
start = time.perf_counter()
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(ended.returncode)
"""


def run(folder: Path, *arguments: str) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one command."""
    command = [sys.executable, "-m", "indelible", "--store", str(folder), *arguments]
    # A process that is started counts the memory of the one that starts it, so that is a small one.
    asked = [sys.executable, "-S", "-c", MEASURED, *command]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(f"{' '.join(arguments)} failed: {answer.stderr}")
    seconds, kilobytes = answer.stdout.split()
    return float(seconds), float(kilobytes) / 1024


def main() -> None:
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            for state in ("empty store", "work done"):
                seconds, memory = run(Path(folder) / "store", *DEMO)
                print(f"{state:12} {seconds:5.1f} s, {memory:5.0f} MB at its peak", flush=True)
