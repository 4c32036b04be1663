"""A sample among the features of the training data, and in the last layer alone."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from torch import Tensor

from tests.oracles.arrays import Labels, Numbers, as_float64, as_ints, squared_distance


def knn_agreement(features: Numbers, labels: Labels, index: int, neighbours: int = 10) -> float:
    """Share of the nearest other rows that have the label of row `index`.

    All other rows where there are fewer; of equally distant ones those that come first.
    """
    rows, targets = as_float64(features), as_ints(labels)
    others = [i for i in range(len(rows)) if i != index]
    others.sort(key=lambda i: (squared_distance(rows[i], rows[index]), i))
    nearest = others[:neighbours]
    return sum(targets[i] == targets[index] for i in nearest) / len(nearest)


def leverage(features: Numbers, index: int) -> float:
    """By how much the fit at row `index` grows when its own target grows by one.

    The fit is scikit-learn's ridge regression on the features, with an intercept that is not
    penalised and alpha 1e-6 of the mean over features of their squared deviations' sum. A fit is
    linear in the targets, so it is that to a target of one for this row and zero for all others.
    """
    rows = as_float64(features)
    alpha = 1e-6 * float(np.mean(np.sum((rows - rows.mean(axis=0)) ** 2, axis=0)))
    target = np.zeros(len(rows))
    target[index] = 1.0
    fit = Ridge(alpha=alpha, solver="svd").fit(rows, target)
    return float(fit.predict(rows[index : index + 1])[0])


def last_layer_influence(
    weight: Tensor, bias: Tensor | None, features: Tensor, labels: Tensor, index: int
) -> float:
    """g^T (H + damping I)^-1 g over the last layer's parameters, for row `index`.

    H is the Hessian of the mean cross-entropy, of which only what lies within one class is kept,
    damping a tenth of the mean of its diagonal. Both derivatives are autograd's.
    """
    rows = features.double()
    if bias is not None:
        rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1).double()
        weight = torch.cat([weight, bias[:, None]], dim=1)
    weight = weight.detach().double()

    def loss_of(some: Tensor, targets: Tensor, label: int, own: Tensor) -> Tensor:
        """Mean cross-entropy as a function of the weights of one class."""
        others = [own if k == label else row for k, row in enumerate(weight)]
        return F.cross_entropy(some @ torch.stack(others).T, targets)

    hessians, gradients = [], []
    for label, own in enumerate(weight):
        hessians.append(
            torch.autograd.functional.hessian(
                lambda own, label=label: loss_of(rows, labels, label, own), own
            )
        )
        leaf = own.clone().requires_grad_()
        one = slice(index, index + 1)
        (gradient,) = torch.autograd.grad(loss_of(rows[one], labels[one], label, leaf), leaf)
        gradients.append(gradient.numpy())
    blocks = [block.numpy() for block in hessians]
    damping = 0.1 * float(np.mean([np.diag(block) for block in blocks]))
    total = 0.0
    for block, gradient in zip(blocks, gradients, strict=True):
        damped = block + damping * np.eye(len(block))
        total += float(gradient @ np.linalg.solve(damped, gradient))
    return total
