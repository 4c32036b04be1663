"""Which training samples are hard to unlearn, why, and could we have known before trying?

    import indelible

    store = indelible.open("mlruns")
    model = store.train("digits", epochs=5)
    sweep = store.sweep("ga", "salun", model=model, samples=20)
    sweep.difficulty().order("difficulty_rank").limit(5).df()

The public API of the packages beside it: `python -m indelible` is the console script.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

__all__ = ["Failure", "Model", "Store", "Sweep", "Unlearning", "UserError", "__version__", "open"]

HERE = Path(__file__).resolve().parent

if __name__ == "__main__" and not sys.flags.safe_path and Path(sys.path[0]).resolve() != HERE:
    # `python -m` looks into the working directory first, where packages of the user's may be.
    sys.path.append(sys.path.pop(0))


def _refuse_namesakes() -> None:
    """Raise ImportError where another module would be taken for a package beside this one."""
    for name in ("unlearning", "factors", "tracker", "analysis"):
        spec = find_spec(name)
        where = Path(spec.origin).resolve() if spec and spec.origin else None
        if where != HERE / name / "__init__.py":
            raise ImportError(
                f"'{name}' is {where or 'nowhere'}, which hides Indelible's own in {HERE}: rename "
                "it, or start Python elsewhere"
            )


_refuse_namesakes()

from tracker import __version__  # noqa: E402 - once it is sure whose it is
from unlearning.errors import Failure, UserError  # noqa: E402

if TYPE_CHECKING:
    from tracker.api.store import Model, Store, Sweep, Unlearning
    from tracker.api.store import open_store as open  # noqa: A004 - as `indelible.open`
else:

    def __getattr__(name: str) -> Any:
        """What is built on the rooms below, imported once it is asked for."""
        if name not in __all__:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return getattr(import_module("tracker.api.store"), "open_store" if name == "open" else name)

    def __dir__() -> list[str]:
        """What is there, or comes when it is asked for."""
        return sorted({*globals(), *__all__})


if __name__ == "__main__":
    from tracker.cli import main

    main()
