"""A store as Python has it: base models, predictions, sweeps and what they came to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analysis.statuses import MAX_LOSS
from tracker.face import remarks
from tracker.face.asked import Requests, Samples, Settings, computing, count, wanted
from tracker.face.handles import Model, Sweep
from tracker.face.models import Models, reference_of
from tracker.face.progress import Advance, progress, settle
from tracker.face.store import LocalPlace
from tracker.sweep.planning import Wanted, check_name, plans
from unlearning.errors import UserError
from unlearning.naming import LATEST

if TYPE_CHECKING:
    from analysis.warehouse import Table
    from tracker.base.base_models import BaseRun
    from tracker.store.records import Finished
    from tracker.store.write import Store as Records
    from tracker.studies.predict import Prediction
    from tracker.sweep.options import Options
    from tracker.sweep.plan import Plan
    from unlearning.dataset import Split

Path_ = str | os.PathLike[str]
Precision = Literal["float32", "float64"]

FOLDER = "mlruns"  # of a store, where nothing else is said


def open_store(
    folder: Path_ = FOLDER,
    *,
    tracking_uri: str | None = None,
    data_dir: Path_ = "data",
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
        progress: whether terminals and notebooks are shown how far something is.

    Remarks go to the logger `indelible`, at level INFO. It writes to stderr unless the program has
    handlers of its own; `logging.getLogger("indelible").setLevel("WARNING")` silences it.

    Raises:
        UserError: where an address is not understood.

    Example:
        >>> import indelible
        >>> store = indelible.open("mlruns")
    """
    if server_timeout < 1:
        raise UserError(f"server_timeout is {server_timeout}: it takes seconds from 1")
    remarks.begin()
    settle()
    place = LocalPlace(
        folder=Path(folder),
        tracking_uri=tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None,
        data_dir=Path(data_dir),
        verbose=False,
        server_timeout=server_timeout,
    )
    _ = place.address
    return Store(place, progress)


