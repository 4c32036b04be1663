"""What is in a store, in hand: a base model, a sweep, and a model that has forgotten samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from unlearning.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from analysis.warehouse import Table


class _Store(Protocol):
    def network(self, model: Any) -> nn.Module: ...
    def restore(self, run: str) -> nn.Module: ...
    def outcomes(self, sweep: str | None) -> Table: ...
    def attempts(self, sweep: str | None) -> Table: ...
    def difficulty(self, sweep: str | None) -> Table: ...
    def correlations(self, sweep: str | None, population: Any) -> Table: ...


@dataclass(frozen=True)
class Model:
    """A base model that is in a store.

    Attributes:
        run_id: of its MLflow run, by which the command line's `--model` finds it too.
        name: of that run.
        dataset: the name of its data set.
        arch: what its architecture is called.
        train_accuracy: the share of the training set that it gets right.
        test_accuracy: the share of the test set.
    """

    run_id: str
    name: str
    dataset: str
    arch: str
    train_accuracy: float
    test_accuracy: float
    store: _Store = field(repr=False, compare=False)

    def network(self) -> nn.Module:
        """The network with its weights, a copy in eval mode on the CPU.

        It takes images (N, C, H, W) with values from 0 to 1, and gives logits (N, classes).

        Example:
            >>> before, after = model.network(), store.restore("ga-00042")
        """
        return self.store.network(self)


@dataclass(frozen=True)
class Sweep:
    """A sweep that is in a store.

    Attributes:
        run_id: of its MLflow parent run, by which the command line's `--sweep` finds it too.
        name: of that run.
    """

    run_id: str
    name: str
    store: _Store = field(repr=False, compare=False)

    def outcomes(self) -> Table:
        """A row an attempt, with its status, steps and GT: see `Store.outcomes`.

        Example:
            >>> sweep.outcomes().df().groupby("algorithm")["gt"].describe()
        """
        return self.store.outcomes(self.run_id)

    def attempts(self) -> Table:
        """The outcomes with all else that is known of each: see `Store.attempts`.

        Example:
            >>> sweep.attempts().filter("status = 'flipped' and not is_damaged").df()
        """
        return self.store.attempts(self.run_id)

    def difficulty(self) -> Table:
        """The ranks of each sample by GT, rank 1 the hardest: see `Store.difficulty`.

        Example:
            >>> sweep.difficulty().order("difficulty_rank").limit(5).df()
        """
        return self.store.difficulty(self.run_id)

    def correlations(self, population: str | None = "all") -> Table:
        """Spearman's rho of every factor with GT: see `Store.correlations`.

        Example:
            >>> sweep.correlations().order("abs(rho) desc").df()
        """
        return self.store.correlations(self.run_id, population)

    def restore(self, algorithm: str, sample_id: int) -> nn.Module:
        """The network after one of its attempts: see `Store.restore`.

        Raises:
            UserError: where the sweep has no such attempt, or the attempt no checkpoint.

        Example:
            >>> sweep.restore("salun", 42)
        """
        rows = self.outcomes().fetchnumpy()
        pairs = zip(rows["algorithm"], rows["sample_id"], rows["run_id"], strict=True)
        for name, sample, run_id in pairs:
            if (str(name), int(sample)) == (algorithm, sample_id):
                return self.store.restore(str(run_id))
        raise UserError(
            f"the sweep {self.name} has no attempt of {algorithm} on sample {sample_id}"
        )


@dataclass(frozen=True)
class Unlearning:
    """A model that was asked to forget several samples.

    Attributes:
        run_id: of its MLflow run.
        name: of that run.
        metrics: what it came to, such as `points_lost`.
        requests: a row a sample, what became of it.
        state: the state dict of the model.
    """

    run_id: str
    name: str
    metrics: Mapping[str, float]
    requests: Table = field(repr=False, compare=False)
    state: Mapping[str, Any] = field(repr=False, compare=False)
