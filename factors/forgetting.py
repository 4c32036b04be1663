"""Whether a sample is forgotten: where a model stands among those that never saw it (LiRA).

Also what reference models say of samples before anything is unlearned; and relearning: how soon
fine-tuning on the remaining data alone makes a sample known again. What a model still holds of a
sample comes back sooner than it comes to a model that never saw it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from factors.distance import NO_MODEL
from factors.evaluation import Chunk
from factors.family import Column, Family
from unlearning.algorithm import Forget, Retain
from unlearning.algorithms.ft import FineTuning
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, Companions, Params
from unlearning.execution import Execution, by_device, gradients, map_members
from unlearning.losses import log_odds
from unlearning.sampling import draw_retain, forget_samples

LIRA = "Carlini et al. 2022 (arXiv 2112.03570)"
TOO_FEW = (
    "there are no reference models (train --references), or fewer than two of them never saw the "
    "sample"
)
BUDGET = 200  # steps: of 21 clean digits that ga flipped at 3e-4, 18 are known again by then
SEED = 2**20  # of batches to relearn: not a sweep's, whose attempts have just been shown its own
SIDDIQUI = "after Siddiqui et al. 2025 (arXiv 2505.22310)"
STEPS = (
    "steps of fine-tuning on the remaining data, as ft takes them by default, until the log-odds "
    "of the sample's label are above the middle between reference_phi and the base model's own: "
    f"0 where they are there before, {BUDGET} where that is not enough"
)
NOT_ASKED = "it was not asked for (--factors relearning)"
NOT_KNOWN = "the base model is no surer of the sample than models that never saw it"


def said(companions: Companions, sample: int) -> object:
    """What reference models say of a sample, from which what is asked of them follows."""
    references = companions.references
    return None if references is None else references.digest


def _undefined(family: Family, size: int) -> dict[str, Tensor]:
    nothing = torch.full((size,), torch.nan, dtype=torch.float64)
    return {column.name: nothing for column in family.declared}


def memorization(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """How far each sample is memorised, NaN where there are no reference models."""
    references = base.companions.references
    if references is None:
        return _undefined(MEMORIZATION, len(positions))
    at = positions.cpu()
    found = memorization_estimate(references.correct[:, at], references.included[:, at])
    return {"memorization": found}


def memorization_estimate(correct: Tensor, included: Tensor) -> Tensor:
    """P[f(x) = y | x in training] - P[f(x) = y | x not], over an ensemble.

    Feldman & Zhang 2020 (arXiv 2008.03703), Eq. 1. NaN where a sample was in all or in none.

    Args:
        correct, included: (models, samples) bool.

    Returns: (samples,) float64.
    """
    with_it, right = included.double(), correct.double()
    inside = (right * with_it).sum(dim=0) / with_it.sum(dim=0)
    outside = (right * (1 - with_it)).sum(dim=0) / (1 - with_it).sum(dim=0)
    return inside - outside


def reference_models(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """Where the models stand that never saw the sample, and where the base model does."""
    references, at = base.references, positions.cpu()
    if references is None:
        return _undefined(BEFORE, len(at))
    phi = log_odds(base.train_logits[positions], base.train_labels[positions]).cpu().double()
    out = references.outside
    return {
        "reference_phi": out.mean[at],
        "reference_sd": out.sd[at],
        "z_untouched": out.z(phi, at),
    }


def forgetting(chunk: Chunk) -> dict[str, Tensor]:
    """Where the unlearned model stands among those that never saw the sample."""
    base, at = chunk.base, chunk.positions.cpu()
    references = base.references
    if references is None:
        return _undefined(AFTER, len(at))
    labels = base.train_labels[chunk.positions]
    phi = log_odds(chunk.forget_logits, labels).cpu().double()
    out = references.outside
    z = out.z(phi, at)
    is_forgotten = (z.abs() <= out.limit(at)).double().where(~z.isnan(), torch.nan)
    return {"z": z, "z_error": out.z_error(z, at), "forgotten": is_forgotten}


MEMORIZATION = Family(
    name="memorization",
    pre=memorization,
    of_companions=said,
    version=2,
    declared=(
        Column("memorization", "Memorisation", "probability", "low").defined(
            "how much likelier models trained with the sample are to get it right "
            "than models trained without",
            undefined="there are no reference models (train --references), or the sample was in "
            "all or in none of their parts",
            source="Feldman & Zhang 2020 (arXiv 2008.03703)",
        ),
    ),
)

BEFORE = Family(
    name="forgetting",
    pre=reference_models,
    of_companions=said,
    source=LIRA,
    undefined=TOO_FEW,
    declared=(
        Column("reference_phi", "Reference Log-Odds", "log-odds", "high").defined(
            "log-odds of the sample's label that a model as sure as the base model would have, had "
            "it never seen the sample: the mean of reference models that did not, and the shift"
        ),
        Column("reference_sd", "Reference Spread", "log-odds", "low").defined(
            "their standard deviation, moderated: few models' own is drawn to that of all samples "
            "(Smyth 2004)",
        ),
        Column("z_untouched", "Untouched z", "sd", "low").defined(
            "(log-odds of the base model - reference_phi) / reference_sd: what doing nothing gives"
        ),
    ),
)

AFTER = Family(
    name="forgetting",
    post=forgetting,
    of_companions=said,
    source=LIRA,
    undefined=TOO_FEW,
    declared=(
        Column("z", "Forgetting z", "sd", "high").defined(
            "(log-odds of the unlearned model - reference_phi) / reference_sd: 0 is the middle of "
            "the models that never saw the sample, below it is less sure of it than they are"
        ),
        Column("z_error", "Standard Error of z", "sd", "high").defined(
            "what the number of reference models leaves open"
        ),
        Column("forgotten", "Forgotten", "0 or 1", "low").defined(
            "1 if |z| is within the middle 90% of models that never saw the sample (1.645, and "
            "more where there are few reference models); else it is over-forgotten (z below) or "
            "remembered (z above)"
        ),
    ),
)


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


RELEARNING = Family(
    name="relearning",
    post=relearning,
    of_companions=said,
    is_optional=True,
    source=SIDDIQUI,
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
    source=SIDDIQUI,
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

FAMILIES = (MEMORIZATION, BEFORE, AFTER, CONTROL, RELEARNING)
