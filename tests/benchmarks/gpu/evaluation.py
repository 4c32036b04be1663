"""Images a second: a network as people evaluate it, and every form of evaluation.

Each pass gives features and logits of all test images under weights that are not the base model's,
as of an unlearned one: folding and rounding them is in the time. FLOP are those of convolutions
and linear layers, a multiplication and an addition being two, whatever the library computes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.gpu.bench import Bench
from tests.benchmarks.gpu.plain import in_batches
from unlearning.base_model import BaseModel
from unlearning.passes import Form, Passes
from unlearning.passes import _tf32 as tf32
from unlearning.precision import EvalPrecision

BLOCKS = 256, 1000, 2000
TF32, HALF = EvalPrecision.TF32, EvalPrecision.FLOAT16

# Dense TFLOP/s by NVIDIA's data sheets: float32 outside of the matrix units, TF32 and FP16 in them.
HOPPER, AMPERE = (67.0, 494.5, 989.5), (19.5, 156.0, 312.0)
RATES = {
    "NVIDIA H100 80GB HBM3": HOPPER,
    "NVIDIA H200": HOPPER,
    "NVIDIA A100-SXM4-40GB": AMPERE,
    "NVIDIA A100-SXM4-80GB": AMPERE,
}


def run(bench: Bench) -> None:
    for line in ceilings(bench):
        print(line, flush=True)
    base = bench.base()
    flop = flop_of(base)
    print(
        f"ResNet-18, {bench.sizes.colour}: {flop / 1e9:.3f} GFLOP an image; "
        f"{len(base.test_labels)} images, median of {bench.sizes.rounds}"
    )
    print("form                            block  images/s  TFLOP/s  of rate  peak GB", flush=True)
    for name, precision, block, work in works(bench, base):
        images, memory = len(base.test_labels), _peak(bench)
        seconds = bench.seconds(work)
        rate = images * flop / seconds / 1e12
        print(
            f"{name:30} {block:6} {images / seconds:9,.0f} {rate:8.2f} "
            f"{share(bench, precision, rate):>8} {memory():>8}",
            flush=True,
        )
        del work
        bench.release()
    if not bench.on_gpu:
        print("without a GPU there are no CUDA graphs and no TF32, whose rows are left out")


def works(
    bench: Bench, base: BaseModel
) -> Iterator[tuple[str, EvalPrecision, int, Callable[[], object]]]:
    """What is timed, one after the other: name, precision, block, and one pass.

    Each is made when it is asked for, and its graph is gone when it is let go.
    """
    state = {name: 1.001 * p for name, p in base.params.items()}
    inputs = base.test_inputs

    def plain(form: torch.memory_format, block: int) -> Callable[[], object]:
        network = copy.deepcopy(base.network).to(memory_format=form)  # type: ignore[call-overload]
        return partial(in_batches, network, inputs.contiguous(memory_format=form), block)

    def fast(work: Callable[[], object]) -> object:
        with tf32():
            return work()

    for block in BLOCKS:
        nchw = plain(torch.contiguous_format, block)
        yield "plain network, NCHW, float32", EvalPrecision.SAME, block, nchw
        if bench.on_gpu:
            nhwc = partial(fast, plain(torch.channels_last, block))
            yield "plain network, NHWC, tf32", TF32, block, nhwc
    precisions = [p for p in EvalPrecision if bench.on_gpu or p is not TF32]
    graphs = (False, True) if bench.on_gpu else (False,)
    for precision, folded, recorded, block in product(precisions, (False, True), graphs, BLOCKS):
        form = Form(precision, folded, recorded, block)
        words = [str(precision), *["folded"] * folded, *["graph"] * recorded]
        yield ", ".join(words), precision, block, partial(Passes(base, form).outputs, state, inputs)


def flop_of(base: BaseModel) -> int:
    """Of one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        base.model(base.test_inputs[:1])
    return int(counter.get_total_flops())


def share(bench: Bench, precision: EvalPrecision, rate: float) -> str:
    """Of the rate of the card's units for that precision, where they are known."""
    known = RATES.get(torch.cuda.get_device_name(bench.device)) if bench.on_gpu else None
    if known is None:
        return "-"
    return f"{rate / known[[EvalPrecision.SAME, TF32, HALF].index(precision)]:.1%}"


def ceilings(bench: Bench) -> list[str]:
    """What the device does at most, measured: a matrix product, and a copy in its memory."""
    size = bench.sizes.matrix

    def product_of(kind: torch.dtype) -> float:
        a, b = (torch.randn(size, size, device=bench.device, dtype=kind) for _ in range(2))
        return 2 * size**3 / bench.seconds(lambda: a @ b) / 1e12

    found = {"float32": product_of(torch.float32)}
    if bench.on_gpu:
        with tf32():
            found["tf32"] = product_of(torch.float32)
    found["float16"] = product_of(torch.float16)
    said = ", ".join(f"{name} {rate:.2f}" for name, rate in found.items())
    source = torch.randn(16 * size, size, device=bench.device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    copied = moved / bench.seconds(lambda: target.copy_(source)) / 1e12
    return [
        f"matrices of {size}, TFLOP/s: {said}; a copy moves {copied:.2f} TB/s, read and written"
    ]


def _peak(bench: Bench) -> Callable[[], str]:
    """GB at most from now on, where it is known."""
    if not bench.on_gpu:
        return lambda: "-"
    torch.cuda.reset_peak_memory_stats(bench.device)
    return lambda: f"{torch.cuda.max_memory_allocated(bench.device) / 1e9:.2f}"
