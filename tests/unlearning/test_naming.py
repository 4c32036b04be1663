"""How things are found by what their user calls them."""

from __future__ import annotations

import pytest

from unlearning.errors import UserError
from unlearning.naming import find, nearest, shortest

THINGS = [("abc123", "new"), ("abd456", "old"), ("new999", "old")]


def found(reference: str) -> str:
    return find(reference, THINGS, "sweep", "look")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("latest", "abc123"),
        ("abd456", "abd456"),
        ("abc", "abc123"),
        ("new", "abc123"),  # a name goes before the beginning of an id
        ("new9", "new999"),
    ],
)
def test_things_are_found(reference: str, expected: str) -> None:
    assert found(reference) == expected


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("ab", r"any of 2 sweeps, abc123 \(new\), abd456 \(old\): give more"),
        ("old", r"any of 2 sweeps, abd456 \(old\), new999 \(old\)"),
        ("", "there is no sweep '': look"),
        ("odl", r"no sweep 'odl' \(did you mean 'old'\?\): look"),
    ],
)
def test_what_is_none_or_several_is_said(reference: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        found(reference)


def test_what_was_likely_meant() -> None:
    assert nearest("sampel", ["rank", "sample"]) == " (did you mean 'sample'?)"
    assert nearest("dance", ["rank", "sample"]) == ""


def test_ids_are_as_short_as_tells_them_apart() -> None:
    assert shortest({"abc1", "abc2", "x"}, least=1) == {"abc1": "abc1", "abc2": "abc2", "x": "x"}
    assert shortest({"abcd", "axyz"}, least=1) == {"abcd": "ab", "axyz": "ax"}
    assert shortest({"a" * 32}) == {"a" * 32: "a" * 8}
