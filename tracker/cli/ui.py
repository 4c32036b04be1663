"""Open the MLflow UI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from tempfile import TemporaryFile

import click

from tracker.cli._completing import runs_completed
from tracker.cli._session import PORT, Session, pass_session, say
from unlearning.errors import Failure
from unlearning.naming import LATEST

PATIENCE = 60  # seconds that the server may take to start
# MLflow's server has workers for jobs on language models: nothing of ours needs them.
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
LAST = 5  # lines of what the server said that are shown where it ends by itself


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
@click.option(
    "--sweep",
    metavar="SWEEP",
    shell_complete=runs_completed("sweep", LATEST),
    help="Open at the child runs of this sweep, the hardest first.",
)
@pass_session
def command(session: Session, port: int, sweep: str | None) -> None:
    """Open this store in the MLflow UI, on 127.0.0.1 only.

    Two links are printed: to the child runs of a sweep, the newest if none is named, from where
    one click leads to all values of each; and to the sweeps and base models. The first is opened in
    a browser if this is a terminal. What MLflow's server says is shown with --verbose.

    \b
    Example:
      indelible ui --sweep latest
    """
    pages = _pages(session, sweep)
    if session.address.is_server:
        say(f"the store is a server with a UI of its own: {session.ui}")
        _show(session.ui, pages)
        _open(session.ui, pages)
        return
    _serve(session, port, pages)


def _pages(session: Session, sweep: str | None) -> dict[str, str]:
    """Where to go, after the UI's address, and what is there; tables are made that are not yet."""
    from tracker.reading import listing
    from tracker.record import views
    from tracker.record.records import Kind

    with session.reader() as reader, session.store() as store:
        if sweep is None and not reader.of_kind(Kind.SWEEP):
            return {views.EXPERIMENTS: "all experiments"}
        run = listing.find_sweep(reader, sweep or "latest")
        views.add(store, run.experiment_id, run.run_id)
    return {
        views.link(run.experiment_id, run.run_id): f"child runs of {run.name}, the hardest first",
        views.link(run.experiment_id, views.OVERVIEW): "sweeps and base models",
    }


def _serve(session: Session, port: int, pages: Mapping[str, str]) -> None:
    """Run MLflow's server until it is stopped, and show pages of it.

    Raises Failure where the server ends by itself.
    """
    address = f"http://127.0.0.1:{port}"
    _show(address, pages)
    # Everybody on this machine sees the command line, and a URI may hold a password.
    environment = NO_JOBS | os.environ | {"MLFLOW_BACKEND_STORE_URI": session.address.uri}
    # It starts processes of its own: all of them end with this one, also where it is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (
        TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603 - fixed words
            _arguments(session, port),
            stdout=2 if session.verbose else log,  # what it says is a log, not data
            stderr=2 if session.verbose else log,
            start_new_session=True,
            env=environment,
        ) as server,
    ):
        try:
            say("the server is starting ...")
            _wait(server, address)
            if server.poll() is None:
                say("it is ready; Ctrl-C ends it")
                _open(address, pages)
            code = server.wait()
        except KeyboardInterrupt:
            code = 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
        if code:
            log.seek(0)
            lines = session.address.hidden(log.read().decode(errors="replace")).splitlines()[-LAST:]
            said = "".join(f"\n  {line}" for line in lines)
            raise Failure(f"the MLflow server on port {port} ended with code {code}{said}")


def _arguments(session: Session, port: int) -> list[str]:
    from tracker.access.artifacts import FOLDER

    artifacts = (session.folder.absolute() / FOLDER).as_uri()
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--default-artifact-root", artifacts),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    """Until the server answers, or has ended."""
    until = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):  # noqa: S310 - http
                return
        except OSError:
            time.sleep(0.2)


def _show(address: str, pages: Mapping[str, str]) -> None:
    """Print links to pages, and what is there."""
    for page, what in pages.items():
        say(f"{what}:")
        click.echo(f"{address}/{page}")


def _open(address: str, pages: Mapping[str, str]) -> None:
    """Open the first of some pages in a browser, if this is a terminal."""
    if sys.stdout.isatty():
        click.launch(f"{address}/{next(iter(pages))}")
