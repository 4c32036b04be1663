"""What one backward pass through the base model says about a sample.

Three gradients at the trained weights: g of the sample's cross-entropy; m of its margin, the logit
of its label minus the highest other; and its cross-entropy's in the image. To unlearn the sample is
to go along g, or along its signs, the direction of Adam's first step. What a step does to the other
training samples and to the test set is a dot product with a gradient that is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vjp

from factors.family import NO_HEAD, Column, Family
from factors.line_search import DIRECTIONS
from unlearning.base_model import GRADIENTS, BaseModel, Params
from unlearning.dataset import some_of
from unlearning.losses import cross_entropy, log_prob, margin, prob_errors, wide

CHEN = "Chen et al. 2026 (arXiv 2606.02119)"
SAMPLES = 64  # that go through the network at a time, at most: all its activations are kept
MOST = 2000  # samples that the references are taken over
PIECE = 2**16  # parameters over which dot products are taken at a time


def gradient(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    """All columns, from one forward pass and two backward passes through it a sample."""
    references = base.once("gradient/references", lambda: references_of(base))
    size = 2 * sum(p.numel() * p.element_size() for p in base.params.values())
    blocks = positions.split(max(1, min(SAMPLES, GRADIENTS // size)))
    found = [_of_block(base, block, references) for block in blocks]
    values = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    return {"last_layer_grad_norm": last_layer_grad_norm(base, positions), **values}


def last_layer_grad_norm(base: BaseModel, positions: Tensor) -> Tensor:
    """||p - e_y||_2 sqrt(||phi||^2 + 1), without the one where there is no bias: (K,) to (K,).

    The norm of the gradient of the cross-entropy in the last layer, which is the outer product of
    p - e_y and the layer's inputs phi. NaN where there is no such layer.
    """
    errors = prob_errors(base.train_logits[positions], base.train_labels[positions])
    inputs = wide(base.train_features[positions]).square().sum(dim=1)
    has_bias = base.head is not None and base.head.bias is not None
    return (errors.square().sum(dim=1) * (inputs + has_bias)).sqrt()


class References(NamedTuple):
    """The gradients at the trained weights that those of single samples are compared with.

    Each is one vector over all P parameters, in the order of their names in `BaseModel.params`.

    They are taken over at most `MOST` training and as many test samples, always the same ones.

    Attributes:
        seen: positions of the training samples that they are taken over.
        train: of the sum of these training samples' cross-entropies, (P,).
        classes: of the sums over the samples of each class, (classes, P); in the model's own
            precision, since they are many.
        counts: of these training samples in each class, (classes,).
        test: of the mean probability of the true label over test samples, (P,).
    """

    seen: Tensor
    train: Tensor
    classes: Tensor
    counts: Tensor
    test: Tensor


def references_of(base: BaseModel) -> References:
    """By one backward pass over training samples, and one over test samples."""
    seen = base.some(MOST)
    labels = base.train_labels[seen]
    counts = labels.bincount(minlength=base.train_logits.shape[1])
    train = torch.zeros_like(wide(_flat(base.params)))
    classes = _flat(base.params).new_zeros(len(counts), len(train))

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return -log_prob(logits, labels).sum()

    def prob(logits: Tensor, labels: Tensor) -> Tensor:
        return log_prob(logits, labels).exp().sum()

    for label in counts.nonzero().squeeze(1):
        own = seen[labels == label]
        of_class = _summed(base, loss, base.train_inputs[own], base.train_labels[own])
        train += of_class
        classes[label] = of_class
    tested = some_of(len(base.test_labels), MOST).to(seen.device)
    test = _summed(base, prob, base.test_inputs[tested], base.test_labels[tested])
    return References(seen, train, classes, counts, test / len(tested))


def _flat(parts: Params, axis: int = 0) -> Tensor:
    """All parameters' parts as one vector, (P,); on axis 1 those of K samples, as (K, P)."""
    rows = [part.reshape(*part.shape[:axis], -1) for part in parts.values()]
    return torch.cat(rows, dim=axis)


def _summed(
    base: BaseModel, score: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor
) -> Tensor:
    """The gradient of a score that is a sum over samples, (P,) float64."""
    model, params = base.model, dict(base.params)
    total = torch.zeros_like(wide(_flat(params)))

    def of_params(params: Params, some: Tensor, their_labels: Tensor) -> Tensor:
        return score(model.at({**model.params, **params})(some), their_labels)

    for block in zip(images.split(SAMPLES), labels.split(SAMPLES), strict=True):
        total += _flat(grad(of_params)(params, *block))
    return total


