"""Methods of other people's through the real command: from a package, and from a file here."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.plugins import ALGORITHM, ARCHITECTURE, DATASET, FAMILY, install
from tracker.store.opening import open_store
from tracker.store.records import Kind

REPOSITORY = Path(__file__).parents[2]
SCRIPT = Path(sysconfig.get_path("scripts")) / "indelible"
MODULE = (sys.executable, "-m", "indelible")
POINTS = {
    "algorithms": {"halt": "acme_method:Halt"},
    "factors": {"acme": "acme_family:FAMILY"},
    "datasets": {"acme-stripes": "acme_data:stripes"},
    "architectures": {"acme-net": "acme_net:net"},
}
MODULES = {
    "acme_method": ALGORITHM.format(name="halt"),
    "acme_family": FAMILY.format(name="acme", column="brightness"),
    "acme_data": DATASET.format(name="acme-stripes"),
    "acme_net": ARCHITECTURE,
}


def indelible(
    cwd: Path, *arguments: str, code: int = 0, how: tuple[str | Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """The command in that folder, with what is installed in its `site`; as a program if `how`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(cwd / "site")])}
    if how:
        words = [*how, *arguments]
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    else:
        done = forked.run(*arguments, cwd=cwd, env=environment)
    assert done.returncode == code, done.stderr
    return done


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [dict(row) for row in json.loads(done.stdout)]


