"""The files of runs, wherever a store has them: one way to read them, and one to write them.

A file that is not there is an answer, None; a file that could not be looked for is a Failure. The
two are kept apart, because callers log that there is nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from analysis.atomic import make_folder, unwritten, write_atomically
from tracker.store.addresses import Address
from tracker.store.retry import Retry, passing, reason
from unlearning.errors import Failure, UserError

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

FOLDER = "artifacts"  # of a store, with a folder an experiment and in it a folder a run

Result = TypeVar("Result")


class Damaged(UserError):  # noqa: N818 - it is said of a file
    """A file is lost, or is not what was written; the message says which, and what is wrong."""


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of a store's runs."""

    address: Address
    retry: Retry

    def path(self, uri: str) -> Path | None:
        """Where on this machine a run's files are; None if they are elsewhere.

        Those of an embedded store are in its folder, even where its database still names the one
        from which it was moved.
        """
        path = local_path(uri)
        if path is None or not self.address.is_embedded:
            return path
        *_, experiment, run, last = path.parts
        here = self.address.folder / FOLDER / experiment
        return here / run / last if here.is_dir() else path

    def read(self, uri: str, name: str) -> bytes | None:
        """A file of a run; None if it is not there.

        Raises Failure if that cannot be told, Damaged if it is no file.
        """
        folder = self.path(uri)
        if folder is not None:
            return _read(folder, name)

        def download() -> bytes | None:
            with tempfile.TemporaryDirectory() as target:
                try:
                    self._repository(uri).download_artifacts(name, target)
                except Exception as error:  # each kind of store has its own for what is not there
                    if not passing(error) and name not in self.names(uri):
                        return None
                    raise
                return (Path(target) / name).read_bytes()

        return self._asked(f"{uri}/{name} cannot be read", download)

    def checked(self, uri: str, name: str, sha256: str, otherwise: str) -> bytes:
        """The content of a run's file, whose SHA-256 is known.

        Args:
            otherwise: what to do where it is lost, for the message.

        Raises Damaged where it is not there, or is not what was written; Failure as `read` does.
        """
        content = self.read(uri, name)
        if content is None:
            raise Damaged(f"{name} is missing: {otherwise}")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Damaged(f"{name} is damaged, it is not what was written: {otherwise}")
        return content

    def write(self, uri: str, files: Mapping[str, bytes]) -> None:
        """Write files of a run, each whole or not at all, and onto the disk."""
        folder = self._made(uri) if files else None
        if folder is None:
            self._upload(uri, files)
            return
        for name, content in files.items():
            write_atomically(folder / name, content)

    def write_again(self, uri: str, below: str, files: Mapping[str, bytes]) -> None:
        """Write files that can be made again at any time into a folder among a run's artifacts.

        A file of the same size is left as it is. Nothing is seen onto the disk.

        Raises UserError if a file cannot be written, Failure if there is no room for it.
        """
        folder = self._made(uri)
        if folder is None:
            there = self.names(uri, below) if files else []
            new = {name: files[name] for name in files if f"{below}/{name}" not in there}
            self._upload(uri, new, below)
            return
        make_folder(folder / below)
        for name, content in files.items():
            path = folder / below / name
            try:
                if not (path.is_file() and path.stat().st_size == len(content)):
                    path.write_bytes(content)
            except OSError as error:
                raise unwritten(str(path), error) from error

    def delete(self, uri: str, name: str) -> None:
        """Delete a file of a run, if it is there."""
        folder = self.path(uri)
        if folder is not None:
            (folder / name).unlink(missing_ok=True)
        elif name in self.names(uri):
            what = f"{uri}/{name} cannot be deleted"
            self._asked(what, lambda: self._repository(uri).delete_artifacts(name))

    def names(self, uri: str, below: str | None = None) -> list[str]:
        """The paths of a run's files that are not on this machine."""
        listed = self._asked(
            f"the artifacts in {uri} cannot be listed",
            lambda: self._repository(uri).list_artifacts(below),
        )
        return sorted(file.path for file in listed)

    def _made(self, uri: str) -> Path | None:
        """The folder of a run as `path` has it, made in that of all artifacts.

        Raises Failure where that one is not there any more, or is on another machine.
        """
        folder = self.path(uri)
        if folder is not None:
            everything = folder.parents[2]
            if not self.address.is_server and not everything.is_dir():
                raise _not_there(everything)
            make_folder(folder)
        return folder

    def _repository(self, uri: str) -> ArtifactRepository:
        """MLflow's, perhaps behind the tracking server."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(uri, tracking_uri=self.address.uri)

    def _upload(self, uri: str, files: Mapping[str, bytes], below: str | None = None) -> None:
        if files:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                self._asked(
                    f"{uri}/{next(iter(files))} cannot be written",
                    lambda: self._repository(uri).log_artifacts(folder, below),
                )

    def _asked(self, what: str, attempt: Callable[[], Result]) -> Result:
        """What an artifact store answers. Raises Failure, which begins with `what`, otherwise."""
        try:
            return self.retry(attempt)
        except Failure:
            raise
        except Exception as error:  # each kind of artifact store has errors of its own
            raise Failure(f"{what}: {reason(error)}") from error


def local_path(uri: str) -> Path | None:
    """The folder of this machine that a URI names, None if it names none."""
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") and parts.path else None


def _read(folder: Path, name: str) -> bytes | None:
    path = folder / name
    try:
        if path.exists() and not path.is_file():
            raise Damaged(f"{path} is not a file")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise Failure(f"{path} is a link to what is not here: fetch or mount it") from None
        experiment = folder.parent.parent
        if not experiment.is_dir():  # not even that of all runs
            raise _not_there(experiment) from None
        return None
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error


def _not_there(folder: Path) -> Failure:
    return Failure(
        f"{folder} is not there, and with it the artifacts of all runs: if the store was moved, "
        "name where it is with --store DIR; if it is on another disk or machine, mount it; if it "
        "is lost, make an empty folder of that name"
    )
