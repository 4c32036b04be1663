"""The address of an MLflow store: its tracking URI, which is printed without its password."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from unlearning.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import URL

DATABASE = "mlflow.db"  # of an embedded store, in its folder
PLAIN, PSYCOPG = "postgresql://", "postgresql+psycopg://"  # SQLAlchemy's driver, and the extra's
ACCEPTED = "it takes sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE or http://HOST:PORT"

CREDENTIALS = re.compile(r"(?<=://)([^:/@\s]*):(\S*)@")  # as SQLAlchemy reads a URL
SECRETS = re.compile(r"([?&][^=&\s]*(?:password|token|secret)[^=&\s]*=)[^&\s]*", re.IGNORECASE)
NO_PATH = re.compile(r"[?\ud800-\udfff]")  # DuckDB stops at the first, SQLite takes no other

# Options for libpq, PostgreSQL's client library: how it notices that a host went away.
KEEPALIVE = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}


@dataclass(frozen=True)
class Address:
    """A tracking URI, taken apart.

    Attributes:
        given: the URI that was given; None for the embedded store. A server's has name and
            password. shown: as it may be printed, without a password.
        folder: of the store, where artifacts of a database and the warehouse are.
    """

    given: str | None
    shown: str
    folder: Path

    @classmethod
    def of(cls, folder: Path, tracking_uri: str | None = None) -> Address:
        """The address of a store; the embedded one of the folder where no URI is given.

        Raises UserError for a URI of another kind, and for a folder that can be no store.
        """
        folder = folder.absolute()
        if NO_PATH.search(str(folder)):
            raise UserError(
                f"the store is to be in '{folder}': a database is not found where a folder has a "
                "question mark, or what is not UTF-8, in its name: name another folder"
            )
        if not tracking_uri:
            return cls(None, str(folder / DATABASE), folder)
        shown = without_password(tracking_uri)
        address = cls(tracking_uri.replace(PLAIN, PSYCOPG, 1), shown, folder)
        if address.is_server:
            return replace(address, given=_server_uri(tracking_uri, shown))
        if address.dialect not in ("sqlite", "postgresql") or "://" not in tracking_uri:
            raise UserError(f"the tracking URI is '{shown}': {ACCEPTED}")
        if address.dialect == "sqlite" and not tracking_uri.partition(":///")[2]:
            raise UserError(f"the tracking URI is '{shown}', which names no file: {ACCEPTED}")
        return address

    @property
    def uri(self) -> str:
        """As MLflow takes it."""
        return self.given or sqlite_uri(self.folder / DATABASE)

    @property
    def is_server(self) -> bool:
        """Whether it is an MLflow server's, which has the artifacts too."""
        return (self.given or "").startswith(("http://", "https://"))

    @property
    def dialect(self) -> str:
        """Of a database: sqlite or postgresql."""
        return (self.given or "sqlite").partition(":")[0].partition("+")[0]

    @property
    def file(self) -> Path | None:
        """The database, where it is a file."""
        if self.given is None:
            return self.folder / DATABASE
        if self.dialect != "sqlite":
            return None
        return Path(_url(self.given).database or "").absolute()

    @property
    def is_embedded(self) -> bool:
        """Whether it is the database in the store's own folder, perhaps by another path to it."""
        return self.file is not None and is_same_file(self.file, self.folder / DATABASE)

    @property
    def is_read_only(self) -> bool:
        """Whether the database is a file in a folder that cannot be written."""
        return self.file is not None and not os.access(self.file.parent, os.W_OK)

    def with_timeouts(self, seconds: float) -> Address:
        """The same, with a driver that gives up on a silent host after a while."""
        if self.dialect != "postgresql":
            return self
        url, options = _url(self.uri), {"connect_timeout": f"{max(2, round(seconds))}"}
        url = url.update_query_dict({**options, **KEEPALIVE, **url.query})
        return replace(self, given=url.render_as_string(hide_password=False))


def without_password(text: str) -> str:
    """A text, such as a URI, as it may be printed."""
    return SECRETS.sub(r"\1***", CREDENTIALS.sub(r"\1:***@", text))


def without_credentials(uri: str) -> str:
    """A server's URI for a browser, without name and password."""
    return re.sub(r"(?<=://)\S*@", "", uri)


def sqlite_uri(file: Path) -> str:
    """The URI that SQLAlchemy reads as this path; MLflow makes folders where no driver is named."""
    return _url("sqlite+pysqlite://").set(database=str(file)).render_as_string()


def _url(uri: str) -> URL:
    from sqlalchemy import make_url

    return make_url(uri)


def _server_uri(uri: str, shown: str) -> str:
    """A server's URI. Raises UserError for one with no host, or with more than a path."""
    parts = urlsplit(uri)
    with suppress(ValueError):
        if parts.hostname and parts.port != 0 and not parts.query:
            return uri.rstrip("/")
    raise UserError(
        f"the tracking URI is '{shown}', which names no host and port, or has more than a path: "
        "nothing after '?' is taken, and a token goes into MLFLOW_TRACKING_TOKEN"
    )


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both names are of one file or folder; of one that is not there, if they are equal."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))
