"""MLflow's server of one store, as `indelible ui` runs it: for its own pages only.

MLflow lets the pages of every other server of this machine change runs, and whoever creates an
experiment name any folder for its files.
"""

from __future__ import annotations

import sys

from flask import Flask, abort, request
from werkzeug.serving import make_server

HERE = ("127.0.0.1", "localhost")  # with any port: it may be another one's at the end of a tunnel


def served() -> Flask:
    """MLflow's application on the store that the environment names."""
    from mlflow.server import app

    @app.before_request
    def only_own_pages() -> None:
        own = f"http://{request.host}"
        if request.host.partition(":")[0] not in HERE or request.headers.get("Origin", own) != own:
            abort(403, "only pages of this server may use it")
        if request.path.endswith("/experiments/create"):
            abort(403, "experiments are created by indelible, not by its UI")

    return app


if __name__ == "__main__":
    make_server(HERE[0], int(sys.argv[1]), served(), threaded=True).serve_forever()
