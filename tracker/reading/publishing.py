"""What the analysis came to, back into MLflow: beside the sweep's run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.answers import Answers
from tracker.store.records import NOTE
from tracker.store.write import Store
from tracker.sweep.summary import DONE

SHORT = "#### In short"  # begins the findings in a sweep's description
TABLE = "correlations.json"
COLUMNS = (  # as a reader of the UI, which shows four or five at a time, wants them
    *("factor", "algorithm", "rho", "ci_low", "ci_high", "p_value", "p_holm", "p_bh", "n"),
    *("ingredient", "partial_rho", "within_class_rho", "undefined"),
)


def publish_report(store: Store, answers: Answers, findings: Sequence[str], page: Path) -> None:
    """Put the report, the table of correlations and the findings with a sweep's parent run.

    What was there is replaced; the description of the sweep says the findings first.
    """
    sweep_id = answers.sweep["sweep_id"]
    # The form of mlflow.log_table, which itself would add the rows a second time.
    data = [[row[name] for name in COLUMNS] for row in answers.rows("heat_map")]
    shown = {"columns": COLUMNS, "data": data}
    logged = json.dumps([{"path": TABLE, "type": "table"}])
    store.attach(sweep_id, TABLE, json.dumps(shown).encode(), ("mlflow.loggedArtifacts", logged))
    head, done, rest = store.run(sweep_id).tags.get(NOTE, "").partition(DONE)
    begins, lines = head.partition(SHORT)[0].rstrip(), "\n".join(f"- {line}" for line in findings)
    note = f"{begins}\n\n{SHORT}\n\n{lines}\n\n{done}{rest}"
    store.attach(sweep_id, page.name, page.read_bytes(), (NOTE, note))


def publish_figures(store: Store, sweep_id: str, paths: Iterable[Path], kind: str) -> None:
    """Put figures, files of a kind such as `png`, with a sweep's parent run."""
    for path in paths:
        store.attach(sweep_id, path.name, path.read_bytes(), ("figures", kind))
