"""The address of an MLflow store: its tracking URI, which is printed without its password."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from unlearning.errors import UserError

DATABASE = "mlflow.db"  # of an embedded store, in its folder
DIALECTS = ("sqlite", "postgresql", "mysql", "mssql")
ACCEPTED = "it takes sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE or http://HOST:PORT"

IN_BULK = "it takes sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"

CREDENTIALS = re.compile(r"(?<=://)([^:/@]*):(.*)@")  # as SQLAlchemy reads a URL
SECRETS = re.compile(r"([?&][^=&]*(?:password|token|secret)[^=&]*=)[^&]*", re.IGNORECASE)

# Where MLflow looks for what a server asks for.
OF_A_SERVER = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")

# Options for libpq, PostgreSQL's client library: how it notices that a host went away.
KEEPALIVE = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}


@dataclass(frozen=True)
class Address:
    """A tracking URI, taken apart.

    Attributes:
        uri: as MLflow takes it. shown: as it may be printed, without a password.
        folder: of the store, where artifacts of a database and the warehouse are.
    """

    uri: str
    shown: str
    folder: Path

    @classmethod
    def of(cls, folder: Path, tracking_uri: str | None = None) -> Address:
        """The address of a store; the embedded one of the folder where no URI is given.

        Name and password of a server go where MLflow looks for them, into the environment of this
        process. Raises UserError for a URI of another kind, and for a folder that fits into none.
        """
        folder = folder.absolute()
        if not tracking_uri and "?" in str(folder):  # what follows it in a URI is no path
            raise UserError(
                f"the store is to be in '{folder}': a database is not found where a folder has a "
                "question mark in its name, so name another folder"
            )
        uri = tracking_uri or f"sqlite:///{folder / DATABASE}"
        shown = without_password(uri) if tracking_uri else str(folder / DATABASE)
        address = cls(uri, shown, folder)
        if address.is_server:
            return cls(_without_credentials(uri, shown), shown, folder)
        address._check("tracking", ACCEPTED)
        return address

    def behind(self, bulk_uri: str) -> Address:
        """The address of the database behind this server. Raises UserError where it cannot be."""
        database = Address(bulk_uri, without_password(bulk_uri), self.folder)
        if not self.is_server:
            raise UserError(
                f"the bulk URI is '{database.shown}', and the tracking URI no server's: name the "
                "server whose database it is with --tracking-uri http://HOST:PORT, or leave it out"
            )
        database._check("bulk", IN_BULK)
        return database

    def _check(self, name: str, accepted: str) -> None:
        """Raise UserError where this is no database's address."""
        if self.dialect not in DIALECTS or "://" not in self.uri:
            raise UserError(f"the {name} URI is '{self.shown}': {accepted}")
        if self.dialect == "sqlite" and not self.uri.partition(":///")[2]:
            raise UserError(f"the {name} URI is '{self.shown}', which names no file: {accepted}")

    @property
    def is_server(self) -> bool:
        """Whether it is an MLflow server's, which has the artifacts too."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def dialect(self) -> str:
        """Of a database: sqlite, postgresql and so on."""
        return self.uri.partition(":")[0].partition("+")[0]

    @property
    def file(self) -> Path | None:
        """The database, where it is a file."""
        if self.dialect != "sqlite":
            return None
        return Path(self.uri.partition(":///")[2].partition("?")[0]).absolute()

    @property
    def is_embedded(self) -> bool:
        """Whether it is the database in the store's own folder, perhaps by another path to it."""
        own, file = self.folder / DATABASE, self.file
        return file is not None and (file == own or (is_same_file(file, own)))

    @property
    def is_read_only(self) -> bool:
        """Whether the database is a file in a folder that cannot be written."""
        return self.file is not None and not os.access(self.file.parent, os.W_OK)

    @property
    def for_reading(self) -> str:
        """How a SQLite library opens the file to read it, or a PostgreSQL driver the database.

        SQLite puts two more files beside one in write-ahead mode. In a folder that cannot be
        written it is told that the file does not change, unless the log beside it has content that
        is not in the file yet.
        """
        if self.file is None:
            said = CREDENTIALS.sub(_quoted, self.uri)
            return f"{self.dialect}://{said.partition('://')[2]}"
        log = self.file.with_name(f"{self.file.name}-wal")
        settled = not (log.exists() and log.stat().st_size)
        how = "mode=rw" if not self.is_read_only else "immutable=1" if settled else "mode=ro"
        return f"file:{quote(str(self.file))}?{how}"

    def patient(self, seconds: float) -> Address:
        """The same, with a driver that gives up on a silent host after a while."""
        if self.dialect != "postgresql":
            return self
        _, question, query = self.uri.partition("?")
        asked = {"connect_timeout": f"{max(2, round(seconds))}"} | KEEPALIVE
        missing = urlencode({k: v for k, v in asked.items() if f"{k}=" not in query})
        uri = f"{self.uri}{'&' if question else '?'}{missing}" if missing else self.uri
        return Address(uri, self.shown, self.folder)

    def hidden(self, text: str) -> str:
        """A message of a library, with *** in place of the password."""
        match = CREDENTIALS.search(self.uri)
        secrets = {match[2]} if match else {os.environ.get(name, "") for name in OF_A_SERVER}
        secrets |= {found[0].removeprefix(found[1]) for found in SECRETS.finditer(self.uri)}
        text = text.replace(self.uri, self.shown)
        for secret in filter(None, secrets | {unquote(secret) for secret in secrets}):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return text


def without_password(uri: str) -> str:
    """A URI as it may be printed."""
    return SECRETS.sub(r"\1***", CREDENTIALS.sub(r"\1:***@", uri))


def _quoted(match: re.Match[str]) -> str:
    """A name and a password with nothing in them that libpq reads as an end of them."""
    name, password = (quote(unquote(part), safe="") for part in match.groups())
    return f"{name}:{password}@"


def _without_credentials(uri: str, shown: str) -> str:
    """A server's URI; its name and password are left to MLflow's environment variables."""
    try:
        parts = urlsplit(uri)
        named = parts.hostname is not None and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise UserError(f"the tracking URI is '{shown}', which names no host and port: {ACCEPTED}")
    if parts.query:
        raise UserError(
            f"the tracking URI is '{shown}': a server's has nothing after '?'; a token goes into "
            "the environment variable MLFLOW_TRACKING_TOKEN"
        )
    credentials, at, host = parts.netloc.rpartition("@")
    if at:
        name, _, password = credentials.partition(":")
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(name)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    return urlunsplit(parts._replace(netloc=host)).rstrip("/")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both names are there, and of one file or folder."""
    return one.exists() and other.exists() and one.samefile(other)
