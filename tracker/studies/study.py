"""What the runs of all studies of a base model share: how they begin, and how they are driven."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tracker.base.base_models import BaseRun
from tracker.store.driver import driving
from tracker.store.records import Record, code_version, milliseconds
from tracker.store.write import Store
from unlearning.version import VERSION


def begun(
    base_run: BaseRun,
    name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    artifacts: Mapping[str, bytes],
) -> Record:
    """A run as it begins: what is said of base model and versions, and these."""
    now = milliseconds()
    return Record(
        name=name,
        params={
            "dataset": base_run.dataset,
            "arch": base_run.arch,
            "base_run_id": base_run.run_id,
            "engine_version": VERSION,
            "precision": base_run.precision,
            **params,
        },
        tags={
            "code_version": code_version(),
            "base_weights_sha256": base_run.weights_sha256,
            "data_fingerprint": base_run.model.dataset.fingerprint,
            **tags,
        },
        metrics={},
        artifacts=artifacts,
        started_ms=now,
        ended_ms=now,
    )


@contextmanager
def at_work(
    store: Store, run_id: str, what: str, say: Callable[[str], None] = lambda line: None
) -> Iterator[Callable[[], None]]:
    """Drive a parent run: it is RUNNING meanwhile, and KILLED where an error ends this.

    What is yielded raises Failure once another process drives it.

    Args:
        what: the run is, in words, for messages. say: is told what is waited for.

    Raises UserError where another process drives it.
    """
    with driving(store, run_id, f"{what} ({run_id})", say=say) as check_driver:
        store.resume_sweep(run_id)
        try:
            yield check_driver
        except BaseException:
            store.interrupt(run_id)
            raise
