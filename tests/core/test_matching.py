"""A mission held against a reference."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcripts import call, model

from quartermaster.core.matching import ORDERS, Order, Rules, match

A, B, C = call("a", {"x": 1}), call("b"), call("c")


def matched(reference: list, candidate: list, **rules: object) -> list[str]:
    return [order for order in ORDERS if match(reference, candidate, Rules(order=order, **rules)).matches]


@pytest.mark.parametrize(
    ("reference", "candidate", "modes"),
    [
        ("ab", "ab", ["exact", "in order", "any order", "subset", "superset"]),
        ("ab", "ba", ["any order", "subset", "superset"]),
        ("ab", "acb", ["in order", "superset"]),
        ("ab", "bca", ["superset"]),
        ("ab", "a", ["subset"]),
        ("ab", "ac", []),
        ("", "", ["exact", "in order", "any order", "subset", "superset"]),
        ("aab", "ab", ["subset"]),
    ],
)
def test_each_mode_holds_what_its_name_says(reference: str, candidate: str, modes: list[Order]):
    assert matched([*map(call, reference)], [*map(call, candidate)]) == modes


def test_model_calls_are_no_tool_calls():
    assert matched([call("a")], [model(), call("a"), model()]) == [*ORDERS]


@pytest.mark.parametrize(
    ("mode", "same", "less", "more", "other"),
    [
        ("exact", True, False, False, False),
        ("ignore", True, True, True, True),
        ("subset", True, True, False, False),
        ("superset", True, False, True, False),
    ],
)
def test_arguments_agree_as_the_mode_says(mode: str, same: bool, less: bool, more: bool, other: bool):
    reference = [call("a", {"x": 1, "y": 2})]
    cases = ({"y": 2, "x": 1}, {"x": 1}, {"x": 1, "y": 2, "z": 3}, {"x": 1, "y": 3})
    found = [match(reference, [call("a", given)], Rules(arguments=mode)).matches for given in cases]
    assert found == [same, less, more, other]


def test_ignored_tools_and_arguments_are_left_out_on_both_sides():
    reference, candidate = [call("a", {"x": 1, "at": 5}), call("log")], [call("a", {"x": 1, "at": 6})]
    rules = {
        "arguments": "exact",
        "ignored_tools": frozenset({"log"}),
        "ignored_arguments": frozenset({"at"}),
    }
    assert matched(reference, candidate, **rules) == [*ORDERS]
    assert matched(reference, candidate, arguments="exact") == []


def test_precision_recall_and_divergence_are_told():
    found = match([A, B, B], [A, B, C, C])
    assert (found.matched, found.precision, found.recall, found.divergence) == (2, 0.5, 2 / 3, 2)
    assert found.f1 == pytest.approx(4 / 7)


def test_without_a_reference_no_share_can_be_said():
    found = match([], [A])
    assert (found.precision, found.recall, found.f1) == (None, None, None)
    assert match([A], []).precision is None
    assert match([A], []).recall == 0


_SETS = st.lists(st.sets(st.integers(0, 3), max_size=3), max_size=4)


@given(_SETS, _SETS)
def test_no_pairing_of_calls_is_larger_than_the_one_found(expected: list[set[int]], made: list[set[int]]):
    reference = [call("t", {str(key): 0 for key in sorted(keys)}) for keys in expected]
    candidate = [call("t", {str(key): 0 for key in sorted(keys)}) for keys in made]
    chances = permutations([*made, *[None] * len(expected)], len(expected))
    pairs = (zip(chosen, expected, strict=True) for chosen in chances)
    best = max(sum(one is not None and one >= other for one, other in chosen) for chosen in pairs)
    assert match(reference, candidate, Rules(arguments="superset")).matched == best
