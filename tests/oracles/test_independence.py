"""An oracle that used what it checks would agree with any mistake in it."""

import ast
from collections.abc import Iterator
from pathlib import Path

CHECKED = {"indelible", "unlearning", "factors", "tracker", "analysis"}
HERE = Path(__file__).parent


def imported(source: str) -> Iterator[str]:
    """The top-level packages that a file imports by their full names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_oracles_import_nothing_of_what_they_check() -> None:
    for file in HERE.rglob("*.py"):
        assert not CHECKED & set(imported(file.read_text(encoding="utf-8"))), file
