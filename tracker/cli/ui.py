"""Open the MLflow UI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import click

from tracker.cli._completing import runs_completed
from tracker.cli._session import PORT, Session, pass_session
from unlearning.errors import Failure
from unlearning.naming import LATEST

PATIENCE = 60  # seconds that the server may take to start


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

    With --sweep the link is printed, and opened in a browser if this is a terminal.

    \b
    Example:
      indelible ui --sweep latest
    """
    page = ""
    with session.reader() as reader, session.store() as store:
        if sweep is not None:
            from tracker.reading import listing
            from tracker.record import views

            run = listing.find_sweep(reader, sweep)
            views.add(store, run.experiment_id, run.run_id)
            page = views.link(run.experiment_id, run.run_id)
    if not session.address.is_server:
        _serve(session, port, page)
        return
    click.echo(f"the store is a server with a UI of its own: {session.ui}", err=True)
    if page:
        _open(f"{session.ui}/{page}")


def _serve(session: Session, port: int, page: str) -> None:
    """Run MLflow's server until it is stopped, and open a page of it if one is given.

    Raises Failure where the server ends by itself.
    """
    address = f"http://127.0.0.1:{port}"
    click.echo(f"{address} (Ctrl-C ends it)", err=True)
    # Everybody on this machine sees the command line, and a URI may hold a password.
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": session.address.uri}
    # It starts processes of its own: all of them end with this one, also where it is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with subprocess.Popen(  # noqa: S603 - fixed words
        _arguments(session, port),
        stdout=2,  # what it says there is a log, not data
        start_new_session=True,
        env=environment,
    ) as server:
        try:
            if page:
                _wait(server, address)
                _open(f"{address}/{page}")
            code = server.wait()
        except KeyboardInterrupt:
            code = 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
    if code:
        raise Failure(f"the MLflow server on port {port} ended with code {code}")


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


def _open(link: str) -> None:
    click.echo(link)
    if sys.stdout.isatty():
        click.launch(link)
