"""A command's fields are click's options, Python's keywords and the stub's: they stay together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from tracker.api.store import Store
from tracker.api.stub import FILE, stub
from tracker.cli.options import ClickCommand, flag_of
from tracker.commands import NOT_GIVEN, Command, default_of, function, made, options
from tracker.commands.ask import Compare, Sql
from tracker.commands.keep import Check, Prune
from tracker.commands.make import Measure, Predict, Sweep, Train, Tune, Unlearn
from tracker.commands.table import COMMANDS
from unlearning.errors import UserError

OWN = ("restore", "sql")  # methods that are written by themselves
ASKED = [name for name in COMMANDS if hasattr(Store, name) and name not in OWN]
FIRST_PAGE = 13  # options of a command, with --help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_has_all_fields_of_a_command(name: str) -> None:
    kind = COMMANDS[name]
    known = options(kind)
    command = ClickCommand(name, kind)
    assert {param.name for param in command.params} == known.keys()
    flags = [flag_of(kind, field) for field in known]
    assert len({*flags}) == len(flags)
    first, _, advanced = command.get_help(click.Context(command)).partition("\nAdvanced:\n")
    for field, one in known.items():
        assert field != "seed" or one.shown or "[default: 0]" in first
        assert flag_of(kind, field) in (advanced if one.advanced else first)
    assert sum(not one.advanced for one in known.values()) < FIRST_PAGE


@pytest.mark.parametrize("name", ASKED)
def test_python_has_all_fields_of_a_command(name: str) -> None:
    kind, method = COMMANDS[name], getattr(Store, name)
    known = {field for field, one in options(kind).items() if one.on != "line"}
    assert inspect.signature(method).parameters.keys() == {"self", *known}
    assert all(f"\n    {field}: " in method.__doc__ for field in known)


def test_what_a_command_does_and_shows_is_there() -> None:
    for kind in COMMANDS.values():
        assert callable(function(kind.does))
        assert not kind.shows or callable(function(kind.shows))


def test_the_stub_is_that_of_the_commands() -> None:
    assert FILE.read_text("utf-8") == stub(), "python -m tracker.api.stub"


def test_defaults_are_values_that_are_accepted() -> None:
    for kind in COMMANDS.values():
        for field, one in options(kind).items():
            default = default_of(kind, field)
            if default not in (NOT_GIVEN, None, ()):
                assert one.read(default) == default


GA = {"algorithms": ["ga"]}
MISTAKES: dict[str, tuple[type[Command], Mapping[str, Any], str]] = {
    "unknown": (Sweep, {**GA, "sampels": 3}, "there is no {sampels} (did you mean 'samples'?)"),
    "no text": (Sweep, {"algorithms": [7]}, "{algorithms} is [7]: it takes a text"),
    "an id": (Sweep, {**GA, "sample_ids": "1,x"}, "which holds 'x'"),
    "no file": (Sweep, {**GA, "requests": "none"}, "{requests} is 'none', which does not exist"),
    "nothing": (Sweep, {}, "{algorithms} is missing"),
    "no output": (Unlearn, {**GA, "sample_ids": [1]}, "{output} is missing: Folder for the"),
    "two ways": (
        Sweep,
        {**GA, "samples": 3, "sample_ids": [1]},
        "{sample_ids} has no effect with {samples}: they exclude",
    ),
    "another engine's": (Sweep, {**GA, "slots": 2}, "{slots} has no effect without {engine} ray"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_the_same_line_on_each_face_in_its_words(mistake: str) -> None:
    kind, values, said = MISTAKES[mistake]
    for spell in (str, lambda name: flag_of(kind, name)):
        names = {name: spell(name) for name in [*options(kind), *values]}
        with pytest.raises(UserError) as refused:
            made(kind, values, spell)
        assert said.format_map(names) in str(refused.value)


VALUES: dict[str, tuple[type[Command], tuple[object, ...]]] = {  # that are refused
    "lr": (Train, ("inf", "nan", 0, "-1", "1_0", "\uff11", "x")),
    "batch_size": (Train, (0, -1, "٢", "9" * 5000, 1.5)),
    "seed": (Train, (-1, 2**63, "9" * 30)),
    "reference_share": (Train, (0, 1.5, "nan")),
    "leave_out": (Train, ("", "2,x", [], [2.5], "1_0", "9" * 5000)),
    "samples": (Sweep, (0, "some", "9" * 5000, 2.5, "٢")),
    "name": (Sweep, ("", "  ", "n" * 251, "\udcff", 7)),
    "requests": (Sweep, ("none", [])),
    "settings": (Sweep, ({"ga.lr": 1}, [1])),
    "output": (Tune, ("", "mine.txt")),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_refused(name: str) -> None:
    kind, values = VALUES[name]
    for value in values:
        with pytest.raises(UserError, match=rf"(?s)^{name} is .*: it takes ") as refused:
            made(kind, {name: value})
        assert len(str(refused.value)) < 400


WITHOUT_EFFECT: dict[str, tuple[type[Command], Mapping[str, Any]]] = {
    "workers": (Train, {"workers": 2}),
    "address": (Sweep, {**GA, "address": "local"}),
    "preset": (Train, {"from_weights": __file__, "preset": "paper"}),
    "top": (Predict, {"score": "latest", "top": 3}),
    "sweep": (Measure, {"model": "latest", "samples": 2, "sweep": "all"}),
    "yes": (Check, {"yes": True}),
    "checkpoints": (Prune, {"checkpoints": "none"}),
    "style": (Sql, {"query": "select 1", "output": "x.csv", "style": "csv"}),
    "against": (Compare, {"sweeps": ["a", "b"], "against": "svhn"}),
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_an_option_without_an_effect_is_refused(name: str) -> None:
    kind, values = WITHOUT_EFFECT[name]
    with pytest.raises(UserError, match=f"{name} has no effect with"):
        made(kind, values)


def test_what_is_the_stores_own_is_not_written_to(tmp_path: Path) -> None:
    values = {**GA, "sample_ids": (1, 2), "output": tmp_path}
    assert made(Unlearn, values).output == tmp_path
    with pytest.raises(UserError, match="the store's own: name another"):
        made(Unlearn, values, owns=lambda path: path == tmp_path)


def test_values_of_python_and_of_the_command_line_are_read_alike(tmp_path: Path) -> None:
    (file := tmp_path / "ids").write_text("3, 14\n159")
    texts = {
        "algorithms": ("ga", "ssd"),
        "sample_ids": str(file),
        "settings": ("ga.lr=0.5",),
        "seed": "7",
        "remaining": "all",
    }
    values = {
        "algorithms": ["ga", "ssd"],
        "sample_ids": (i for i in (3, 14, 159)),
        "settings": {"ga": {"lr": 0.5}},
        "seed": 7,
    }
    assert made(Sweep, texts) == made(Sweep, values)
