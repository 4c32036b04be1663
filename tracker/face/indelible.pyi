"""The types of `indelible`: the wheel has this file as `indelible-stubs`, since a single module
cannot say itself that it has types."""

from tracker import __version__
from tracker.face.handles import Model, Sweep
from tracker.face.store import Store
from tracker.face.store import open_store as open  # noqa: A004 - as `indelible.open`
from unlearning.errors import Failure, UserError

__all__ = ["Failure", "Model", "Store", "Sweep", "UserError", "__version__", "open"]
