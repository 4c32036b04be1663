"""Relearning: how soon fine-tuning on the remaining data alone makes the sample known again.

What a model still holds of a sample comes back sooner than it comes to a model that never saw it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from factors.distance import NO_MODEL
from factors.evaluation import Chunk
from factors.family import Column, Family
from factors.forgetting import TOO_FEW, said
from unlearning.algorithm import Forget, Retain
from unlearning.algorithms.ft import FineTuning
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, Params
from unlearning.execution import Execution, by_device, gradients, map_members
from unlearning.losses import log_odds
from unlearning.sampling import draw_retain, forget_samples

BUDGET = 200  # steps: of 21 clean digits that ga flipped at 3e-4, 18 are known again by then
SEED = 2**20  # of the batches: not a sweep's, whose attempts have just been shown its own


def relearning(chunk: Chunk) -> dict[str, Tensor]:
    """Steps from the unlearned weights, NaN where the sample was not known before either."""
    base, execution = chunk.base, by_device(chunk.base.device)
    wanted = midpoints(base, chunk.positions)
    steps, known = torch.full_like(wanted, torch.nan), torch.full_like(wanted, torch.nan)
    rows = (chunk.ran & ~wanted.isnan()).nonzero()
    # Models that are executed one by one end one by one, too.
    blocks = [*rows] if execution is Execution.SEQUENTIAL else [rows.flatten()]
    for some in blocks if len(rows) else ():
        stacked = chunk.unlearned.params | chunk.unlearned.buffers
        weights = {name: of[some] for name, of in stacked.items()}
        job = (base, weights, chunk.positions[some], wanted[some], execution)
        steps[some], known[some] = relearn(*job)
    return {"relearn_steps": steps, "relearned": known}


def control(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """Steps from leave-one-out models, which are trained again, NaN where there are none."""
    wanted, ids = midpoints(base, positions), base.dataset.train.ids[positions.cpu()].tolist()
    steps, known = torch.full_like(wanted, torch.nan), torch.full_like(wanted, torch.nan)
    for row, sample in enumerate(ids):
        if sample in base.companions.left_out and not wanted[row].isnan():
            one = torch.tensor([row])
            weights = left_out_models(base, positions[one])
            job = (base, weights, positions[one], wanted[one], Execution.SEQUENTIAL)
            steps[one], known[one] = relearn(*job)
    return {"control_relearn_steps": steps, "control_relearned": known}


def midpoints(base: BaseModel, positions: Tensor) -> Tensor:
    """Log-odds in the middle between models that never saw the sample and the base model, (K,).

    float64 in main memory. NaN where there are no reference models, or too few, and where the base
    model is no surer of the sample than they are: then it knows nothing that could come back.
    """
    phi = log_odds(base.train_logits[positions], base.train_labels[positions]).cpu().double()
    if base.references is None:
        return torch.full_like(phi, torch.nan)
    never = base.references.outside.mean[positions.cpu()]
    return ((never + phi) / 2).where(phi > never, torch.nan)


def relearn(
    base: BaseModel, weights: Params, positions: Tensor, wanted: Tensor, execution: Execution
) -> tuple[Tensor, Tensor]:
    """Fine-tune K models as `ft` does by default, until the log-odds of their samples are there.

    Args:
        weights: parameters, and buffers that are not the base model's, (K, ...) each.
        positions: (K,), of samples that no batch has. wanted: (K,) log-odds of their labels.

    Returns: steps, BUDGET where those are not enough, and whether they are, (K,) float64 each in
    main memory.
    """
    algorithm = FineTuning(max_steps=BUDGET)
    forget = forget_samples(base, positions, SEED)
    batches = draw_retain(base, algorithm, positions, SEED)
    params = {name: weights[name].clone().requires_grad_() for name in base.params}
    buffers = {name: buffer for name, buffer in weights.items() if name not in params}
    optimizer = algorithm.make_optimizer(list(params.values()))

    def loss(params: Params, buffers: Params, forget: Forget, retain: Retain) -> Tensor:
        return algorithm.loss(base.model.at({**params, **buffers}), forget, retain, {})

    def logits(params: Params, buffers: Params, image: Tensor) -> Tensor:
        return base.model.at({**params, **buffers})(image[None])[0]

    gradient_of, logits_of = gradients(loss, execution), map_members(logits, execution)
    steps, arrived = torch.zeros(len(wanted), dtype=torch.float64), torch.zeros_like(wanted) > 0
    for step in range(BUDGET + 1):
        with torch.no_grad():
            phi = log_odds(logits_of(params, buffers, forget.image), forget.label)
        arrived |= phi.cpu().double() >= wanted
        if arrived.all() or step == BUDGET:
            break
        steps += ~arrived
        at = batches[:, step]
        retain = Retain(base.train_inputs[at], base.train_labels[at], base.train_logits[at])
        for name, gradient in gradient_of(params, buffers, forget, retain).items():
            params[name].grad = gradient
        optimizer.step()
    return steps, arrived.double()


SOURCE = "after Siddiqui et al. 2025 (arXiv 2505.22310)"
STEPS = (
    "steps of fine-tuning on the remaining data, as ft takes them by default, until the log-odds "
    "of the sample's label are above the middle between reference_phi and the base model's own: "
    f"0 where they are there before, {BUDGET} where that is not enough"
)
NOT_ASKED = "it was not asked for (--factors relearning)"
NOT_KNOWN = "the base model is no surer of the sample than models that never saw it"

RELEARNING = Family(
    name="relearning",
    post=relearning,
    of_companions=said,
    is_optional=True,
    source=SOURCE,
    undefined=f"{NOT_ASKED}, or status already_wrong, or {NOT_KNOWN}, or {TOO_FEW}",
    declared=(
        Column("relearn_steps", "Relearning Steps", "steps", "low").defined(STEPS),
        Column("relearned", "Relearned", "0 or 1", "high").defined(
            f"1 if the sample is known again within {BUDGET} steps"
        ),
    ),
)

CONTROL = Family(
    name="relearning",
    pre=control,
    of_companions=lambda companions, sample: (
        sample in companions.left_out,
        said(companions, sample),
    ),
    is_optional=True,
    source=SOURCE,
    undefined=f"{NOT_ASKED}, or {NO_MODEL}, or {NOT_KNOWN}, or {TOO_FEW}",
    declared=(
        Column("control_relearn_steps", "Control Relearning Steps", "steps", "low").defined(
            "relearn_steps from the leave-one-out model, which never saw the sample"
        ),
        Column("control_relearned", "Control Relearned", "0 or 1", "high").defined(
            f"1 if that model knows the sample within {BUDGET} steps"
        ),
    ),
)

FAMILIES = (CONTROL, RELEARNING)
