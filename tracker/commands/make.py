"""Commands that make something: base models, predictions, sweeps, settings, advice, models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tracker.commands import RESUMES, Command, Rules, Spell, option, options
from tracker.commands.kinds import (
    FILE,
    FLAG,
    IDS,
    LARGEST_ID,
    LAST_SEED,
    LONGEST_NAME,
    PATH,
    REQUESTS,
    SETTINGS,
    SWITCH,
    choice,
    handle,
    path,
    real,
    text,
    whole,
)
from tracker.commands.shared import Computing, Limited, OfSweep, OnDevice, Printed
from unlearning import algorithms, architectures, datasets, presets
from unlearning.errors import UserError
from unlearning.naming import LATEST
from unlearning.recipe import OPTIMIZERS, Recipe

RECIPE = Recipe()
BESIDE = ("leave_out", "references")  # what is trained beside a base model
OF_TRAINING = ("preset", "learning_events", "leave_out")  # of the model itself
FAMILY = text("NAME|module:package.module:FAMILY")

advanced = partial(option, advanced=True)

WAYS = ("samples", "sample_ids", "requests", "ones")  # to say which samples


class Train(Computing):
    """Train a base model, or import one. The command line prints its run id.

    A model that was trained with the same settings before is found, not trained again.
    """

    does = "tracker.api.verbs:train"
    shows = "tracker.cli.make:train"
    stopped = ""  # a model that was being trained is lost
    example = """
        indelible train --dataset digits --arch small-cnn --seed 1
        indelible train --references 32
        indelible train --dataset cifar10 --preset paper --download
        indelible train --arch module:nets:Net --from-weights model.pt
        indelible train --dataset table:patients.parquet --label outcome
        """
    needs = (
        *((name, *BESIDE) for name in ("workers", "engine", "address", "slots")),
        ("reference_share", "references"),
    )
    exclusive = tuple(("from_weights", name) for name in OF_TRAINING)

    dataset: str = option(
        text("NAME|KIND:PATH"),
        lambda: (
            f"{', '.join(datasets.names())}, folder:PATH with train/ and test/, npz:PATH with "
            "arrays images and labels, or table:PATH, a Parquet or CSV file."
        ),
        "digits",
    )
    arch: str | None = option(
        text("NAME"),
        lambda: (
            f"{', '.join(architectures.names())}, a network of timm or torchvision as timm:NAME or "
            "torchvision:NAME, or module:package.module:factory."
        ),
        shown="small-cnn; mlp for a table",
    )
    arch_options: tuple[str, ...] = option(
        text("KEY=VALUE"),
        "An argument of the network's constructor, such as patch_size=4.",
        flag="--arch-option",
        many=True,
    )
    preset: str | None = option(text("NAME"), "How a preset trains on the data set, such as paper.")
    epochs: int | None = option(whole(), "Passes over the data.", shown=str(RECIPE.epochs))
    lr: float | None = option(
        real(above=0),
        "First learning rate; it falls to 0 along half a cosine.",
        shown=str(RECIPE.lr),
    )
    seed: int | None = option(
        whole(0, LAST_SEED), "Random seed of weights and batches.", shown=str(RECIPE.seed)
    )
    train_samples: int | None = option(whole(), "Train on N samples drawn once.", shown="all")
    test_samples: int | None = option(whole(), "Test on N samples drawn once.", shown="all")
    download: bool = option(FLAG, "Fetch the data set if it is not there.")
    from_weights: Path | None = option(
        FILE,
        "Import a state dict, of safetensors or torch.save, instead of training. The network gets "
        "images in [0, 1] as (N, channels, height, width), RGB; it normalises them itself if it "
        "needs that. Label 0 is the first class in the data set's order, which for folder: is the "
        "alphabetical one.",
    )
    batch_size: int | None = advanced(whole(), "Samples a step.", shown=str(RECIPE.batch_size))
    optimizer: str | None = advanced(
        choice(*OPTIMIZERS), "Adam, or SGD with Nesterov momentum 0.9.", shown=RECIPE.optimizer
    )
    mixed_precision: bool = advanced(
        FLAG, "Layers compute in bfloat16 where that is usual; weights and loss in float32."
    )
    stem: str | None = advanced(
        choice("cifar", "imagenet"),
        "First layers of resnet18: 3x3 without max-pool, or torchvision's.",
        shown="cifar",
    )
    image_size: int | None = advanced(whole(), "Resize a folder's images to NxN pixels.")
    label: str | None = advanced(text("COLUMN"), "The column of a table with the class.")
    split_column: str | None = advanced(
        text("COLUMN"),
        "The column of a table with train or test.",
        shown="a fifth, drawn once, is for test",
    )
    leave_out: tuple[int, ...] | None = advanced(
        IDS,
        "Also train a model without each of these samples, for the factors of family reference.",
    )
    references: int | None = option(
        whole(2, 100_000),
        "Also train N reference models by the same recipe, each without a random part of the "
        "samples: they tell whether a sample is forgotten. With --from-weights give the recipe.",
        shown="none",
    )
    reference_share: float | None = advanced(
        real(0, 1, above=0), "The share of the samples that each of them sees.", shown="0.75"
    )
    learning_events: bool | None = advanced(
        SWITCH,
        "Record how each sample is learned, for the factors of family learning; a model that is "
        "there without is trained again for it if this is given.",
        shown="record, but never train again",
    )

    @property
    def recipe(self) -> dict[str, Any]:
        """What is given of a recipe, by the names of its fields."""
        given = {name: getattr(self, name) for name in vars(RECIPE)}
        return {k: value for k, value in given.items() if value is not None and value is not False}

    def check(self, spell: Spell) -> None:
        """Refuse the recipe of what is neither trained nor has reference models to train."""
        super().check(spell)
        if self.from_weights and self.recipe and not self.references:
            first, weights = spell(next(iter(self.recipe))), spell("from_weights")
            raise UserError(f"{first} has no effect with {weights}, but for {spell('references')}")


class OfModel(Command):
    """What is about a base model and algorithms."""

    model: str = option(
        handle("Model"), "Base model: its name, id, or the beginning of its id.", LATEST
    )
    algorithms: tuple[str, ...] = option(
        text("NAME"),
        lambda: (
            f"Algorithm, once for each: {', '.join(algorithms.names())}, or "
            "module:package.module:Class."
        ),
        flag="--algorithm",
        many=True,
    )
    settings: tuple[str, ...] = option(
        SETTINGS, "Change a hyper-parameter, e.g. neggrad.lr=1e-3.", flag="--set", many=True
    )
    seed: int = option(whole(0, LAST_SEED), "Random seed of drawing and unlearning.", 0)


class Unlearning(OfModel):
    """What unlearns with settings that are known."""

    preset: str | None = option(
        text("NAME|FILE.toml", python=PATH),
        f"Hyper-parameters: {' or '.join(presets.names())}, or a file that 'indelible tune' wrote.",
        shown="the one for data set and architecture, or what flips most in a trial",
    )
    precision: str = advanced(
        choice("float32", "float64"),
        "Precision of weights and inputs; a part of every member's key.",
        "float32",
    )


class Named(Command):
    """What is about samples that may be named."""

    exclusive: ClassVar[Rules] = (WAYS,)

    sample_ids: tuple[int, ...] | None = option(
        IDS, "The samples with these ids, or a file with them."
    )
    requests: Path | tuple[str, ...] | None = option(
        REQUESTS,
        "Samples by what they are called, in a file with one a line: the path or name of an image "
        "file, or an id; # begins a comment.",
    )
    ones: tuple[int, ...] = advanced(
        whole(0, LARGEST_ID), "One sample id.", flag="--sample", many=True, on="line"
    )


class Ending(Command):
    """What is told when an attempt ends."""

    until: str = option(
        choice("flip", "reference"),
        "What ends an attempt: the prediction flips, as in the paper; or the model stands where it "
        "would, had it never seen the sample, which reference models tell (train --references).",
        "flip",
    )


class Members(Computing, Named, Ending, Unlearning):
    """What is about the attempts of some algorithms on some samples."""

    samples: int | None = option(
        whole(word="all"), "How many samples, drawn by the seed; all training samples.", shown="all"
    )
    remaining: int | None = advanced(
        whole(word="all"),
        "Training samples that stand for the remaining data in the factors; N are drawn once.",
        shown="all",
    )


class Repeated(Members):
    """What is about the attempts of a sweep, and of its repeats."""

    only_correct: bool = option(
        FLAG,
        "Choose among the samples that the base model gets right. Where the flip is the end, no "
        "other is unlearned.",
    )
    repeats: int = advanced(
        whole(), "The same samples under this many seeds, one after the other.", 1, on="line"
    )


class Sweep(Limited, Repeated):
    """Unlearn samples one at a time, and log every attempt. The command line prints the sweep's id.

    Every attempt becomes a child run of the sweep's parent run. The same sweep called again goes on
    where it stopped. Repeats are sweeps of their own: they tell how far GT (the ground-truth
    difficulty score) agrees with itself.

    As a shard it is one of N shares, each into a store of its own: give all of them the same chunk,
    or none, and to have the last bits of the whole sweep also the same execution. The same sweep
    without a shard does what is missing.
    """

    does = "tracker.api.verbs:sweep"
    shows = "tracker.cli.make:sweep"
    example = """
        indelible sweep --algorithm ga --algorithm salun --samples 100
        indelible --store shard-3 sweep --algorithm ga --samples 4000 --shard 3/16
        """
    requires = ("algorithms",)

    name: str | None = advanced(
        text("NAME", LONGEST_NAME), "Name of the sweep.", shown="what it does"
    )
    factors: tuple[str, ...] = advanced(
        FAMILY,
        "Also measure an optional factor family, such as relearning, or one of your own.",
        many=True,
    )
    chunk: int | None = advanced(whole(word="auto"), "Members at a time.", shown="auto")
    checkpoints: str = advanced(
        text("all|none|flipped|hardest:K|easiest:K"),
        "Whose unlearned weights to keep, for each algorithm.",
        "all",
    )
    execution: str = advanced(
        choice("auto", "stacked", "sequential"),
        "Members of a chunk together, or one by one; auto measures which is faster.",
        "auto",
    )
    histories: str = advanced(
        choice("runs", "none"),
        "Where to keep probability and loss after each step: as metrics of the child runs, or "
        "not at all; their final values are always kept.",
        "runs",
    )
    shard: str | None = advanced(
        text("K/N"), "Do only the K-th of N shares, to be merged later: see 'indelible merge'."
    )


class Predict(Printed, Repeated):
    """Predict what unlearning samples will come to, the hardest first, and write it down.

    Of each algorithm and sample: the steps, the probability that its prediction flips within the
    budget, the probability and the points of accuracy that the test set loses, and GT (the
    ground-truth difficulty score); rank 1 has the lowest GT of the samples that are predicted
    together. Options are those of 'indelible sweep': a prediction is of the attempts that a sweep
    with the same ones makes. Until the reference, a flip is that they arrive there, and rank 1
    loses the most points.

    Each prediction, one for each seed, becomes an MLflow run, with the time and the hashes of
    model, data and formula. Intervals (90%) come from attempts on other samples with the same
    settings and seed, where at least 20 are in the store.

    --score grades all predictions of a sweep's attempts, from the warehouse. A prediction that was
    made after an attempt, or calibrated on one, is refused.
    """

    does = "tracker.api.studies:predict"
    shows = "tracker.cli.studies:predict"
    example = """
        indelible predict --algorithm ga --samples 100
        indelible sweep --algorithm ga --samples 100 && indelible load
        indelible predict --score latest
        """
    exclusive = (
        *(("score", name) for name in options(Repeated) if name != "algorithms"),
        ("score", "only_new"),
        ("score", "top"),
    )

    only_new: bool = advanced(FLAG, "Leave out samples that were attempted already.")
    top: int | None = advanced(
        whole(), "How many of the hardest.", shown="10 in a table, else all", on="line"
    )
    score: str | None = option(handle("Sweep"), "Grade predictions by that sweep.", on="line")

    def check(self, spell: Spell) -> None:
        """Refuse to predict nothing."""
        super().check(spell)
        if self.score is None and not self.algorithms:
            raise UserError(f"{spell('algorithms')} is missing: name one at least, such as ga")


class Advise(Printed, Limited, Members):
    """Say with which algorithm to unlearn each sample, and what that costs.

    All algorithms are tried on all samples, in a sweep that is never the latest: name it to look at
    it. Of those that flip a sample, or bring it to the reference, the best is the one that loses
    the fewest points of test accuracy. Attempts that any sweep has made are found.

    Where no algorithm is named all are tried of which 'indelible predict' knows something, and
    until the reference also matching. What none unlearns within the limit is named.
    """

    does = "tracker.api.studies:advise"
    shows = "tracker.cli.studies:advise"
    example = "indelible advise --requests FILE --max-loss 1"


class Tune(Printed, Limited, Computing, Ending, OfModel):
    """Look for hyper-parameters that fit a base model, and write them as a preset.

    Settings are judged on a few samples, by how many of them flip and how much test accuracy that
    costs, and by nothing else: of those that flip 95%, the ones that lose the least are taken;
    where none do, the ones that flip the most. The defaults and the presets are tried first, so
    that what is found is as good on these samples at least. Settings that flip under half of the
    first 5 samples are not tried on the others. Settings that are given are not searched. Until the
    reference, a flip is that a sample arrives there.

    Every trial is an MLflow run, a child of the tuning's. The same command called again goes on
    where it stopped, and writes the same file.
    """

    does = "tracker.api.studies:tune"
    shows = "tracker.cli.studies:tune"
    example = """
        indelible tune --algorithm ga --algorithm scrub --output mine.toml
        indelible sweep --algorithm ga --algorithm scrub --preset mine.toml
        """
    requires = ("algorithms",)

    output: Path = option(path("FILE.toml", ".toml"), "The preset to write.", required=True)
    samples: int | None = option(
        whole(), "Samples to try settings on, of those the base model gets right.", shown="20"
    )
    trials: int = option(
        whole(1, 10_000),
        "Settings to try of each algorithm; its defaults and those of the presets at least.",
        25,
    )
    leave_out_samples: tuple[Path, ...] = advanced(
        FILE,
        "File with requests to try nothing on, such as those to be unlearned later.",
        many=True,
    )


class Unlearn(Printed, OnDevice, Named, Unlearning):
    """Make one model that has forgotten all requests, and write it with a record.

    A request is forgotten where the model stands where models stand that never saw it, as reference
    models tell; where there are none, 32 are trained first. Without an algorithm the command
    chooses: matching brings all requests there at once, at three learning rates, and the trial is
    kept that forgets all and loses the least. Where none does for --max-loss points of test
    accuracy or less, a model is trained without the requests.

    It ends with exit code 1 where requests are not forgotten, which are named, or more is lost. The
    command called again goes on where it stopped, and if it was done writes the same files again.
    With --model FOLDER, of an earlier one, it goes on from there.
    """

    does = "tracker.api.studies:unlearn"
    shows = "tracker.cli.studies:unlearn"
    example = """
        indelible unlearn --requests requests.txt --output forgotten
        indelible unlearn --requests tuesday.txt --model forgotten --output tuesday
        indelible unlearn --requests requests.txt --algorithm retrain --output forgotten
        """
    stopped = RESUMES

    model: str = option(
        handle("Model"),
        "Base model: its name, id, or the beginning of its id; or the folder or the run id of an "
        "earlier unlearning, to go on from it.",
        LATEST,
    )
    output: Path = option(
        path("DIR"), "Folder for the weights, the table and the record.", required=True
    )
    until: str = option(
        choice("reference", "flip"),
        "When a request counts as forgotten: the model stands where models stand that never saw "
        "it; or its prediction is another one than the label.",
        "reference",
    )
    max_loss: float = option(
        real(0, 100, metavar="POINTS"), "Percentage points of test accuracy that it may cost.", 1.0
    )
    retrain: bool = option(
        FLAG, "In any case also train a model without the requests, to stand beside."
    )
    references: int = advanced(
        whole(2, 100_000), "Reference models to train where there are none.", 32
    )
    epochs: int | None = advanced(whole(), "Recipe of an imported model: passes over the data.")
    lr: float | None = advanced(real(above=0), "Recipe of an imported model: learning rate.")
    batch_size: int | None = advanced(whole(), "Recipe of an imported model: samples a step.")
    optimizer: str | None = advanced(choice(*OPTIMIZERS), "Recipe of an imported model.")
    order: str | None = advanced(
        choice("given", "together"),
        "One after the other as given, or all at once.",
        shown="together where the algorithm can, else given",
    )
    rounds: int = advanced(
        whole(1, 1000),
        "Passes over the requests, at most: those still remembered are unlearned once more.",
        3,
    )
    register: str | None = advanced(text("NAME"), "Also register it in MLflow as that model.")

    @property
    def recipe(self) -> dict[str, Any]:
        """What is given of a recipe, by the names of its fields."""
        given = {name: getattr(self, name, None) for name in vars(RECIPE) if name != "seed"}
        return {name: value for name, value in given.items() if value is not None}

    def check(self, spell: Spell) -> None:
        """Refuse samples that are not named, and until the flip to choose an algorithm."""
        super().check(spell)
        if not (self.sample_ids or self.requests or self.ones):
            ways = f"{spell('requests')} or {spell('sample_ids')}"
            raise UserError(f"name what is to be forgotten with {ways}")
        if self.until == "flip" and not self.algorithms:
            raise UserError(f"with {spell('until')} flip name an algorithm: {spell('algorithms')}")


class Audit(Printed, Computing, OfSweep):
    """Ask whether models that forgot a sample can be told from models that never saw it.

    Reference models stand for the base model. Those of them that saw a sample of the sweep forget
    it, with the sweep's algorithms, settings and stop, and are compared with those that never saw
    it: an AUC of .5 tells nothing apart. The same is said of models to which nothing was done, and
    of models that never saw the sample beside others that did not.

    One half of the reference models is audited, and the other says where they stop. An audit needs
    models of both kinds: train them with --reference-share 0.5.
    """

    does = "tracker.api.studies:audit"
    shows = "tracker.cli.studies:audit"
    example = """
        indelible train --references 64 --reference-share 0.5
        indelible sweep --algorithm ga --samples 100 --until reference
        indelible audit
        """

    models: int | None = option(whole(), "How many reference models are audited.", shown="half")


class Measure(Printed, Computing, Named):
    """Measure the factors that members lack, or have of another version of the code.

    Factors that are known beforehand come from the base model; others from the checkpoint, which is
    restored and evaluated; those of cost from what is logged. A sweep called again does the same
    for its own members. Of a base model the factors that are known beforehand are measured of
    samples that no sweep has asked for, and `samples` has them after the next load.
    """

    does = "tracker.api.verbs:measure"
    shows = "tracker.cli.make:measure"
    example = """
        indelible measure --sweep all
        indelible measure --model latest --samples all
        """
    needs = (("model", *WAYS), *((name, "model") for name in WAYS))
    exclusive = (("model", "sweep"), ("model", "recompute"))

    sweep: str | None = option(handle("Sweep"), "Whose members are measured, or all.", shown=LATEST)
    model: str | None = option(handle("Model"), "Measure samples of a base model instead.")
    samples: int | None = option(whole(word="all"), "Of the base model: all, or N drawn by seed 0.")
    factor: tuple[str, ...] = option(
        text("NAME"), "Only the family of this factor.", many=True, shown="all"
    )
    factors: tuple[str, ...] = advanced(
        FAMILY,
        "Also an optional factor family, such as relearning, or one of your own.",
        many=True,
    )
    recompute: bool = option(
        FLAG, "Unlearn members again that have no checkpoint, keep it, and measure."
    )


class Demo(Limited, OnDevice):
    """Train, predict, unlearn, load, correlate, rank and report, on handwritten digits.

    With four algorithms until the prediction flips, and with ga until the model stands where it
    would, had it never seen the sample, which 16 reference models tell. What is done already is
    found and not done again. Only attempts that are not in the store are predicted.
    """

    does = "tracker.cli.demo:run"
    example = "indelible demo --samples 50"
    stopped = RESUMES

    samples: int = option(whole(), "How many.", 250)
