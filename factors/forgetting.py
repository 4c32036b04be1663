"""Whether a sample is forgotten: where a model stands among those that never saw it (LiRA).

Also what reference models say of samples before anything is unlearned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from factors.evaluation import Chunk
from factors.family import Column, Family
from unlearning.base_model import BaseModel, Companions
from unlearning.losses import log_odds

LIRA = "Carlini et al. 2022 (arXiv 2112.03570)"
TOO_FEW = (
    "there are no reference models (train --references), or fewer than two of them never saw the "
    "sample"
)


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

FAMILIES = (MEMORIZATION, BEFORE, AFTER)
