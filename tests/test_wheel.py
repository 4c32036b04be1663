"""The wheel, made of the sdist, does everything outside the checkout; and packages hide nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import indelible

ROOT = Path(__file__).parent.parent
PACKAGES = ("unlearning", "factors", "tracker", "analysis")


def run(*command: str | Path, folder: Path) -> str:
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [str(word) for word in command], cwd=folder, env=outside, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `python -m build` does: the sdist from the checkout, the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    assert len(list(folder.glob("indelible-*.tar.gz"))) == 1
    (wheel,) = folder.glob("indelible-*.whl")
    return wheel


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel, and what it needs from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, folder=folder)
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])", folder=folder)
    # Packages are found in a folder that a .pth names; .pth files there, of this checkout, are not.
    Path(site.strip(), "needed.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "indelible.py")
    moved = {"tracker/api/indelible.pyi": "indelible-stubs/__init__.pyi"}
    files = [moved.get(file, file) for file in run(*listed, *PACKAGES, folder=ROOT).split()]
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(n for n in names if ".dist-info/" not in n) == sorted(files)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)


def test_the_types_in_the_wheel_are_those_of_the_public_face() -> None:
    stub = ast.parse((ROOT / "tracker" / "api" / "indelible.pyi").read_text("utf-8"))
    imported = {
        each.asname or each.name for node in stub.body for each in getattr(node, "names", ())
    }
    made = {getattr(node, "name", "") for node in stub.body}
    assert {*indelible.__all__} <= imported | made
    assert {"Store", "open"} <= made


@pytest.mark.slow
def test_the_wheel_does_the_main_job_outside_the_checkout(scripts: Path, tmp_path: Path) -> None:
    assert "demo" in run(scripts / "indelible", "--help", folder=tmp_path)
    modules = ", ".join(("indelible", *PACKAGES))
    code = f"import {modules}; print(indelible.__version__, tracker.__file__)"
    version, file = run(scripts / "python", "-c", code, folder=tmp_path).split()
    assert Path(file).is_relative_to(scripts.parent)
    for command in ((scripts / "indelible",), (scripts / "python", "-m", "indelible")):
        assert run(*command, "--version", folder=tmp_path).split()[-1] == version
    run(scripts / "indelible", "train", "--epochs", "2", folder=tmp_path)
    sweep = ("sweep", "--algorithm", "ga", "--algorithm", "salun", "--samples", "3")
    run(scripts / "indelible", *sweep, folder=tmp_path)
    run(scripts / "indelible", "report", folder=tmp_path)
    run(scripts / "indelible", "check", folder=tmp_path)  # exits with 0: all is whole
    count = ("sql", "select count(*) from internal.runs", "--format", "csv")
    assert run(scripts / "indelible", *count, folder=tmp_path).split()[-1] == "6"
    assert (tmp_path / "mlruns" / "report" / "report.html").exists()
