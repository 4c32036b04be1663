"""The MLflow UI."""

from __future__ import annotations

import os
import sys

import click

from indelible.tracker.cli._session import Session, pass_session


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@pass_session
def command(session: Session, port: int) -> None:
    """Open this store in the MLflow UI, on 127.0.0.1 only.

    \b
    Example:
      indelible ui --port 5001
    """
    if session.tracking_uri and session.tracking_uri.startswith("http"):
        click.echo(f"the store is a server with a UI of its own: {session.tracking_uri}", err=True)
        return
    with session.store() as store:
        uri = store.uri
    click.echo(f"http://127.0.0.1:{port} (Ctrl-C ends it)", err=True)
    arguments = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    arguments += ["--default-artifact-root", (session.folder.absolute() / "artifacts").as_uri()]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    sys.stderr.flush()
    os.execv(sys.executable, arguments)  # noqa: S606 - no shell, fixed words
