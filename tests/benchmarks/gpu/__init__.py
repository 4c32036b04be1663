"""One NVIDIA GPU and ResNet-18: how fast sweeps are there, what limits them, how exact they are.

`gpu[evaluation,members]` runs those parts, `gpu` all; `gpu[cpu,evaluation]` tries one on a CPU with
few and small images, which shows that it works and nothing else. Sizes are changed by
`members=20`, `test=2000` and the like (`bench.Sizes`), the data set of `agreement` is looked for in
`data=PATH`, `precision=float16` is that in which `beside` evaluates, and with the word `autotune`
cuDNN tries its algorithms. A part that lacks
something says so and is left out; one that fails does not keep the others from running.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback

from unlearning.errors import UserError

PARTS = {
    "evaluation": "images a second of each form of evaluation, and the share of the card's rate",
    "agreement": "ranks of each precision of evaluation against float64, on the same weights",
    "steps": "a step of a member, and a batch in training, with graphs and without",
    "members": "members a second against a plain loop",
    "table": "the whole of a study of three data sets, projected from measured parts",
    "beside": "a sweep with its writers: what is not done beside the device's work",
    "profile": "what takes the time of one member",
    "demo": "the demo of the command line on the GPU, and on two CPU cores",
}
SMALLEST: dict[str, object] = {}
# The quickest parts on a CPU; each other one takes a quarter of a minute of it and more.
TINY = ("train=32", "test=4", "remaining=4", "members=1", "matrix=16")
WORDS = [("cpu", "evaluation", "members", "profile", *TINY)]
FILES = {"profile": "profiling"}  # which are not named like their part


def main(*words: str) -> None:
    chosen = [word for word in words if word in PARTS] or list(PARTS)
    failed = []
    try:
        from tests.benchmarks.gpu.bench import Bench

        bench = Bench.of([word for word in words if word not in PARTS])
    except (ModuleNotFoundError, UserError) as error:
        print(f"nothing is measured: {_why(error)}")
        return
    for part in chosen:
        print(f"\n{bench.card}: {part}, {PARTS[part]}", flush=True)
        started = time.perf_counter()
        try:
            file = importlib.import_module(f"{__name__}.{FILES.get(part, part)}")
            file.run(bench)
        except (ModuleNotFoundError, UserError) as error:
            print(f"{part} is left out: {_why(error)}")
        except Exception:  # the machine is lent for minutes: what can be measured is
            traceback.print_exc(file=sys.stdout)
            failed.append(part)
        print(f"({part}: {time.perf_counter() - started:.0f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"this Python lacks the package {error.name}"
    return str(error)
