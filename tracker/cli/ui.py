"""Open the MLflow UI."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from tracker.cli._completing import runs_completed
from tracker.cli._session import PORT, Session, pass_session, say
from unlearning.errors import Failure
from unlearning.naming import LATEST

if TYPE_CHECKING:
    from flask import Flask

HERE = ("127.0.0.1", "localhost")


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
    from tracker.store import views
    from tracker.store.records import Kind

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

    Raises Failure where the port is taken.
    """
    try:
        listening = socket.create_server((HERE[0], port))
    except OSError as error:
        raise Failure(f"port {port} cannot be listened on: {error.strerror}") from error
    address = f"http://{HERE[0]}:{port}"
    _show(address, pages)
    say("the server is starting ...")
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.INFO if session.verbose else logging.ERROR)
    server = make_server(HERE[0], port, _app(session), threaded=True, fd=listening.fileno())
    say("it is ready; Ctrl-C ends it")
    _open(address, pages)
    server.serve_forever()


def _app(session: Session) -> Flask:
    """MLflow's server of the store, without a proxy for artifacts, and for its own pages only.

    MLflow lets pages of every server on this machine write, and experiments name any folder.
    """
    from tracker.store.files import FOLDER

    os.environ["_MLFLOW_SERVER_FILE_STORE"] = session.address.uri  # as `mlflow server` sets them
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = (session.folder.absolute() / FOLDER).as_uri()
    from flask import abort, request
    from mlflow.server import app

    @app.before_request
    def only_own_pages() -> None:
        own = f"http://{request.host}"  # with any port: a tunnel may lead here
        if request.host.partition(":")[0] not in HERE or request.headers.get("Origin", own) != own:
            abort(403, "only pages of this server may use it")
        if request.path.endswith("/experiments/create"):
            abort(403, "experiments are created by indelible, not by its UI")

    return app


def _show(address: str, pages: Mapping[str, str]) -> None:
    """Print links to pages, and what is there."""
    for page, what in pages.items():
        say(f"{what}:")
        click.echo(f"{address}/{page}")


def _open(address: str, pages: Mapping[str, str]) -> None:
    """Open the first of some pages in a browser, if this is a terminal."""
    if sys.stdout.isatty():
        click.launch(f"{address}/{next(iter(pages))}")
