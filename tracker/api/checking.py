"""What `check` does, which needs neither torch nor MLflow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tracker.api.place import Place
from tracker.commands.keep import Check
from tracker.reading import checking
from tracker.store.database import check_pages
from unlearning.errors import Failure


def check(place: Place, asked: Check) -> list[dict[str, Any]]:
    """What is wrong with a store: a row each, with what would repair it."""
    with place.reader() as reader, ThreadPoolExecutor(1) as beside:
        found = beside.submit(checking.check, reader, place.folder)  # the pages take as long
        try:
            check_pages(place.address)
        except Failure as damage:
            row = {"audit": "database", "run_id": None, "name": None}
            return [row | {"problem": str(damage), "repair": "none"}]
        return found.result().records()
