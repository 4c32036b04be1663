"""How far a sample is from the decision boundary of the base model."""

import copy
import math

import numpy as np
import torch
from foolbox.attacks.deepfool import L2DeepFoolAttack
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from tests.oracles.arrays import Maybe, Numbers, as_float64


def deepfool_norm(
    module: nn.Module, image: Tensor, *, steps: int = 50, overshoot: float = 0.02
) -> Maybe:
    """L2 norm of foolbox's DeepFool perturbation of one image (C, H, W), without the overshoot.

    From the predicted class, all classes as candidates, no clipping (very wide bounds), in
    float64. None if the prediction has not changed after `steps` steps. foolbox adds 1e-4 to the
    length of each step, so that the norm exceeds the exact one by about 1e-4 per step.
    """
    model = copy.deepcopy(module).double().eval()
    clean = image.detach().double().unsqueeze(0)
    with torch.no_grad():
        predicted = model(clean).argmax(dim=1)
    wrapped = PyTorchModel(model, bounds=(-1e12, 1e12), device=image.device)
    attack = L2DeepFoolAttack(steps=steps, candidates=None, overshoot=overshoot)
    adversarial, _, success = attack(wrapped, clean, predicted, epsilons=None)
    if not bool(success[0]):
        return None
    return float(torch.linalg.vector_norm(adversarial - clean)) / (1.0 + overshoot)


def linear_deepfool_norm(weight: Numbers, bias: Numbers, x: Numbers) -> Maybe:
    """DeepFool's closed form for logits W x + b, with p the predicted class.

    min over k != p of |f_k - f_p| / ||w_k - w_p||; rows equal to w_p have no boundary with p and
    are skipped, None if no row is left.
    """
    w, b, point = as_float64(weight), as_float64(bias), as_float64(x).flatten()
    logits = [float(np.dot(w[k], point) + b[k]) for k in range(len(b))]
    p = int(np.argmax(logits))
    distances = []
    for k in range(len(b)):
        norm = float(np.linalg.norm(w[k] - w[p]))
        if k != p and norm > 0:
            distances.append(abs(logits[k] - logits[p]) / norm)
    return min(distances) if distances else None


def linear_boundary_distance(weight: Numbers, bias: Numbers, phi: Numbers) -> Maybe:
    """min over k of |w_k . phi + b_k| / ||w_k||; zero rows are skipped, None if no row is left."""
    w, b, point = as_float64(weight), as_float64(bias), as_float64(phi).flatten()
    distances = []
    for k in range(len(b)):
        norm = float(np.linalg.norm(w[k]))
        if norm > 0:
            distances.append(abs(float(np.dot(w[k], point) + b[k])) / norm)
    return min(distances) if distances else None


def pairwise_boundary_distance(weight: Numbers, bias: Numbers, phi: Numbers, label: int) -> float:
    """min over k != label of |(w_y - w_k) . phi + b_y - b_k| / ||w_y - w_k||.

    Rows equal to w_y have no boundary with y and are skipped, NaN if no row is left.
    """
    w, b, point = as_float64(weight), as_float64(bias), as_float64(phi).flatten()
    distances = []
    for k in range(len(b)):
        normal = w[label] - w[k]
        norm = float(np.linalg.norm(normal))
        if k != label and norm > 0:
            distances.append(abs(float(np.dot(normal, point) + b[label] - b[k])) / norm)
    return min(distances) if distances else math.nan