class Store(Models):
    """A store: made by `indelible.open`.

    What is done in it is what the command line does, under the same keys: a sweep that was begun
    here goes on there, and the other way round. An interrupted call goes on where it stopped when
    it is made again. Nothing is promised to threads that share a store.

    Every mistake is a `UserError` and whatever fails outside a `Failure`, each with one line.
    """

    def __repr__(self) -> str:
        return f"<indelible.Store {self._place.address.shown}>"

    def predict(
        self,
        *algorithms: str,
        model: Model | str = LATEST,
        samples: int | None = None,
        sample_ids: Iterable[int] | None = None,
        requests: Requests | None = None,
        only_correct: bool = False,
        only_new: bool = False,
        preset: str | None = None,
        settings: Settings | None = None,
        seed: int = 0,
        remaining: int | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        workers: int | None = None,
    ) -> Table:
        """Predict what unlearning samples will come to, and write it down as a run.

        Args:
            algorithms: their names, or `module:package.module:Class`.
            model: the base model.
            samples: how many samples, drawn by the seed; all training samples if None.
            sample_ids: the ids of samples instead.
            requests: what samples are called instead: paths or names of image files, or ids; or the
                path of a file with one a line.
            only_correct: choose among the samples that the base model gets right.
            only_new: leave out samples that were attempted already.
            preset: hyper-parameters: `digits` or `paper`; the data set's if None, or what flips
                most in a trial on a few samples.
            settings: changes to them, by algorithm: `{"ga": {"lr": 3e-4}}`.
            seed: of unlearning.
            remaining: training samples that stand for the remaining data in the factors; all if
                None.
            device: where to compute.
            precision: of weights and inputs, and after a slash of evaluation alone.
            workers: threads; one a core if None.

        Returns:
            A row an algorithm and sample, the hardest of each algorithm first.

        Raises:
            UserError: where there is nothing to predict, or a name or value is not accepted.

        Example:
            >>> store.predict("ga", "salun", model=model, samples=20).df()
        """
        from tracker.studies import predict

        asked = Samples.of(samples, sample_ids, requests)
        which = wanted(
            algorithms,
            asked,
            only_correct=only_correct,
            remaining=remaining,
            preset=preset,
            settings=settings,
            seed=seed,
        )
        with (
            self._at_work(model, device, precision) as (records, base_run),
            computing(workers, device, None, remarks.say) as engine,
        ):
            base = base_run.model
            predict.refuse_hopeless(base, base.dataset.train.ids.tolist())
            plan = _plan(records, base_run, which, asked)
            plan = predict.only_new(records, plan) if only_new else plan
            made = predict.predict(records, base_run, plan, engine, self._bar, remarks.say)
            return _predicted(made, plan.seed, base.dataset.train)

    def sweep(
        self,
        *algorithms: str,
        model: Model | str = LATEST,
        samples: int | None = None,
        sample_ids: Iterable[int] | None = None,
        requests: Requests | None = None,
        only_correct: bool = False,
        preset: str | None = None,
        settings: Settings | None = None,
        seed: int = 0,
        remaining: int | None = None,
        name: str | None = None,
        factors: str | Iterable[str] = (),
        checkpoints: str = "all",
        histories: Literal["runs", "none"] = "runs",
        execution: Literal["auto", "stacked", "sequential"] = "auto",
        chunk: int | None = None,
        again: bool = False,
        device: str = "auto",
        precision: Precision = "float32",
        workers: int | None = None,
        ray: str | None = None,
    ) -> Sweep:
        """Unlearn samples one at a time, and log every attempt.

        The same sweep called again, here or as `indelible sweep`, goes on where it stopped.

        Args:
            algorithms: their names, or `module:package.module:Class`.
            model: the base model.
            samples: how many samples, drawn by the seed; all training samples if None.
            sample_ids: the ids of samples instead.
            requests: what samples are called instead: paths or names of image files, or ids; or the
                path of a file with one a line.
            only_correct: choose among the samples that the base model gets right.
            preset: hyper-parameters: `digits` or `paper`; the data set's if None, or what flips
                most in a trial on a few samples.
            settings: changes to them, by algorithm: `{"ga": {"lr": 3e-4}}`.
            seed: of unlearning.
            remaining: training samples that stand for the remaining data in the factors; all if
                None.
            name: what to call the sweep; by what it does if None.
            factors: factor families of one's own, `module:package.module:FAMILY` each.
            checkpoints: whose weights to keep: `all`, `none`, `flipped`, `hardest:K`, `easiest:K`.
            histories: where to keep probability and loss after each step: `runs` or `none`.
            execution: members of a chunk together or one by one; `auto` measures what is faster.
            chunk: members at a time; as many as memory has room for if None.
            again: do members again that are in the store.
            device: where to compute.
            precision: of weights and inputs, and after a slash of evaluation alone where that is
                another; a part of every attempt's key.
            workers: threads, one a core if None; with `ray` the slots to take, all if None.
            ray: address of a Ray cluster that computes instead: `auto`, `local`, `HOST:PORT`.

        Returns:
            The sweep, whose `outcomes()`, `difficulty()` and `correlations()` say what it came to.

        Raises:
            UserError: for a name or value that is not accepted.
            Failure: where a store or cluster does not answer.

        Example:
            >>> sweep = store.sweep("ga", "salun", samples=20, settings={"ga": {"lr": 3e-4}})
        """
        from tracker.sweep.summary import after_sweep

        asked = Samples.of(samples, sample_ids, requests)
        which = wanted(
            algorithms,
            asked,
            only_correct=only_correct,
            remaining=remaining,
            preset=preset,
            settings=settings,
            seed=seed,
        )
        if name is not None:
            check_name(name, "name")
        families = (factors,) if isinstance(factors, str) else tuple(factors)
        options = _options(checkpoints, histories, execution, chunk, again)
        with self._at_work(model, device, precision) as (records, base_run):
            if ray is not None:
                _refuse_elsewhere(records, base_run)
            plan = _plan(records, base_run, which, asked, name, families)
            with computing(workers, device, ray, remarks.say) as engine:
                own = replace(options, engine=engine)
                run_id, done = self._run(records, base_run, plan, own, remarks.say)
            for line in after_sweep(plan, done, base_run.test_accuracy):
                remarks.say(line)
        return Sweep(run_id, plan.name, self)

    def advise(
        self,
        *algorithms: str,
        model: Model | str = LATEST,
        samples: int | None = None,
        sample_ids: Iterable[int] | None = None,
        requests: Requests | None = None,
        tries: int = 2,
        max_loss: float = MAX_LOSS,
        preset: str | None = None,
        settings: Settings | None = None,
        seed: int = 0,
        remaining: int | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        workers: int | None = None,
    ) -> Table:
        """Say with which algorithm to unlearn each sample, and what that costs.

        All algorithms are predicted for all samples. Those that look best are tried on each, and
        the next best while none has flipped it at no higher price; the best loses the fewest
        points. Attempts are child runs of sweeps, as those of `sweep`, and found again.

        Args:
            algorithms: those that are considered; if none is named, all that flip samples and of
                which the index knows something.
            model: the base model.
            samples: how many samples, drawn by the seed; all training samples if None.
            sample_ids: the ids of samples instead.
            requests: what samples are called instead, as in `sweep`.
            tries: algorithms that are tried on each sample in any case.
            max_loss: percentage points of test accuracy that a flip may cost.
            preset: hyper-parameters, as in `sweep`.
            settings: changes to them, as in `sweep`.
            seed: of unlearning.
            remaining: training samples that stand for the remaining data in the factors; all if
                None.
            device: where to compute.
            precision: of weights and inputs, and after a slash of evaluation alone.
            workers: threads; one a core if None.

        Returns:
            A row a sample, with the run that `restore` takes.

        Raises:
            UserError: where there is nothing to predict, or a name or value is not accepted.

        Example:
            >>> store.advise(requests=["cat/1.png", 7], max_loss=1).df()
        """
        from tracker.studies.advise import advise, as_row, predictable
        from tracker.studies.predict import predict
        from tracker.sweep.options import Options

        if not 0 <= max_loss <= 100:
            raise UserError(f"max_loss is {max_loss}: it takes percentage points from 0 to 100")
        asked = Samples.of(samples, sample_ids, requests)
        which = wanted(
            algorithms or tuple(predictable()),
            asked,
            only_correct=False,
            remaining=remaining,
            preset=preset,
            settings=settings,
            seed=seed,
        )
        with (
            self._at_work(model, device, precision) as (records, base_run),
            computing(workers, device, None, remarks.say) as engine,
        ):
            plan = _plan(records, base_run, which, asked)
            made = predict(records, base_run, plan, engine, self._bar)
            found = advise(
                plan,
                made,
                base_run.test_accuracy,
                lambda part: self._run(records, base_run, part, Options(engine=engine))[1],
                count(tries, "tries"),
                max_loss,
            )
            path_of = base_run.model.dataset.train.path_of
            return _advice([as_row(one, path_of(one.sample_id), max_loss) for one in found])

    def find_sweep(self, reference: str = LATEST) -> Sweep:
        """A sweep that is in the store.

        Args:
            reference: its name, its id or the beginning of that, or `latest`.

        Raises:
            UserError: where there is none.

        Example:
            >>> store.find_sweep("latest").difficulty()
        """
        from tracker.reading.listing import find_sweep

        with self._place.reader() as reader:
            run = find_sweep(reader, reference)
        return Sweep(run.run_id, run.name, self)

    def _run(
        self,
        records: Records,
        base_run: BaseRun,
        plan: Plan,
        options: Options,
        say: Callable[[str], None] = lambda line: None,
    ) -> tuple[str, dict[str, Finished]]:
        """Run a sweep with a bar; its id, and its members by key."""
        from tracker.sweep import sweep
        from tracker.sweep.options import Reporter

        done: dict[str, Finished] = {}
        with progress("unlearning", plan.size, self._shown) as advance:
            reporter = Reporter(advance, say, ended=done.update)
            return sweep.run(records, base_run, plan, options, reporter), done

    def _bar(self, total: int) -> AbstractContextManager[Advance]:
        return progress("predicting", total, self._shown)

    @contextmanager
    def _at_work(
        self, model: Model | str, device: str, precision: str
    ) -> Iterator[tuple[Records, BaseRun]]:
        """The store to write into, and a base model on a device."""
        with self._place.store() as records:
            try:
                yield (
                    records,
                    self._bases.load(records, reference_of(model), device, precision),
                )
            except BaseException:
                self._bases.forget()
                raise


