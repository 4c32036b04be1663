"""Is it forgotten, and hard in which sense? Two data sets, with clean and with wrong labels.

Trains base and reference models, unlearns samples until the reference and until the flip, and
audits both. A second call goes on where the first one stopped: each case has a store of its own.
`settings.py` says what is done, and on what the choices were made.
"""

from __future__ import annotations

from tests.benchmarks.forgetting import settings, tables
from tests.benchmarks.forgetting.cells import cell_of, phi_of
from tests.benchmarks.forgetting.settings import STUDY, Study
from tests.benchmarks.prediction.tables import Row, markdown

FORGOTTEN = "Is it forgotten? Attempts on the base model, and the audit"
HARD = "Hard in which sense? Spearman's rho with each target, mean over algorithms and base models"
ENOUGH = "How few reference models do?"
JUDGES = "How few do to say where audited models stop? Nothing is unlearned here"


def main(study: Study = STUDY) -> dict[str, list[Row]]:
    """The rows of each table that was printed, by its title."""
    print("\n".join((settings.__doc__ or "").splitlines()[2:]))
    cells = [cell_of(study, case) for case in study.cases]
    each = [row for cell in cells for row in tables.hard(cell)]
    found = {
        FORGOTTEN: [row for cell in cells for row in tables.forgotten(cell)],
        HARD: tables.averaged(each),
    }
    found |= {ENOUGH: [], JUDGES: []}
    for cell in cells:
        if cell.case.counted:
            phi, references = phi_of(study, cell)
            found[ENOUGH] += tables.enough(cell.case.name, phi, references, study)
            found[JUDGES] += tables.judged(cell.case.name, references, cell.sample_ids, study)
    for title, rows in found.items():
        print(f"\n{title}\n\n{markdown(rows)}", flush=True)
    return found
