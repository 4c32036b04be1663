"""What the study does: its base models, samples, sweeps and folder. Everything is set here.

The hold-out: samples, settings, factors, and what of the index is held against each target, were
chosen on digits, training seed 0, with clean labels. Numbers of models, repeats and audits of the
others follow from how long these take alone. Base models are small-cnn by the default recipe, and
algorithms have the preset `digits`, on both data sets: nothing was tuned for Fashion-MNIST.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ALGORITHMS = ("ga", "neggrad", "salun", "scrub")
UNTIL = ("reference", "flip")
PRESET = "digits"
TARGETS = ("gt", "z", "points_lost", "relearn_steps", "unlearning_gap", "auc")

# One or two of each kind that is known before unlearning: most of the others order samples as the
# margin does.
FACTORS = (
    *("margin", "grad_norm", "deepfool_norm", "flip_probe_step_adam", "flip_probe_damage_adam"),
    *("entanglement", "knn_agreement", "cumulative_loss", "memorization"),
    *("reference_phi", "reference_sd", "z_untouched"),
)
# What the index says that is held against a target: that of the largest |rho|.
INDEX = {
    "gt": "gt",
    "z": "prob_lost",
    "points_lost": "points_lost",
    "relearn_steps": "steps",
    "unlearning_gap": "steps",
    "auc": "steps",
}


@dataclass(frozen=True)
class Case:
    """A base model, small-cnn by the default recipe, and what is unlearned from it.

    Attributes:
        dataset: `digits`, or `fashion-mnist`. seed: of the base model.
        wrong: the share of training labels that are wrong; of its samples half are mislabelled.
        references: models, each of half of the data; half of them are audited.
        few: of the samples, those that are relearned. left_out: of these, those that are left out
            of a training of their own.
        seeds: of unlearning, for algorithms that have chance in them.
        audited: after which ends the reference models are audited.
        counted: reference models in all, where it is asked how few do; 0 where it is not.
    """

    dataset: str
    seed: int
    wrong: float
    references: int
    few: int = 0
    left_out: int = 0
    seeds: int = 1
    audited: tuple[str, ...] = UNTIL
    counted: int = 0

    @property
    def name(self) -> str:
        """What tables call it."""
        labels = f"{self.wrong:.0%} wrong" if self.wrong else "clean"
        return f"{self.dataset} {self.seed}, {labels}"


@dataclass(frozen=True)
class Study:
    """All of it.

    Attributes:
        folder: where stores, data and what was computed are kept; a second call goes on.
        cases: of which the first is the one on which choices were made.
        samples: of each case, which the base model gets right.
        sizes: by data set, training and test images: the first ones; all where it is not named.
        counts: reference models, of which it is asked whether they do. draws: of so many.
    """

    folder: Path
    cases: tuple[Case, ...]
    samples: int = 60
    sizes: Mapping[str, tuple[int, int]] | None = None
    counts: tuple[int, ...] = (8, 16, 32, 64)
    draws: int = 6


WRONG, REFERENCE = 0.1, UNTIL[:1]
STUDY = Study(
    folder=Path("build/forgetting"),
    cases=(
        Case("digits", 0, 0.0, 64, 16, 16, 2, counted=128),
        Case("fashion-mnist", 0, 0.0, 32, seeds=2, counted=64),
        Case("fashion-mnist", 0, WRONG, 32, seeds=2, counted=64),
        Case("digits", 0, WRONG, 32, 12, 8, 2, counted=128),
        Case("digits", 1, 0.0, 32, 12, 8, audited=REFERENCE),
        Case("digits", 1, WRONG, 32, 12, 8, audited=REFERENCE),
        Case("fashion-mnist", 1, 0.0, 32, audited=REFERENCE),
        Case("fashion-mnist", 1, WRONG, 32, audited=REFERENCE),
        Case("digits", 2, 0.0, 32, 12, 8, audited=REFERENCE),
        Case("digits", 2, WRONG, 32, 12, 8, audited=REFERENCE),
    ),
    sizes={"fashion-mnist": (2000, 1000)},
)