@pytest.fixture
def namesakes(tmp_path: Path) -> Path:
    """A folder with packages of the user's own that are called as ours are."""
    for name in ("analysis", "factors", "tracker", "unlearning"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('the user has {name}')")
    (tmp_path / "own.py").write_text(ALGORITHM.format(name="own_halt"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("how", [(SCRIPT,), MODULE], ids=["script", "module"])
def test_a_folder_with_packages_of_our_names_breaks_nothing(
    how: tuple[str | Path, ...], namesakes: Path
) -> None:
    assert SCRIPT.exists()
    train = ("train", "--epochs", "1", "--train-samples", "60", "--arch", "mlp")
    indelible(namesakes, *train, how=how)
    sweep = ("sweep", "--algorithm", "module:own:Halt", "--samples", "2")
    sweep_id = indelible(namesakes, *sweep, how=how).stdout.strip()
    assert "own_halt" in indelible(namesakes, "sweeps", "--format", "json", how=how).stdout
    assert sweep_id


def test_importing_where_a_namesake_hides_ours_says_which(namesakes: Path) -> None:
    (namesakes / "script.py").write_text("import indelible")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=namesakes,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: 'unlearning' is ")
    assert str(namesakes.resolve() / "unlearning") in last
    assert str(REPOSITORY) in last


@pytest.mark.slow
def test_from_a_package_all_is_as_our_own(tmp_path: Path) -> None:
    install(tmp_path / "site", "acme-methods", MODULES, POINTS, version="2.1")
    listed = rows(indelible(tmp_path, "algorithms", "--format", "json"))
    assert {(row["setting"], row["provider"]) for row in listed if row["algorithm"] == "halt"} >= {
        ("share", "acme-methods 2.1")
    }
    assert {row["provider"] for row in listed} == {None, "acme-methods 2.1"}
    named = rows(indelible(tmp_path, "factors", "--format", "json"))
    assert [r["name"] for r in named if r["provider"] == "acme-methods 2.1"] == ["brightness"]
    train = ("train", "--dataset", "acme-stripes", "--arch", "acme-net", "--epochs", "5")
    model = indelible(tmp_path, *train).stdout.strip()
    sweep = ("sweep", "--algorithm", "halt", "--algorithm", "ga", "--samples", "6")
    sweep_id = indelible(tmp_path, *sweep, "--set", "halt.share=0.5").stdout.strip()
    indelible(tmp_path, "load")
    found = rows(indelible(tmp_path, "correlate", "--format", "json"))
    assert {"halt", "ga"} == {row["algorithm"] for row in found if row["factor"] == "brightness"}
    store = open_store(tmp_path / "mlruns")
    base, parent = (store.run(run_id) for run_id in (model, sweep_id))
    assert base.tags["dataset_provider"] == base.tags["arch_provider"] == "acme-methods 2.1"
    halt, acme = {"halt": "acme-methods 2.1"}, {"acme": "acme-methods 2.1"}
    assert json.loads(parent.tags["algorithm_providers"]) == halt
    assert json.loads(parent.tags["factor_providers"]) == acme
    members = {
        name: next(iter(store.finished_runs(Kind.MEMBER, f"params.algorithm = '{name}'")))
        for name in ("halt", "ga")
    }
    assert json.loads(members["halt"].tags["algorithm_providers"]) == halt
    assert "algorithm_providers" not in members["ga"].tags
    assert all(json.loads(member.tags["factor_providers"]) == acme for member in members.values())
    assert members["halt"].params["share"] == "0.5"
    assert "acme/brightness" in members["ga"].metrics
    keys = {run.tags["key"] for run in store.finished_runs(Kind.MEMBER)}
    shutil.rmtree(tmp_path / "site")  # another version makes other members
    install(tmp_path / "site", "acme-methods", MODULES, POINTS, version="2.2")
    indelible(tmp_path, *sweep, "--set", "halt.share=0.5")
    now = {run.tags["key"] for run in store.finished_runs(Kind.MEMBER)}
    assert (len(keys), len(now - keys)) == (12, 12)  # of its architecture are all


@pytest.mark.slow
def test_from_a_file_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(ARCHITECTURE)
    source = ALGORITHM.format(name="own_halt") + FAMILY.format(name="own", column="light")
    (tmp_path / "mine.py").write_text(source)
    indelible(tmp_path, "train", "--epochs", "2", "--arch", "module:nets:net")
    algorithm = ("sweep", "--algorithm", "module:mine:Halt")
    sweep_id = indelible(tmp_path, *algorithm, "--samples", "5").stdout.strip()
    indelible(tmp_path, "load")
    sweep = (*algorithm, "--factors", "module:mine:FAMILY")
    again = indelible(tmp_path, *sweep, "--samples", "5")  # measures what it lacks
    assert again.stdout.strip() == sweep_id
    indelible(tmp_path, *sweep, "--samples", "6")
    indelible(tmp_path, "load")
    found = rows(indelible(tmp_path, "correlate", "--format", "json"))
    assert {"own_halt"} == {row["algorithm"] for row in found if row["factor"] == "light"}
    store = open_store(tmp_path / "mlruns")
    made = store.finished_runs(Kind.MEMBER)
    (member,) = (run for run in made if "factor_providers" in run.tags)
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    said = json.loads(member.tags["algorithm_providers"])
    assert said == {"own_halt": f"module:mine:Halt {sha256}"}
    assert json.loads(member.tags["factor_providers"]) == {"own": f"module:mine:FAMILY {sha256}"}
    command = shlex.split(member.tags["command"])
    assert indelible(tmp_path, *command[1:]).stdout.strip()
    assert len(list(store.finished_runs(Kind.MEMBER))) == 6  # it is there
    (tmp_path / "mine.py").write_text(source + "\n# changed\n")
    assert indelible(tmp_path, *sweep, "--samples", "5").stdout.strip() != sweep_id


@pytest.mark.slow
def test_what_is_broken_is_a_remark_unless_it_is_asked_for(tmp_path: Path) -> None:
    install(
        tmp_path / "site",
        "acme-methods",
        {"acme_method": "print('hello')\nimport nothing_of_this_name"},
        {"algorithms": {"halt": "acme_method:Halt"}, "factors": {"acme": "acme_method:FAMILY"}},
    )
    for command, kind in (("algorithms", "algorithm"), ("factors", "factor family")):
        done = indelible(tmp_path, command, "--format", "csv")
        name = {"algorithms": "halt", "factors": "acme"}[command]
        said = f"the {kind} '{name}' of acme-methods 1.0 cannot be used: No module named"
        assert done.stderr.count(said) == 1
        assert "hello" not in done.stdout
        assert name not in {line.partition(",")[0] for line in done.stdout.splitlines()}
    train = ("train", "--epochs", "1", "--train-samples", "60", "--arch", "mlp")
    indelible(tmp_path, *train)
    done = indelible(tmp_path, "sweep", "--algorithm", "halt", "--samples", "2", code=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("indelible: the algorithm 'halt' of acme-methods 1.0 cannot be used")
    assert done.stdout == ""
    indelible(tmp_path, "sweep", "--algorithm", "ga", "--samples", "2")


def test_a_shell_completes_names_of_other_peoples(tmp_path: Path) -> None:
    install(tmp_path / "site", "acme-methods", MODULES, POINTS)
    points = {"algorithms": {"ga": "acme_method:Halt"}}  # of which nothing is said to a shell
    install(tmp_path / "site", "acme-replicas", {}, points)
    environment = os.environ | {
        "_INDELIBLE_COMPLETE": "bash_complete",
        "COMP_WORDS": "indelible sweep --algorithm ha",
        "COMP_CWORD": "3",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(tmp_path / "site")]),
    }
    done = subprocess.run(MODULE, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["plain,halt"]
    assert done.stderr == ""
