"""Gradients of a single sample at the base model, in float64, one backward pass at a time."""

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.oracles.arrays import Array, Labels, as_float64, as_ints

Score = Callable[[Tensor], Tensor]  # a number of the logits of one image
Direction = Callable[[Array], Array]  # made of the cross-entropy's gradient
Step = Callable[[nn.Module, Tensor, int], float]


def loss(label: int) -> Score:
    """Cross-entropy of logits (classes,)."""
    return lambda logits: F.cross_entropy(logits[None], torch.tensor([label]))


def margin(label: int) -> Score:
    """Logit of the label minus the highest of the others."""
    return lambda logits: logits[label] - torch.cat([logits[:label], logits[label + 1 :]]).max()


def probability(label: int) -> Score:
    """Softmax probability of the label."""
    return lambda logits: torch.softmax(logits, dim=0)[label]


def gradients(model: nn.Module, score: Score, image: Tensor) -> dict[str, Array]:
    """The gradient of a score of one image's logits in each parameter, in eval mode."""
    plain = copy.deepcopy(model).double().eval().requires_grad_(True)
    named = dict(plain.named_parameters())
    found = torch.autograd.grad(
        score(plain(image.detach().double()[None])[0]), list(named.values())
    )
    return {name: as_float64(part) for name, part in zip(named, found, strict=True)}


def gradient(model: nn.Module, score: Score, image: Tensor) -> Array:
    """The same in all parameters, flat."""
    return np.concatenate([part.ravel() for part in gradients(model, score, image).values()])


def loss_gradients(model: nn.Module, images: Tensor, labels: Labels) -> list[Array]:
    """That of each image's cross-entropy."""
    targets = as_ints(labels)
    return [gradient(model, loss(y), image) for image, y in zip(images, targets, strict=True)]


def probability_gradient(model: nn.Module, images: Tensor, labels: Labels) -> Array:
    """That of the mean probability of the true label."""
    targets = as_ints(labels)
    each = [gradient(model, probability(y), x) for x, y in zip(images, targets, strict=True)]
    return mean(each)


def mean(rows: Sequence[Array]) -> Array:
    """The mean of vectors, added up one by one."""
    total = np.zeros_like(rows[0])
    for row in rows:
        total = total + row
    return total / len(rows)


def dot(a: Array, b: Array) -> float:
    """a . b, summed without rounding."""
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def cosine(a: Array, b: Array) -> float:
    """a . b / (|a| |b|), NaN where one of them is zero."""
    norms = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
    return dot(a, b) / norms if norms > 0 else math.nan


def last_layer_grad_norm(model: nn.Module, layer: str, image: Tensor, label: int) -> float:
    """Norm of the gradient of the cross-entropy in the parameters of one layer."""
    parts = gradients(model, loss(label), image)
    own = [part.ravel() for name, part in parts.items() if name.startswith(f"{layer}.")]
    return float(np.linalg.norm(np.concatenate(own)))


def retain_cosine(gradients: Sequence[Array], index: int) -> float:
    """Cosine of one gradient with the mean of all the others."""
    others = [row for i, row in enumerate(gradients) if i != index]
    return cosine(gradients[index], mean(others))


def class_cosine(gradients: Sequence[Array], labels: Labels, index: int) -> float:
    """Cosine of one gradient with the mean of the others of its class, NaN if there are none."""
    targets = as_ints(labels)
    others = [row for i, row in enumerate(gradients) if i != index and targets[i] == targets[index]]
    return cosine(gradients[index], mean(others)) if others else math.nan


def hamu_curvature(gradients: Sequence[Array], index: int) -> float:
    """Norm of what is left of one gradient without its part along the mean of all the others.

    That is sqrt(|g_r|^2 |g_f|^2 - (g_r . g_f)^2) / |g_r|; NaN where one of them is zero.
    """
    own = gradients[index]
    retain = mean([row for i, row in enumerate(gradients) if i != index])
    if dot(own, own) == 0 or dot(retain, retain) == 0:
        return math.nan
    left = own - dot(own, retain) / dot(retain, retain) * retain
    return math.sqrt(dot(left, left))


def input_grad_norm(model: nn.Module, image: Tensor, label: int) -> float:
    """Norm of the gradient of the cross-entropy in the image."""
    plain = copy.deepcopy(model).double().eval()
    leaf = image.detach().double().requires_grad_()
    (found,) = torch.autograd.grad(loss(label)(plain(leaf[None])[0]), leaf)
    return float(np.linalg.norm(as_float64(found)))


def unit(values: Array) -> Array:
    """The vector at length one."""
    return values / math.sqrt(dot(values, values))


def step(model: nn.Module, image: Tensor, label: int, along: Direction) -> float:
    """Margin over the rate at which it falls when the weights move in a direction.

    NaN where the image is misclassified, or the margin does not fall.
    """
    plain = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        logits = plain(image.detach().double()[None])[0]
    if int(logits.argmax()) != label:
        return math.nan
    direction = along(gradient(model, loss(label), image))
    rate = -dot(gradient(model, margin(label), image), direction)
    return float(margin(label)(logits)) / rate if rate > 0 else math.nan


def first_order_step_sgd(model: nn.Module, image: Tensor, label: int) -> float:
    """Along the gradient of the cross-entropy, at length one."""
    return step(model, image, label, unit)


def first_order_step_adam(model: nn.Module, image: Tensor, label: int) -> float:
    """Along the signs of the gradient of the cross-entropy."""
    return step(model, image, label, np.sign)


def first_order_damage_sgd(model: nn.Module, image: Tensor, label: int, test: Array) -> float:
    """By how much the test set's probability falls on that step.

    Args:
        test: the gradient of its mean, of `probability_gradient`.
    """
    direction = unit(gradient(model, loss(label), image))
    return -dot(test, direction) * first_order_step_sgd(model, image, label)


def first_order_damage_adam(model: nn.Module, image: Tensor, label: int, test: Array) -> float:
    """The same along the signs."""
    direction = np.sign(gradient(model, loss(label), image))
    return -dot(test, direction) * first_order_step_adam(model, image, label)