def _plan(
    records: Records,
    base_run: BaseRun,
    which: Wanted,
    asked: Samples,
    name: str | None = None,
    own_factors: tuple[str, ...] = (),
) -> Plan:
    named = asked.named(base_run.model.dataset, remarks.say)
    (plan,) = plans(records, base_run, which, named, remarks.say, name, own_factors)
    return plan


def _options(
    checkpoints: str, histories: str, execution: str, chunk: int | None, again: bool
) -> Options:
    """How a sweep is run, but for who computes. Raises UserError."""
    from tracker.store.records import Histories
    from tracker.sweep.options import Options
    from tracker.sweep.retention import Retention
    from unlearning.execution import Execution

    return Options(
        chunk=None if chunk is None else count(chunk, "chunk"),
        execution=None if execution == "auto" else _one_of(Execution, "execution", execution),
        retention=Retention.parse(checkpoints),
        again=again,
        histories=_one_of(Histories, "histories", histories),
    )


def _one_of(kind: Callable[[str], Any], name: str, value: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(kind)  # type: ignore[arg-type] # an enumeration of texts
        raise UserError(f"{name} is {value!r}: choose one of {choices}") from None


def _refuse_elsewhere(records: Records, base_run: BaseRun) -> None:
    """Raise UserError for a base model that only this process can make."""
    from tracker.base.given import is_named

    if not is_named(arch := records.run(base_run.run_id).data.params["arch"]):
        raise UserError(
            f"{arch} is a network that only this process knows: leave ray out, or define its class "
            "in a module that the nodes can import"
        )


def _predicted(made: Prediction, seed: int, train: Split) -> Table:
    """The rows of a prediction, ranked; with the samples' files, where they have some."""
    import pyarrow as pa

    from analysis.warehouse import from_records
    from tracker.studies.predicted import SCHEMA

    fields = [("prediction_id", pa.string()), ("seed", pa.int64()), ("algorithm", pa.string())]
    fields += [("rank", pa.float64())]
    fields += [(f.name, f.type) for f in SCHEMA if f.name not in ("algorithm", "attempted")]
    fields += [("sample_path", pa.string())] if train.paths is not None else []
    of_all = {"prediction_id": made.run_id, "seed": seed}
    rows = [
        {**of_all, **row, "sample_path": train.path_of(row["sample_id"])}
        for ranked in made.ranked().values()
        for row in ranked
    ]
    return from_records(rows, pa.schema(fields))


def _advice(rows: list[dict[str, Any]]) -> Table:
    """The rows of advice."""
    import pyarrow as pa

    from analysis.warehouse import from_records

    texts = ("sample_path", "algorithm", "advice", "run_id")
    numbers = ("seconds", "points_lost", "predicted_points_lost")
    kinds = dict.fromkeys(texts, pa.string()) | dict.fromkeys(numbers, pa.float64())
    kinds |= {"sample_id": pa.int64(), "steps": pa.int64(), "tried": pa.list_(pa.string())}
    return from_records(rows, pa.schema([(name, kinds[name]) for name in rows[0] if name in kinds]))