def _gradients(
    base: BaseModel, images: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Of K samples: g by parameter, (K, ...) each; the cross-entropy's in the images; and m."""
    model = base.model

    def both(image: Tensor, label: Tensor) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        def scores(moved: Params, image: Tensor) -> tuple[Tensor, Tensor]:
            logits = model.at({**model.params, **moved})(image[None])
            return cross_entropy(logits, label[None]), margin(logits, label[None])[0]

        values, pull_back = vjp(scores, dict(base.params), image)[:2]
        one, zero = torch.ones_like(values[0]), torch.zeros_like(values[1])
        of_loss, of_image = pull_back((one, zero))
        return of_loss, of_image, pull_back((zero, one))[0]

    found: tuple[dict[str, Tensor], Tensor, dict[str, Tensor]] = model.each(both)(images, labels)
    return found


def _of_block(base: BaseModel, positions: Tensor, references: References) -> dict[str, Tensor]:
    """The columns that need gradients, for a block of samples: (K,) each."""
    logits, labels = base.train_logits[positions], base.train_labels[positions]
    g, of_image, m = _gradients(base, base.train_inputs[positions], labels)
    dots = _dots(_flat(g, 1), _flat(m, 1), labels, references)
    g_g, g_margin, g_train, g_class, g_test, s_margin, s_test, class_class = dots
    among, norm = torch.isin(positions, references.seen), g_g.sqrt()
    retain = _cosine_with_others(g_g, g_train, references.train @ references.train, among)
    of_class = _cosine_with_others(g_g, g_class, class_class, among)
    values = {
        "retain_cosine": retain,
        "class_cosine": of_class.where(references.counts[labels] > among.long(), torch.nan),
        "hamu_curvature": norm * (1 - retain.square()).clamp(min=0).sqrt(),
        "input_grad_norm": torch.linalg.vector_norm(wide(of_image).flatten(1), dim=1),
    }
    right, gap = logits.argmax(dim=1) == labels, margin(logits, labels)
    for optimizer, margin_rate, test_rate in (
        ("sgd", g_margin / norm, g_test / norm),
        ("adam", s_margin, s_test),
    ):
        step = (-gap / margin_rate).where(right & (margin_rate < 0), torch.nan)
        values[f"first_order_step_{optimizer}"] = step
        values[f"first_order_damage_{optimizer}"] = -step * test_rate
    return values


def _dots(g: Tensor, m: Tensor, labels: Tensor, references: References) -> Tensor:
    """Dot products over all parameters, (8, K) float64.

    Of g with itself, with m, and with the references of training, class and test; of the signs of g
    with m and with the reference of the test; and of the class's reference with itself.

    Args:
        g, m: (K, P). labels: (K,).
    """
    rows = []
    for own, of_margin, label in zip(g, m, labels, strict=True):
        vectors = own, of_margin, references.train, references.classes[label], references.test
        # In pieces and one sample after the other, so that all stays in the cache in float64.
        products = []
        for pieces in zip(*(vector.split(PIECE) for vector in vectors), strict=True):
            piece = torch.stack([*map(wide, pieces)])
            of_signs, of_class = piece @ piece[0].sign(), piece[3]
            parts = piece @ piece[0], of_signs[[1, 4]], (of_class @ of_class)[None]
            products.append(torch.cat(parts))
        rows.append(torch.stack(products).sum(dim=0))
    return torch.stack(rows, dim=1)


def _cosine_with_others(gg: Tensor, g_sum: Tensor, sum_sum: Tensor, among: Tensor) -> Tensor:
    """The cosine of g with a sum, without g where this is `among` its parts: (K,) each."""
    others = sum_sum + (gg - 2 * g_sum) * among
    cosine = (g_sum - gg * among) / (gg * others).sqrt()
    return cosine.where(cosine.isfinite(), torch.nan).clamp(-1, 1)


UNREACHED = "status already_wrong, or the margin does not fall in that direction"

GRADIENT = Family(
    name="gradient",
    pre=gradient,
    declared=(
        Column(
            "last_layer_grad_norm", "Gradient Norm (Last Layer)", "nats / weight", "low"
        ).defined(
            "L2 norm of the gradient of the sample's cross-entropy in the last layer's "
            "weights and bias: GraNd of that layer, at the trained weights",
            undefined=NO_HEAD,
            source="after Paul et al. 2021 (arXiv 2107.07075)",
        ),
        Column("retain_cosine", "Cosine with Remaining Gradient", "1", "high").defined(
            "cosine of the gradient of the sample's cross-entropy with the mean of "
            "those of the other training samples, of at most 2,000",
            undefined="one of the two gradients is zero",
            source=CHEN,
        ),
        Column("class_cosine", "Cosine with Class Gradient", "1", "high").defined(
            "cosine of the gradient of the sample's cross-entropy with the mean of "
            "those of the other training samples of its class, of at most 2,000 in all",
            undefined="the sample is alone in its class, or one of the two gradients is zero",
        ),
        Column("hamu_curvature", "Curvature (HAMU)", "nats / weight", "low").defined(
            "r sqrt(|g_r|^2 |g_f|^2 - (g_r . g_f)^2) / |g_r| with r = 1, of the "
            "gradients of the sample g_f and of others g_r, as in retain_cosine: how much the "
            "sample's cross-entropy grows on a step of length r that keeps that of the others",
            undefined="one of the two gradients is zero",
            source=CHEN,
        ),
        Column("input_grad_norm", "Input Gradient Norm", "nats / pixel", "low").defined(
            "L2 norm of the gradient of the sample's cross-entropy in its image"
        ),
        *(
            Column(
                f"first_order_step_{name}", f"First-Order Step ({title})", "weight", "high"
            ).defined(
                f"margin of the sample, divided by the rate at which it falls along "
                f"{way} of its cross-entropy: how far it is to the flip, were the margin linear",
                undefined=UNREACHED,
            )
            for name, (title, way) in DIRECTIONS.items()
        ),
        *(
            Column(
                f"first_order_damage_{name}", f"First-Order Damage ({title})", "probability", "high"
            ).defined(
                "fall of the mean probability of the true label over at most 2,000 "
                f"test samples on the first-order step to the flip along {way}, were it linear",
                undefined=UNREACHED,
            )
            for name, (title, way) in DIRECTIONS.items()
        ),
    ),
)

FAMILIES = (GRADIENT,)
