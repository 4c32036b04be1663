"""Probes: what a small, definite change of the weights does to the sample and to the test set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad

from factors.family import Column, Family
from factors.line_search import (
    DIRECTIONS,
    Stacked,
    along,
    first_arrivals,
    first_direction,
    held_out,
    losses_at,
    moved_logits,
)
from unlearning import algorithms
from unlearning.base_model import BaseModel, Params, logits, sample_gradients
from unlearning.losses import cross_entropy, log_prob, wide

TESTED = 400  # test samples, at most
DRAWS = 8  # of noise
NOISE = 0.2  # its standard deviation, in those of the entries of each parameter
ADAM_EPS = 1e-8  # torch.optim.Adam's
NO_FLIP = "status already_wrong, or the search found no flip"


def probe(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """The flip probes, a step of gradient ascent, curvature and noise, for samples (K,)."""
    images, labels = base.train_inputs[positions], base.train_labels[positions]
    tests, parts, left = held_out(base, TESTED), [], positions
    for gradient in sample_gradients(base.model, images, labels, tuple(base.params)):
        size = len(next(iter(gradient.values())))
        some, left = left[:size], left[size:]
        found = {
            "ga_step_loss": ga_step_loss(base, some, gradient),
            "own_curvature": own_curvature(base, some, gradient),
        }
        for name in ("adam", "sgd"):
            direction = first_direction(name, gradient)
            steps = first_arrivals(base, some, along(gradient, direction), direction)
            found[f"flip_probe_step_{name}"] = steps
            # This pass takes most of the family's time.
            found[f"flip_probe_damage_{name}"] = losses_at(base, tests, steps, direction)[0]
        parts.append(found)
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return columns | {"noise_sensitivity": noise_sensitivity(base, positions)}


def ga_step_loss(base: BaseModel, positions: Tensor, gradient: Stacked) -> Tensor:
    """The rise of each sample's cross-entropy by one step of `ga` at its defaults, (K,) float64."""
    lr = float(algorithms.get("ga").from_text({}).settings()["lr"])
    first_step = {name: g / (g.abs() + ADAM_EPS) for name, g in gradient.items()}
    before, labels = base.train_logits[positions], base.train_labels[positions]
    after = moved_logits(base, positions, torch.full_like(before[:, 0], lr), first_step)
    return log_prob(before, labels) - log_prob(after, labels)


@torch.no_grad()
def noise_sensitivity(base: BaseModel, positions: Tensor) -> Tensor:
    """The mean fall of each sample's log-probability under Gaussian noise on all weights.

    Over 8 draws, the same for every sample: each parameter tensor gets noise with a fifth of the
    standard deviation of its own entries, so that no layer gets more than its share.

    Returns: (K,) float64.
    """
    images, labels = base.train_inputs[positions], base.train_labels[positions]
    generator = torch.Generator().manual_seed(0)
    falls = []
    for _ in range(DRAWS):
        noisy = {}
        for name, p in base.params.items():
            # In float32 in main memory: the same in any precision and anywhere.
            draw = torch.randn(p.shape, generator=generator).to(p)
            noisy[name] = p + NOISE * p.std(correction=0) * draw
        falls.append(-log_prob(logits(base.model.at(noisy), images), labels))
    return log_prob(base.train_logits[positions], labels) + torch.stack(falls).mean(dim=0)


def own_curvature(base: BaseModel, positions: Tensor, gradient: Stacked) -> Tensor:
    """g'Hg / g'g with the gradient g and the Hessian H of each sample's own cross-entropy, (K,).

    From one Hessian-vector product a sample, by two backward passes. NaN where g is zero.
    """

    def hessian_product(g: Params, image: Tensor, label: Tensor) -> Params:
        def loss(params: Params) -> Tensor:
            return cross_entropy(base.model.at(params)(image[None]), label[None])

        def slope(params: Params) -> Tensor:
            at = grad(loss)(params)
            return torch.stack([(wide(at[name]) * wide(g[name])).sum() for name in g]).sum()

        product: Params = grad(slope)(dict(base.params))
        return product

    images, labels = base.train_inputs[positions], base.train_labels[positions]
    product = base.model.each(hessian_product)(dict(gradient), images, labels)
    return along(product, gradient) / along(gradient, gradient)


PROBE = Family(
    name="probe",
    pre=probe,
    declared=(
        *(
            column
            for name, (title, way) in reversed(DIRECTIONS.items())
            for column in (
                Column(
                    f"flip_probe_step_{name}", f"Flip Probe Step ({title})", "weight", "high"
                ).defined(
                    f"how far the weights go along {way} of the sample's "
                    "cross-entropy, of which SGD's has length one, until its prediction flips",
                    undefined=NO_FLIP,
                ),
                Column(
                    f"flip_probe_damage_{name}",
                    f"Flip Probe Damage ({title})",
                    "probability",
                    "high",
                ).defined(
                    "fall of the mean probability of the true label on at most 400 "
                    f"test samples at the flip along {way}",
                    undefined=NO_FLIP,
                ),
            )
        ),
        Column("ga_step_loss", "Loss After One Step of Gradient Ascent", "nats", "low").defined(
            "rise of the sample's cross-entropy by one Adam step of gradient ascent "
            "at the default rate of ga"
        ),
        Column("own_curvature", "Curvature Along the Gradient", "nats / weight^2", "low").defined(
            "g'Hg / g'g, with the gradient g and the Hessian H of the sample's own "
            "cross-entropy at the base model",
            undefined="the gradient is zero",
        ),
        Column("noise_sensitivity", "Noise Sensitivity", "nats", "low").defined(
            "mean fall of the sample's log-probability over 8 draws of Gaussian noise "
            "with a fifth of the standard deviation of each parameter tensor",
            source="after Feng et al. 2025 (arXiv 2504.06658), MRD",
        ),
    ),
)

FAMILIES = (PROBE,)
