"""Open the MLflow UI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

import click

from tracker.cli._completing import runs_completed
from tracker.cli._session import PORT, Session, pass_session, say
from unlearning.errors import Failure
from unlearning.naming import LATEST

PATIENCE = 60  # seconds that the server may take to start
SERVER = str(Path(__file__).with_name("_served.py"))
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
    # The server ends with this process, also where it is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (
        TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603 - fixed words
            [sys.executable, "-P", SERVER, str(port)],
            stdout=2 if session.verbose else log,  # what it says is a log, not data
            stderr=2 if session.verbose else log,
            start_new_session=True,
            env=_environment(session),
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
            server.terminate()
        if code:
            log.seek(0)
            lines = session.hidden(log.read().decode(errors="replace")).splitlines()[-LAST:]
            said = "".join(f"\n  {line}" for line in lines)
            raise Failure(f"the MLflow server on port {port} ended with code {code}{said}")


def _environment(session: Session) -> dict[str, str]:
    """The variables in which MLflow's server looks for its store, as `mlflow server` sets them.

    Everybody on this machine sees the command line, and a URI may hold a password.
    """
    from tracker.access.artifacts import FOLDER

    artifacts = (session.folder.absolute() / FOLDER).as_uri()
    store = {"_MLFLOW_SERVER_FILE_STORE": session.address.uri}
    return os.environ | store | {"_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts}


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
