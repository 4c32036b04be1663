"""The notebook of the docs runs from its first cell to its last."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
TOUR = ROOT / "docs" / "tour.ipynb"


def tour() -> Any:
    return nbformat.read(TOUR, as_version=4)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_kept_without_outputs() -> None:
    for cell in code_cells(tour()):
        assert not cell.outputs
        assert cell.execution_count is None


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    notebook = tour()
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    said = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr")
    assert "preset digits" in said
    for line in ("training: epoch 10 of 10", "predicting: 80 of 80", "unlearning: 80 of 80"):
        assert line in said
    assert "Warning" not in said
    assert any("image/png" in output.get("data", {}) for output in outputs)
    last = ast.literal_eval(outputs[-1].data["text/plain"])
    assert last["before"] > last["after"]
    assert (tmp_path / "tour" / "mlflow.db").is_file()
