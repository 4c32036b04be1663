"""Open the MLflow UI."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress

import click
from flask import Flask, abort, request
from mlflow.server import app, handlers
from werkzeug.serving import make_server

from tracker.cli._output import Session, say
from tracker.commands.ask import Ui
from tracker.reading import listing
from tracker.store import views
from tracker.store.files import FOLDER
from tracker.store.records import Kind
from tracker.sweep.plan import STUDY
from unlearning.errors import Failure
from unlearning.naming import LATEST

HERE = ("127.0.0.1", "localhost")


def run(session: Session, asked: Ui) -> None:
    """Print links into the UI, and serve it if the store is no server itself, until Ctrl-C."""
    pages = {views.EXPERIMENTS: "all experiments"}
    with session.reader() as reader, session.store() as store:
        sweeps = [run for run in reader.of_kind(Kind.SWEEP) if STUDY not in run.tags]
        if asked.sweep != LATEST or sweeps:
            run = listing.find_sweep(reader, asked.sweep)
            views.add(store, run.experiment_id, run.run_id)
            members = views.link(run.experiment_id, run.run_id)
            pages = {
                members: f"child runs of {run.name}, the hardest first",
                views.link(run.experiment_id, views.OVERVIEW): "sweeps and base models",
            }
    if session.address.is_server:
        say(f"the store is a server with a UI of its own: {session.ui}")
        _show(session.ui, pages)
        return
    try:
        listening = socket.create_server((HERE[0], asked.port))
    except OSError as error:
        raise Failure(f"port {asked.port} cannot be listened on: {error.strerror}") from error
    say("the server is starting; Ctrl-C ends it")
    logging.getLogger("werkzeug").setLevel(logging.INFO if session.verbose else logging.ERROR)
    served = _app(session)
    server = make_server(HERE[0], asked.port, served, threaded=True, fd=listening.fileno())
    _show(f"http://{HERE[0]}:{asked.port}", pages)
    server.serve_forever()


def _app(session: Session) -> Flask:
    """MLflow's server of the store, without a proxy for artifacts, and for its own pages only.

    MLflow lets pages of every server on this machine write, and experiments name any folder. Its
    stores are put in their places: it would take the address, which may hold a password, from the
    environment, where every child process finds it.
    """
    with suppress(ImportError):  # of MLflow before 3.5, which has none
        from mlflow.server.security import init_security_middleware

        init_security_middleware(app)
    uri, artifacts = session.address.uri, (session.folder.absolute() / FOLDER).as_uri()
    handlers._tracking_store = handlers._tracking_store_registry.get_store(uri, artifacts)
    handlers._model_registry_store = handlers._model_registry_store_registry.get_store(uri)

    @app.before_request
    def only_own_pages() -> None:
        own = f"http://{request.host}"  # with any port: a tunnel may lead here
        if request.host.partition(":")[0] not in HERE or request.headers.get("Origin", own) != own:
            abort(403, "only pages of this server may use it")
        if request.path.endswith("/experiments/create"):
            abort(403, "experiments are created by indelible, not by its UI")

    return app


def _show(address: str, pages: Mapping[str, str]) -> None:
    """Print links to pages, and what is there; open the first if this is a terminal."""
    for page, what in pages.items():
        say(f"{what}:")
        click.echo(f"{address}/{page}")
    if sys.stdout.isatty():
        click.launch(f"{address}/{next(iter(pages))}")
