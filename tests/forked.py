"""Commands in processes of their own, forked from one that has imported everything.

Imports take some seconds of a core, longer than most of these processes live. They share nothing
else: streams, folder, environment, signals and how they end are their own, as those of
`python -m indelible`. That one is started where the command line of a process, what it imports, or
the start and the end of its interpreter matter.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import chdir, suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.preloaded"])
ROOT = Path(__file__).parent.parent


def process(target: Callable[..., None], *given: Any) -> ForkServerProcess:
    """A process that calls a function, started; it ends with this one at the latest."""
    with chdir(ROOT):  # where it finds what it imports, whatever a test has changed to
        forkserver.ensure_running()
    started = FORKS.Process(target=target, args=given, daemon=True)
    started.start()
    return started


class Forked:
    """A command in such a process, with what tests ask of a `subprocess.Popen`.

    Its output goes to files, so that it never waits for a reader.

    Args:
        program: indelible, or mlflow.
    """

    def __init__(
        self,
        *words: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        program: str = "indelible",
    ) -> None:
        self.args = [program, *map(str, words)]
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 - while it runs
        streams = [_Descriptor(file.fileno()) for file in self._files]
        environment = dict(os.environ if env is None else env)
        here = cwd or Path.cwd()
        self._process = process(_become, self.args, here, environment, streams)

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, as `subprocess` says it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended. Raises TimeoutExpired if it has not by then."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it said on stdout and on stderr until it ended. Raises as `wait` does."""
        self.wait(timeout)
        out, err = (os.pread(file.fileno(), 1 << 30, 0).decode() for file in self._files)
        return out, err

    def kill(self) -> None:
        """End it and all that it has started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)


def run(*words: object, **named: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in such a process."""
    forked = Forked(*words, **named)
    out, err = forked.communicate()
    return subprocess.CompletedProcess(forked.args, forked.wait(), out, err)


def succeed(*words: object) -> None:
    """Run a command in such a process, and see that it succeeds."""
    assert (done := run(*words)).returncode == 0, done.stderr


class _Descriptor:
    """A file's descriptor, which is another number in the process that it is given to."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.number),)


def _received(sent: Any) -> int:
    number: int = sent.detach()
    return number


def _become(words: list[str], cwd: Path, environment: dict[str, str], streams: list[int]) -> None:
    os.setsid()
    for stream, number in enumerate(streams, start=1):
        os.dup2(number, stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    asked = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [str(cwd), *filter(None, asked)]
    sys.argv = words
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if words[0] == "mlflow":
        from mlflow.cli import cli as main
    else:
        from tracker.cli import main  # type: ignore[assignment]
    main()
