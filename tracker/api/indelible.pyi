"""The types of `indelible`, as `python -m tracker.api.stub` writes them."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from duckdb import DuckDBPyRelation as Table
from torch import nn

from tracker import __version__
from tracker.api.store import Model, Sweep, Unlearning
from unlearning.errors import Failure, UserError

__all__ = [
    "Failure",
    "Model",
    "Store",
    "Sweep",
    "Unlearning",
    "UserError",
    "__version__",
    "open",
]

PathLike = str | os.PathLike[str]

class Store:
    """A store: made by `indelible.open`.

    What is done in it is what the command line does, under the same keys: a sweep that was begun
    here goes on there, and the other way round. An interrupted call goes on where it stopped when
    it is made again. Nothing is promised to threads that share a store.

    Answers are DuckDB relations in memory: `.df()` gives one to pandas, `.to_arrow_table()` to
    Arrow, `.fetchall()` to Python, and `.filter()`, `.order()` and `.limit()` ask on. They are
    read-only, have no access to files, and stay as they are when the store changes.

    Every mistake is a `UserError` and whatever fails outside a `Failure`, each with one line.
    """

    def advise(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        preset: str | os.PathLike[str] | None = None,
        until: Literal["flip", "reference"] = "flip",
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        samples: int | None = None,
        max_loss: float = 5.0,
        precision: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        remaining: int | None = None,
    ) -> Table:
        """Say with which algorithm to unlearn each sample, and what that costs.

        All algorithms are tried on all samples, in a sweep that is never the latest: name it to
        look at it. Of those that flip a sample, or bring it to the reference, the best is the
        one that loses the fewest points of test accuracy. Attempts that any sweep has made are
        found.

        Where no algorithm is named all are tried of which 'indelible predict' knows something,
        and until the reference also matching. What none unlearns within the limit is named.

        Args:
            model: Base model: its name, id, or the beginning of its id.
            algorithms: Algorithm, once for each: boundary_shrink, ft, ft_l1, ga, influence,
                matching, neggrad, random_label, retrain, salun, scrub, scrub_r, ssd, or
                module:package.module:Class.
            settings: Change a hyper-parameter, e.g. neggrad.lr=1e-3.
            seed: Random seed of drawing and unlearning.
            preset: Hyper-parameters: digits or paper, or a file that 'indelible tune' wrote.
                Default: the one for data set and architecture, or what flips most in a trial.
            until: What ends an attempt: the prediction flips, as in the paper; or the model
                stands where it would, had it never seen the sample, which reference models tell
                (train --references).
            sample_ids: The samples with these ids, or a file with them.
            requests: Samples by what they are called, in a file with one a line: the path or
                name of an image file, or an id; # begins a comment.
            samples: How many samples, drawn by the seed; all training samples. Default: all.
            max_loss: A flip that costs more percentage points of test accuracy counts as
                damage.
            precision: Precision of weights and inputs; a part of every member's key.
            device: Where to compute; auto takes an NVIDIA GPU where there is one.
            workers: Threads. Default: one a core.
            engine: Who computes: threads of this process, or the nodes of a Ray cluster.
            address: Address of the Ray cluster; local begins one on this machine. Default:
                RAY_ADDRESS, or one that runs here, or else local.
            slots: CPUs of the Ray cluster to take, or GPUs. Default: all.
            remaining: Training samples that stand for the remaining data in the factors; N are
                drawn once. Default: all.

        Returns:
            A row a sample, with the run that `restore` takes.

        Example:
            >>> store.advise(requests=["cat/1.png", 7], max_loss=1).df()
        """

    def audit(
        self,
        *,
        sweep: Sweep | str = "latest",
        models: int | None = None,
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
    ) -> Table:
        """Ask whether models that forgot a sample can be told from models that never saw it.

        Reference models stand for the base model. Those of them that saw a sample of the sweep
        forget it, with the sweep's algorithms, settings and stop, and are compared with those
        that never saw it: an AUC of .5 tells nothing apart. The same is said of models to which
        nothing was done, and of models that never saw the sample beside others that did not.

        One half of the reference models is audited, and the other says where they stop. An
        audit needs models of both kinds: train them with --reference-share 0.5.

        Args:
            sweep: The sweep to look at: its name, id, or the beginning of its id ('indelible
                sweeps').
            models: How many reference models are audited. Default: half.
            device: Where to compute; auto takes an NVIDIA GPU where there is one.
            workers: Threads. Default: one a core.
            engine: Who computes: threads of this process, or the nodes of a Ray cluster.
            address: Address of the Ray cluster; local begins one on this machine. Default:
                RAY_ADDRESS, or one that runs here, or else local.
            slots: CPUs of the Ray cluster to take, or GPUs. Default: all.

        Returns:
            A row an algorithm and control, over all samples.

        Example:
            >>> store.audit(sweep=sweep).df()
        """

    def check(
        self,
    ) -> Table:
        """Check the store, and print one row per problem.

        A damaged database; child runs without a sweep, finished without metrics, twice under
        one key, or half written; artifacts on this machine that are missing or damaged, or
        belong to no run; a GT (ground-truth difficulty score) that does not follow from its F
        and U.

        --repair lists what it would do and asks. It deletes such runs in MLflow (the same sweep
        does them again), deletes files that belong to no run, and loads the warehouse.

        Args:

        Returns:
            One row per problem.
        """

    def figures(
        self,
        sweep: Sweep | str = "latest",
        *,
        max_loss: float = 5.0,
        output: str | os.PathLike[str] | None = None,
        log: bool = False,
        kind: Literal["png", "pdf", "svg"] = "png",
        every: bool = False,
    ) -> list[Path]:
        """Write the figures of a sweep and print their folder.

        A file each, the dozen that a paper needs: the correlations, what was known beforehand,
        the probability by step, samples and factors as wholes, and the strongest factors.

        Args:
            max_loss: A flip that costs more percentage points of test accuracy counts as
                damage.
            sweep: The sweep to look at: its name, id, or the beginning of its id ('indelible
                sweeps').
            output: Folder to write into. Default: 'report' or 'figures' in the store's folder.
            log: Also put it into MLflow, with the sweep.
            kind: What kind of files.
            every: Also each factor against GT (ground-truth difficulty score), and its samples.

        Returns:
            The paths of the files.
        """

    def find_sweep(
        self,
        reference: str = "latest",
    ) -> Sweep:
        """A sweep that is in the store.

        Args:
            reference: its name, its id or the beginning of that, or `latest`.

        Raises:
            UserError: where there is none.

        Example:
            >>> store.find_sweep("latest").difficulty()
        """

    def import_model(
        self,
        network: nn.Module,
        dataset: str | None = None,
        *,
        train: Any = None,
        test: Any = None,
        classes: Iterable[str] | None = None,
        image_size: int | None = None,
        label: str | None = None,
        split_column: str | None = None,
        device: str = "auto",
    ) -> Model:
        """Take a trained network of one's own, with its data, as a base model.

        The same network with the same data is found again. It is copied, and never changed.

        A class that can be imported from a module, and made from no arguments or from an image
        shape and a number of classes, is found by other processes and the command line. Another,
        as of a notebook's cell, is known to this process only: `model` takes it again elsewhere.

        Args:
            network: from images (N, C, H, W) with values from 0 to 1 to logits (N, classes), which
                come out of its last linear layer. A normalisation belongs into it.
            dataset: the data that it was trained on: a name, `folder:PATH`, `npz:PATH` or
                `table:PATH`.
            train: or else the training set: a pair of images (N, C, H, W) and labels (N,), as
                tensors or arrays; or a data set like torchvision's, of pairs of an image and a
                label. Images are uint8, or floats that are 255ths, as ToTensor gives them.
            test: the test set. A copy of both is written into the store's folder, as
                `data/<fingerprint>.npz`, by which other processes and the command line go on.
            classes: the names of the classes; numbers if None.
            image_size: pixels to resize a folder's images to.
            label: the column of a table with the class.
            split_column: the column of a table with `train` or `test`.
            device: where the network is evaluated.

        Raises:
            UserError: for a network or data of another form.

        Example:
            >>> model = store.import_model(network, "folder:pets")
            >>> model = store.import_model(network, train=(images, labels), test=(others, theirs))
        """

    def measure(
        self,
        *,
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        sweep: Sweep | str | None = None,
        model: Model | str | None = None,
        samples: int | None = None,
        factor: Iterable[str] = (),
        recompute: bool = False,
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        factors: Iterable[str] = (),
    ) -> Table:
        """Measure the factors that members lack, or have of another version of the code.

        Factors that are known beforehand come from the base model; others from the checkpoint,
        which is restored and evaluated; those of cost from what is logged. A sweep called again
        does the same for its own members. Of a base model the factors that are known beforehand
        are measured of samples that no sweep has asked for, and `samples` has them after the
        next load.

        Args:
            sample_ids: The samples with these ids, or a file with them.
            requests: Samples by what they are called, in a file with one a line: the path or
                name of an image file, or an id; # begins a comment.
            sweep: Whose members are measured, or all. Default: latest.
            model: Measure samples of a base model instead.
            samples: Of the base model: all, or N drawn by seed 0.
            factor: Only the family of this factor. Default: all.
            recompute: Unlearn members again that have no checkpoint, keep it, and measure.
            device: Where to compute; auto takes an NVIDIA GPU where there is one.
            workers: Threads. Default: one a core.
            engine: Who computes: threads of this process, or the nodes of a Ray cluster.
            address: Address of the Ray cluster; local begins one on this machine. Default:
                RAY_ADDRESS, or one that runs here, or else local.
            slots: CPUs of the Ray cluster to take, or GPUs. Default: all.
            factors: Also an optional factor family, such as relearning, or one of your own.

        Returns:
            A row a sweep, or one of the base model: how many were measured.
        """

    def merge(
        self,
        *stores: str,
    ) -> Table:
        """Bring what other stores have into this one.

        That is base models, sweeps, predictions, unlearnings and tunings, but not the names
        that models have in MLflow's registry. Each STORE is a folder that was --store
        elsewhere, such as that of a share of a sweep. Nothing is written into it. Runs are
        known by their keys: what is here already stays as it is, and the same command called
        again goes on where it stopped, or does nothing. Before anything is written all stores
        are checked, and one that is damaged is refused.

        A sweep of which all attempts are here is finished; with others 'indelible sweep' goes
        on.

        Args:
            stores: Folders of stores.

        Returns:
            A row a sweep, tuning or unlearning that the other stores have.

        Example:
            >>> store.merge("shard-1", "shard-2").df()
        """

    def model(
        self,
        reference: Model | str = "latest",
        *,
        network: nn.Module | None = None,
    ) -> Model:
        """A base model that is in the store.

        Args:
            reference: its name, its id or the beginning of that, or `latest`.
            network: the network again, with any weights, where its class cannot be imported.

        Raises:
            UserError: where there is none, or this is not its network.

        Example:
            >>> store.model("latest").test_accuracy
        """

    def models(
        self,
    ) -> Table:
        """List the base models in the store, newest first.

        With --export one is written as a store that has nothing else, to be copied to machines
        that have no network: they sweep into it, and 'indelible merge' brings what they did
        back.

        Args:

        Returns:
            A row a base model.
        """

    def predict(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        preset: str | os.PathLike[str] | None = None,
        until: Literal["flip", "reference"] = "flip",
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        samples: int | None = None,
        only_correct: bool = False,
        precision: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        remaining: int | None = None,
        only_new: bool = False,
    ) -> Table:
        """Predict what unlearning samples will come to, the hardest first, and write it down.

        Of each algorithm and sample: the steps, the probability that its prediction flips
        within the budget, the probability and the points of accuracy that the test set loses,
        and GT (the ground-truth difficulty score); rank 1 has the lowest GT of the samples that
        are predicted together. Options are those of 'indelible sweep': a prediction is of the
        attempts that a sweep with the same ones makes. Until the reference, a flip is that they
        arrive there, and rank 1 loses the most points.

        Each prediction, one for each seed, becomes an MLflow run, with the time and the hashes
        of model, data and formula. Intervals (90%) come from attempts on other samples with the
        same settings and seed, where at least 20 are in the store.

        --score grades all predictions of a sweep's attempts, from the warehouse. A prediction
        that was made after an attempt, or calibrated on one, is refused.

        Args:
            model: Base model: its name, id, or the beginning of its id.
            algorithms: Algorithm, once for each: boundary_shrink, ft, ft_l1, ga, influence,
                matching, neggrad, random_label, retrain, salun, scrub, scrub_r, ssd, or
                module:package.module:Class.
            settings: Change a hyper-parameter, e.g. neggrad.lr=1e-3.
            seed: Random seed of drawing and unlearning.
            preset: Hyper-parameters: digits or paper, or a file that 'indelible tune' wrote.
                Default: the one for data set and architecture, or what flips most in a trial.
            until: What ends an attempt: the prediction flips, as in the paper; or the model
                stands where it would, had it never seen the sample, which reference models tell
                (train --references).
            sample_ids: The samples with these ids, or a file with them.
            requests: Samples by what they are called, in a file with one a line: the path or
                name of an image file, or an id; # begins a comment.
            samples: How many samples, drawn by the seed; all training samples. Default: all.
            only_correct: Choose among the samples that the base model gets right. Where the
                flip is the end, no other is unlearned.
            precision: Precision of weights and inputs; a part of every member's key.
            device: Where to compute; auto takes an NVIDIA GPU where there is one.
            workers: Threads. Default: one a core.
            engine: Who computes: threads of this process, or the nodes of a Ray cluster.
            address: Address of the Ray cluster; local begins one on this machine. Default:
                RAY_ADDRESS, or one that runs here, or else local.
            slots: CPUs of the Ray cluster to take, or GPUs. Default: all.
            remaining: Training samples that stand for the remaining data in the factors; N are
                drawn once. Default: all.
            only_new: Leave out samples that were attempted already.

        Returns:
            A row an algorithm and sample, the hardest of each algorithm first.

        Example:
            >>> store.predict("ga", "salun", model=model, samples=20).df()
        """

    def prune(
        self,
        *,
        sweep: Sweep | str | None = None,
        checkpoints: str | None = None,
    ) -> Table:
        """Delete the checkpoints that no sweep wants.

        They are listed first. Every sweep wants what its --checkpoints said, in all calls of
        it, and no sweep deletes what another one wants. With --sweep and --checkpoints a sweep
        lets go of what it wanted; without them checkpoints go of sweeps that were deleted in
        MLflow. The child runs and their metrics stay.

        Args:
            sweep: A sweep that is to want less than it did.
            checkpoints: What that sweep wants from now on.

        Returns:
            A row a checkpoint that was deleted; nothing is asked before.
        """

    def rank(
        self,
        *,
        sweep: Sweep | str = "latest",
        algorithm: str | None = None,
        by: Literal["gt", "z", "points_lost"] = "gt",
        top: int = 10,
        easiest: bool = False,
    ) -> Table:
        """List samples by difficulty: rank 1 is the hardest.

        The hardest sample has the smallest GT (ground-truth difficulty score), and its
        percentile is near 100. Samples with the same GT are tied and share their average rank;
        where GT is 0 they are shown in the order of f, how far the probability of their label
        fell: the less, the harder. Regime is which of its two aims bounds GT, 'utility' or
        'forgetting'.

        By z the hardest are the most remembered: z says how far the unlearned model stands
        above models that never saw the sample, in their standard deviations, and the verdict
        whether that is within the middle 90% of these (forgotten). It takes 'indelible train
        --references'. By points_lost the hardest are those that cost the most test accuracy.

        Without --algorithm samples are ordered by their mean percentile of difficulty over the
        sweep's algorithms, and the columns are their ranks with each. By GT algorithms do not
        count whose order is not known to stay under another seed of unlearning; by z and
        points_lost that is not looked at.

        Args:
            sweep: The sweep to look at: its name, id, or the beginning of its id ('indelible
                sweeps').
            algorithm: Rank for one algorithm, not over all of them.
            by: What makes a sample hard.
            top: How many samples.
            easiest: The easiest samples instead of the hardest.

        Returns:
            A row a sample.
        """

    def report(
        self,
        sweep: Sweep | str = "latest",
        *,
        max_loss: float = 5.0,
        output: str | os.PathLike[str] | None = None,
        log: bool = False,
        ui: str | None = None,
    ) -> Path:
        """Write the HTML report of a sweep and print its path.

        Args:
            max_loss: A flip that costs more percentage points of test accuracy counts as
                damage.
            sweep: The sweep to look at: its name, id, or the beginning of its id ('indelible
                sweeps').
            output: Folder to write into. Default: 'report' or 'figures' in the store's folder.
            log: Also put it into MLflow, with the sweep.
            ui: The MLflow UI that its links lead to. Default: where 'indelible ui' serves it.

        Returns:
            The path of the page.
        """

    def restore(
        self,
        run: str,
    ) -> nn.Module:
        """The unlearned network of an attempt, in eval mode and on the CPU.

        Its weights are those that were logged, to the last bit: they, the base model's and the
        difference are each compared with their SHA-256. They are float64 where the sweep was.

        Args:
            run: the id of its child run, or its name, such as `ga-00042`, where that is one run's.

        Raises:
            UserError: where there is none, or it has no checkpoint.

        Example:
            >>> unlearned = store.restore("ga-00042")
        """

    def sample(
        self,
        sample_id: int,
        *,
        sweep: Sweep | str = "latest",
    ) -> Table:
        """Show one training sample: what became of it, and its factors.

        A table has the factors in which it stands out before unlearning. The percentile of a
        factor is the share of the sweep's samples whose value is lower, ties counted half; on a
        terminal it is red where the sample is at the hard end of the factor. Its image is
        written into the store's folder. csv and json have a row an algorithm, with all factors
        as columns.

        Args:
            sweep: The sweep to look at: its name, id, or the beginning of its id ('indelible
                sweeps').
            sample_id: Id of the sample.

        Returns:
            A row an algorithm, with the factors as columns.

        Example:
            >>> store.sample(42).df().T
        """

    def sql(
        self,
        query: str,
    ) -> Table:
        """The answer to a query over the warehouse; `indelible schema` says what can be asked.

        Args:
            query: in DuckDB's SQL.

        Raises:
            UserError: with DuckDB's reason, or where there is no store.

        Example:
            >>> store.sql("select sweep, algorithm, avg(steps) from attempts group by all").df()
        """

    def sweep(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        preset: str | os.PathLike[str] | None = None,
        until: Literal["flip", "reference"] = "flip",
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        samples: int | None = None,
        only_correct: bool = False,
        max_loss: float = 5.0,
        precision: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        remaining: int | None = None,
        name: str | None = None,
        factors: Iterable[str] = (),
        chunk: int | None = None,
        checkpoints: str = "all",
        execution: Literal["auto", "stacked", "sequential"] = "auto",
        histories: Literal["runs", "none"] = "runs",
        shard: str | None = None,
    ) -> Sweep:
        """Unlearn samples one at a time, and log every attempt. The command line prints the
        sweep's id.

        Every attempt becomes a child run of the sweep's parent run. The same sweep called again
        goes on where it stopped. Repeats are sweeps of their own: they tell how far GT (the
        ground-truth difficulty score) agrees with itself.

        As a shard it is one of N shares, each into a store of its own: give all of them the
        same chunk, or none, and to have the last bits of the whole sweep also the same
        execution. The same sweep without a shard does what is missing.

        Args:
            model: Base model: its name, id, or the beginning of its id.
            algorithms: Algorithm, once for each: boundary_shrink, ft, ft_l1, ga, influence,
                matching, neggrad, random_label, retrain, salun, scrub, scrub_r, ssd, or
                module:package.module:Class.
            settings: Change a hyper-parameter, e.g. neggrad.lr=1e-3.
            seed: Random seed of drawing and unlearning.
            preset: Hyper-parameters: digits or paper, or a file that 'indelible tune' wrote.
                Default: the one for data set and architecture, or what flips most in a trial.
            until: What ends an attempt: the prediction flips, as in the paper; or the model
                stands where it would, had it never seen the sample, which reference models tell
                (train --references).
            sample_ids: The samples with these ids, or a file with them.
            requests: Samples by what they are called, in a file with one a line: the path or
                name of an image file, or an id; # begins a comment.
            samples: How many samples, drawn by the seed; all training samples. Default: all.
            only_correct: Choose among the samples that the base model gets right. Where the
                flip is the end, no other is unlearned.
            max_loss: A flip that costs more percentage points of test accuracy counts as
                damage.
            precision: Precision of weights and inputs; a part of every member's key.
            device: Where to compute; auto takes an NVIDIA GPU where there is one.
            workers: Threads. Default: one a core.
            engine: Who computes: threads of this process, or the nodes of a Ray cluster.
            address: Address of the Ray cluster; local begins one on this machine. Default:
                RAY_ADDRESS, or one that runs here, or else local.
            slots: CPUs of the Ray cluster to take, or GPUs. Default: all.
            remaining: Training samples that stand for the remaining data in the factors; N are
                drawn once. Default: all.
            name: Name of the sweep. Default: what it does.
            factors: Also measure an optional factor family, such as relearning, or one of your
                own.
            chunk: Members at a time. Default: auto.
            checkpoints: Whose unlearned weights to keep, for each algorithm.
            execution: Members of a chunk together, or one by one; auto measures which is
                faster.
            histories: Where to keep probability and loss after each step: as metrics of the
                child runs, or not at all; their final values are always kept.
            shard: Do only the K-th of N shares, to be merged later: see 'indelible merge'.

        Returns:
            The sweep, whose `attempts()`, `difficulty()` and `correlations()` say what it came to.

        Example:
            >>> sweep = store.sweep("ga", samples=20, settings={"ga": {"lr": 3e-4}})
        """

    def sweeps(
        self,
        *,
        max_loss: float = 5.0,
    ) -> Table:
        """List the sweeps in the store, newest first.

        The points of test accuracy that were lost are over all attempts of a sweep; forgotten
        is the share of those that were compared with reference models. csv and json have more
        columns.

        Args:
            max_loss: A flip that costs more percentage points of test accuracy counts as
                damage.

        Returns:
            A row a sweep.
        """

    def train(
        self,
        dataset: str = "digits",
        *,
        arch: str | None = None,
        arch_options: Iterable[str] = (),
        preset: str | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        seed: int | None = None,
        train_samples: int | None = None,
        test_samples: int | None = None,
        download: bool = False,
        from_weights: str | os.PathLike[str] | None = None,
        references: int | None = None,
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        batch_size: int | None = None,
        optimizer: Literal["adam", "sgd"] | None = None,
        mixed_precision: bool = False,
        stem: Literal["cifar", "imagenet"] | None = None,
        image_size: int | None = None,
        label: str | None = None,
        split_column: str | None = None,
        leave_out: Iterable[int] | str | os.PathLike[str] | None = None,
        reference_share: float | None = None,
        learning_events: bool | None = None,
    ) -> Model:
        """Train a base model, or import one. The command line prints its run id.

        A model that was trained with the same settings before is found, not trained again.

        Args:
            dataset: cifar10, digits, fashion-mnist, mnist, svhn, folder:PATH with train/ and
                test/, npz:PATH with arrays images and labels, or table:PATH, a Parquet or CSV
                file.
            arch: mlp, resnet18, resnet18-imagenet, small-cnn, a network of timm or torchvision
                as timm:NAME or torchvision:NAME, or module:package.module:factory. Default:
                small-cnn; mlp for a table.
            arch_options: An argument of the network's constructor, such as patch_size=4.
            preset: How a preset trains on the data set, such as paper.
            epochs: Passes over the data. Default: 30.
            lr: First learning rate; it falls to 0 along half a cosine. Default: 0.002.
            seed: Random seed of weights and batches. Default: 0.
            train_samples: Train on N samples drawn once. Default: all.
            test_samples: Test on N samples drawn once. Default: all.
            download: Fetch the data set if it is not there.
            from_weights: Import a state dict, of safetensors or torch.save, instead of
                training. The network gets images in [0, 1] as (N, channels, height, width),
                RGB; it normalises them itself if it needs that. Label 0 is the first class in
                the data set's order, which for folder: is the alphabetical one.
            references: Also train N reference models by the same recipe, each without a random
                part of the samples: they tell whether a sample is forgotten. With
                --from-weights give the recipe. Default: none.
            device: Where to compute; auto takes an NVIDIA GPU where there is one.
            workers: Threads. Default: one a core.
            engine: Who computes: threads of this process, or the nodes of a Ray cluster.
            address: Address of the Ray cluster; local begins one on this machine. Default:
                RAY_ADDRESS, or one that runs here, or else local.
            slots: CPUs of the Ray cluster to take, or GPUs. Default: all.
            batch_size: Samples a step. Default: 64.
            optimizer: Adam, or SGD with Nesterov momentum 0.9. Default: adam.
            mixed_precision: Layers compute in bfloat16 where that is usual; weights and loss in
                float32.
            stem: First layers of resnet18: 3x3 without max-pool, or torchvision's. Default:
                cifar.
            image_size: Resize a folder's images to NxN pixels.
            label: The column of a table with the class.
            split_column: The column of a table with train or test. Default: a fifth, drawn
                once, is for test.
            leave_out: Also train a model without each of these samples, for the factors of
                family reference.
            reference_share: The share of the samples that each of them sees. Default: 0.75.
            learning_events: Record how each sample is learned, for the factors of family
                learning; a model that is there without is trained again for it if this is
                given. Default: record, but never train again.

        Returns:
            The base model.

        Example:
            >>> model = store.train("digits", epochs=5, seed=0)
        """

    def tune(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        until: Literal["flip", "reference"] = "flip",
        max_loss: float = 5.0,
        output: str | os.PathLike[str],
        samples: int | None = None,
        trials: int = 25,
        device: str = "auto",
        workers: int | None = None,
        engine: Literal["threads", "ray"] = "threads",
        address: str | None = None,
        slots: int | None = None,
        leave_out_samples: Iterable[str | os.PathLike[str]] = (),
    ) -> Table:
        """Look for hyper-parameters that fit a base model, and write them as a preset.

        Settings are judged on a few samples, by how many of them flip and how much test
        accuracy that costs, and by nothing else: of those that flip 95%, the ones that lose the
        least are taken; where none do, the ones that flip the most. The defaults and the
        presets are tried first, so that what is found is as good on these samples at least.
        Settings that flip under half of the first 5 samples are not tried on the others.
        Settings that are given are not searched. Until the reference, a flip is that a sample
        arrives there.

        Every trial is an MLflow run, a child of the tuning's. The same command called again
        goes on where it stopped, and writes the same file.

        Args:
            model: Base model: its name, id, or the beginning of its id.
            algorithms: Algorithm, once for each: boundary_shrink, ft, ft_l1, ga, influence,
                matching, neggrad, random_label, retrain, salun, scrub, scrub_r, ssd, or
                module:package.module:Class.
            settings: Change a hyper-parameter, e.g. neggrad.lr=1e-3.
            seed: Random seed of drawing and unlearning.
            until: What ends an attempt: the prediction flips, as in the paper; or the model
                stands where it would, had it never seen the sample, which reference models tell
                (train --references).
            max_loss: A flip that costs more percentage points of test accuracy counts as
                damage.
            output: The preset to write.
            samples: Samples to try settings on, of those the base model gets right. Default:
                20.
            trials: Settings to try of each algorithm; its defaults and those of the presets at
                least.
            device: Where to compute; auto takes an NVIDIA GPU where there is one.
            workers: Threads. Default: one a core.
            engine: Who computes: threads of this process, or the nodes of a Ray cluster.
            address: Address of the Ray cluster; local begins one on this machine. Default:
                RAY_ADDRESS, or one that runs here, or else local.
            slots: CPUs of the Ray cluster to take, or GPUs. Default: all.
            leave_out_samples: File with requests to try nothing on, such as those to be
                unlearned later.

        Returns:
            A row an algorithm, with the settings that were found as JSON.

        Example:
            >>> store.tune("ga", "scrub", output="mine.toml")
            >>> store.sweep("ga", "scrub", preset="mine.toml", samples=100)
        """

    def unlearn(
        self,
        *algorithms: str,
        model: Model | str = "latest",
        settings: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
        seed: int = 0,
        preset: str | os.PathLike[str] | None = None,
        sample_ids: Iterable[int] | str | os.PathLike[str] | None = None,
        requests: Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        output: str | os.PathLike[str],
        until: Literal["reference", "flip"] = "reference",
        max_loss: float = 1.0,
        retrain: bool = False,
        precision: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        references: int = 32,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        optimizer: Literal["adam", "sgd"] | None = None,
        order: Literal["given", "together"] | None = None,
        rounds: int = 3,
        register: str | None = None,
    ) -> Unlearning:
        """Make one model that has forgotten all requests, and write it with a record.

        A request is forgotten where the model stands where models stand that never saw it, as
        reference models tell; where there are none, 32 are trained first. Without an algorithm
        the command chooses: matching brings all requests there at once, at three learning
        rates, and the trial is kept that forgets all and loses the least. Where none does for
        --max-loss points of test accuracy or less, a model is trained without the requests.

        It ends with exit code 1 where requests are not forgotten, which are named, or more is
        lost. The command called again goes on where it stopped, and if it was done writes the
        same files again. With --model FOLDER, of an earlier one, it goes on from there.

        Args:
            model: Base model: its name, id, or the beginning of its id; or the folder or the
                run id of an earlier unlearning, to go on from it.
            algorithms: Algorithm, once for each: boundary_shrink, ft, ft_l1, ga, influence,
                matching, neggrad, random_label, retrain, salun, scrub, scrub_r, ssd, or
                module:package.module:Class.
            settings: Change a hyper-parameter, e.g. neggrad.lr=1e-3.
            seed: Random seed of drawing and unlearning.
            preset: Hyper-parameters: digits or paper, or a file that 'indelible tune' wrote.
                Default: the one for data set and architecture, or what flips most in a trial.
            sample_ids: The samples with these ids, or a file with them.
            requests: Samples by what they are called, in a file with one a line: the path or
                name of an image file, or an id; # begins a comment.
            output: Folder for the weights, the table and the record.
            until: When a request counts as forgotten: the model stands where models stand that
                never saw it; or its prediction is another one than the label.
            max_loss: Percentage points of test accuracy that it may cost.
            retrain: In any case also train a model without the requests, to stand beside.
            precision: Precision of weights and inputs; a part of every member's key.
            device: Where to compute; auto takes an NVIDIA GPU where there is one.
            references: Reference models to train where there are none.
            epochs: Recipe of an imported model: passes over the data.
            lr: Recipe of an imported model: learning rate.
            batch_size: Recipe of an imported model: samples a step.
            optimizer: Recipe of an imported model.
            order: One after the other as given, or all at once. Default: together where the
                algorithm can, else given.
            rounds: Passes over the requests, at most: those still remembered are unlearned once
                more.
            register: Also register it in MLflow as that model.

        Returns:
            What became of each request, and the state dict that has forgotten them.

        Example:
            >>> store.unlearn(requests=[15, 126], output="forgotten").verdicts
        """

def open(  # noqa: A001 - as `indelible.open`
    folder: PathLike = "mlruns",
    *,
    tracking_uri: str | None = None,
    data_dir: PathLike = "data",
    server_timeout: float = 60.0,
    progress: bool = True,
) -> Store:
    """A store to work in; nothing is made or read until it is asked for something.

    Args:
        folder: of the embedded store and its warehouse; the command line's `--store`.
        tracking_uri: of an MLflow server or database to log to instead; what the environment
            variable MLFLOW_TRACKING_URI says if None, and else the folder's own database.
        data_dir: folder of torchvision's data sets.
        server_timeout: seconds that a store which does not answer is waited for.
        progress: whether it is shown how far something is: by a bar on a terminal, elsewhere by a
            remark every few seconds.

    Remarks go to the logger `indelible`, at level INFO. It writes to stderr unless the program has
    handlers of its own; `logging.getLogger("indelible").setLevel("WARNING")` silences it.

    Raises:
        UserError: where an address is not understood.

    Example:
        >>> import indelible
        >>> store = indelible.open("mlruns")
    """
