"""Which training samples are hard to unlearn, why, and could we have known before trying?

The public face of the packages beside it: `python -m indelible` is the console script.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["__version__"]

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

if __name__ == "__main__":
    from tracker.cli import main

    main()
