"""What speaks against an imported model having been trained on this data, given as it is here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from unlearning.datasets import Dataset

BY_LUCK = 1e-3  # a p-value below which luck is ruled out
GAP = 0.25  # of what lies between chance and 1, that a trained model closes
SHOWN = 3  # classes that are named

BELOW = """\
the imported model gets {accuracy:.1%} of the test set right, where always '{largest}' would get \
{chance:.1%}: either it is no better than that, or it was trained on other inputs than it is given \
here. What usually is wrong:
- the scale: {scale}
- the layout: {layout}
- the order of the labels: {labels}
- the data set, or the architecture's options, are others than in training
If that is how good it is, nothing is wrong."""
UNSEEN = """\
the imported model gets {train:.1%} of the training set right and {test:.1%} of the test set: it \
may have been trained on other samples than these {count}, and to unlearn one that it has never \
seen means nothing"""


def doubts(metrics: Mapping[str, float], dataset: Dataset) -> Iterator[str]:
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
