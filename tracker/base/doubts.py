"""What speaks against an imported model having been trained on this data, given as it is here."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn

from unlearning.base_model import BLOCK
from unlearning.datasets import Dataset

BY_LUCK = 1e-3  # a p-value below which luck is ruled out
GAP = 0.25  # of what lies between chance and 1, that a trained model closes
SHOWN = 3  # classes that are named
TRIED = 1000  # test samples, at most, that are given in other ways
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation, as usual for it

BELOW = """\
the imported model gets {accuracy:.1%} of the test set right, where always '{largest}' would get \
{chance:.1%}: either it is no better than that, or it was trained on other inputs than it is given \
here. What usually is wrong:
- the scale: {scale}
- the layout: {layout}
- the order of the labels: {labels}
- the data set, or the architecture's options, are others than in training
If that is how good it is, nothing is wrong."""
OTHER_INPUTS = """\
the imported model gets {here:.1%} of {count} test samples right, and {there:.1%} if {what}: it \
was probably trained so, and its network has to begin with that"""
OTHER_ORDER = """\
the imported model gets {here:.1%} of {count} test samples right, and {there:.1%} if its outputs \
are put in another order, as {first}: its classes probably are in that one"""
UNSEEN = """\
the imported model gets {train:.1%} of the training set right and {test:.1%} of the test set: it \
may have been trained on other samples than these {count}, and to unlearn one that it has never \
seen means nothing"""


def of_accuracies(metrics: Mapping[str, float], dataset: Dataset) -> Iterator[str]:
    """Warnings about an imported model, by the accuracies that its run has as metrics.

    One if on the test set it is not clearly better than always the most frequent class there: by
    an exact binomial test, which counts where the test set is small, or by closing less than a
    quarter of the gap between that and 1, where it is large. Another if it is better on the test
    set than on the training set by more than luck, as Fisher's exact test has it.
    """
    from scipy.stats import binomtest, fisher_exact  # a second, which other trainings need not

    trained, tested = len(dataset.train), len(dataset.test)
    train, test = (metrics[f"{split}_accuracy"] for split in ("train", "test"))
    right = round(test * tested)
    (largest, most), *_ = Counter(dataset.test.labels.tolist()).most_common(1)
    chance = most / tested
    by_luck = binomtest(right, tested, chance, alternative="greater").pvalue > BY_LUCK
    if by_luck or test - chance < GAP * (1 - chance):
        yield BELOW.format(
            accuracy=test,
            chance=chance,
            largest=dataset.classes[largest],
            **_given(dataset),
        )
    table = [[right, tested - right], [round(train * trained), trained - round(train * trained)]]
    if fisher_exact(table, alternative="greater").pvalue < BY_LUCK:
        yield UNSEEN.format(train=train, test=test, count=trained)


def of_inputs(network: nn.Module, dataset: Dataset) -> Iterator[str]:
    """Warnings by what the network makes of test samples that it is given in other ways.

    One if some way that is usual elsewhere explains more than half of what it gets wrong, by more
    than luck in an exact sign test of those that differ, corrected for the ways. Another if other
    names of its outputs explain more than half.
    """
    from scipy.optimize import linear_sum_assignment

    # A network may index by its inputs, and a GPU that did so out of range is of no use any more.
    network = copy.deepcopy(network).cpu().eval()
    some = dataset.test.draw(TRIED)
    inputs, labels = dataset.inputs(some), some.labels
    predicted = _predicted(network, inputs)
    right = predicted == labels
    here, count = right.double().mean().item(), len(labels)
    if better := _better_way(network, dataset, inputs, labels, right):
        yield OTHER_INPUTS.format(here=here, count=count, what=better[0], there=better[1])
    size = len(dataset.classes)
    confused = torch.bincount(predicted * size + labels, minlength=size**2).reshape(size, size)
    outputs, meant = linear_sum_assignment(confused.numpy(), maximize=True)
    there = confused[outputs, meant].sum().item() / count
    if _explains(there, here):
        moved = next(output for output in outputs if output != meant[output])
        names = dataset.classes[moved], dataset.classes[meant[moved]]
        first = f"the output of '{names[0]}' for '{names[1]}'"
        yield OTHER_ORDER.format(here=here, count=count, there=there, first=first)


def _better_way(
    network: nn.Module, dataset: Dataset, inputs: Tensor, labels: Tensor, right: Tensor
) -> tuple[str, float] | None:
    """In which way the network gets most right, and what share; None if in none clearly more."""
    from scipy.stats import binomtest

    ways = _other_ways(dataset)
    luck = BY_LUCK / len(ways)
    if 0.5 ** int((~right).sum()) >= luck:  # too few are wrong for any way to be clearly better
        return None
    found: dict[str, Tensor] = {}
    for what, way in ways.items():
        with suppress(Exception):  # what a network of the user's makes of inputs it is not made for
            found[what] = _predicted(network, way(inputs)) == labels
    best = max(found, key=lambda what: int(found[what].sum()), default=None)
    if best is None:
        return None
    there, here = (part.double().mean().item() for part in (found[best], right))
    if not _explains(there, here):
        return None
    gained, lost = int((found[best] & ~right).sum()), int((right & ~found[best]).sum())
    chance = binomtest(gained, gained + lost, alternative="greater").pvalue
    return (best, there) if chance < luck else None


def _explains(there: float, here: float) -> bool:
    """Whether one accuracy leaves less than half of the errors of another."""
    return there - here > (1 - here) / 2


def _predicted(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(block).argmax(dim=1) for block in inputs.split(BLOCK)])


def _other_ways(dataset: Dataset) -> dict[str, Callable[[Tensor], Tensor]]:
    """How other programs give a network the same samples: in words, and from ours, (N, C, H, W)."""
    if dataset.columns is not None:
        means, scales = (
            torch.tensor(values, dtype=torch.float64)[:, None, None]
            for values in (dataset.columns.means, dataset.columns.scales)
        )
        return {"features are as in the file": lambda x: (x * scales + means).float()}
    channels, height, width = dataset.image_shape
    train = dataset.inputs(dataset.train.draw(TRIED))
    mean = train.mean(dim=(0, 2, 3))[:, None, None]
    spread = train.std(dim=(0, 2, 3))[:, None, None].clamp(min=1e-6)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "pixels are from -1 to 1": lambda x: 2 * x - 1,
        "pixels are from 0 to 255": lambda x: 255 * x,
        "channels are normalised to mean 0 and standard deviation 1": lambda x: (x - mean) / spread,
        "black is 1 and white is 0": lambda x: 1 - x,
    }
    if dataset.white != 255:
        ways[f"pixels are from 0 to {dataset.white}"] = lambda x: dataset.white * x
    if height == width:
        ways["rows and columns are exchanged"] = lambda x: x.transpose(2, 3)
    if channels == 3:
        usual, deviation = (torch.tensor(values)[:, None, None] for values in IMAGENET)
        ways["channels are normalised as for ImageNet"] = lambda x: (x - usual) / deviation
        ways["channels are in the order blue, green, red"] = lambda x: x.flip(1)
    return ways


def _given(dataset: Dataset) -> dict[str, str]:
    """What a model is given here, in words."""
    named = [f"{number} is '{name}'" for number, name in enumerate(dataset.classes[:SHOWN])]
    labels = f"{', '.join(named)}{', ...' if len(dataset.classes) > SHOWN else ''}"
    if dataset.columns is not None:
        names = ", ".join(dict.fromkeys(dataset.columns.names[:SHOWN]))
        return {
            "scale": "each feature has mean 0 and standard deviation 1 in the training part",
            "layout": f"a row has the shape (features, 1, 1), in the file's order, from {names} on",
            "labels": labels,
        }
    shape = dataset.image_shape
    colours = {1: ", grey", 3: ", in the order red, green, blue"}.get(shape[0], "")
    return {
        "scale": "images are in [0, 1]; a normalisation by mean and standard deviation has to be a "
        "part of the network",
        "layout": f"an image has the shape (channels, height, width), {shape}{colours}",
        "labels": labels,
    }
