"""Run all parts, or those named; what is in a part's brackets is given to it: scale[100000]."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import tests.benchmarks


def _has_main(name: str) -> bool:
    place = Path(tests.benchmarks.__file__).with_name(name)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return "\ndef main(" in file.read_text("utf-8")


PARTS = [m.name for m in pkgutil.iter_modules(tests.benchmarks.__path__) if _has_main(m.name)]

if __name__ == "__main__":
    for asked in sys.argv[1:] or PARTS:
        name, _, given = asked.rstrip("]").partition("[")
        if name not in PARTS:
            sys.exit(f"no part '{name}': choose from {', '.join(PARTS)}")
        part = importlib.import_module(f"tests.benchmarks.{name}")
        print(f"\n== {asked}: {(part.__doc__ or '').splitlines()[0]}", flush=True)
        part.main(*given.split(",") if given else ())
