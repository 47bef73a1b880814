"""The shape of a mission: the same whatever the order of parallel siblings."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from quartermaster.core.assessment import LEVELS, PlainTexts, assess
from quartermaster.core.shape import Shape, distances, shape_of
from quartermaster.core.trajectory import COMMAND, COMMAND_END, COMMAND_START, MODEL_CALL, Step


@dataclass(frozen=True)
class Call:
    name: str
    began: int
    ended: int
    success: bool = True


def rows(*steps: Any) -> list[Step]:
    """Model calls by their instant, calls by a start and an end."""
    told = []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            told.append(Step(step, MODEL_CALL, "m", True))
        else:
            told.append(Step(step.began, COMMAND_START, step.name, pairing=number, arguments=step.name))
            told.append(Step(step.ended, COMMAND_END, step.name, step.success, pairing=number))
    return sorted(told, key=lambda step: step.instant)


def shape(*steps: Any) -> Shape:
    return shape_of(rows(*steps), PlainTexts())


def test_siblings_that_ran_side_by_side_may_stand_in_any_order():
    one = shape(0, Call("read a", 1, 9), Call("list", 2, 8, False), 20, Call("end", 21, 22))
    other = shape(0, Call("list", 1, 7, False), Call("read a", 2, 5), 20, Call("end", 21, 22))
    assert one.layers == other.layers


def test_calls_one_after_the_other_keep_their_order():
    one = shape(0, Call("read", 1, 3), Call("list", 3, 8))
    other = shape(0, Call("list", 1, 3), Call("read", 3, 8))
    assert one.layers.kinds == other.layers.kinds
    assert one.layers.tools != other.layers.tools


def test_calls_of_two_turns_are_no_siblings():
    one = shape(0, Call("read", 1, 9), 2, Call("list", 3, 8))
    other = shape(0, Call("list", 1, 9), 2, Call("read", 3, 8))
    assert one.layers.tools != other.layers.tools


def test_where_nothing_ran_side_by_side_the_signatures_are_those_of_the_assessment():
    steps = rows(0, Call("read a", 1, 3), 5, Call("list", 6, 8, False), Call("end", 9, 10))
    steps.append(Step(50, COMMAND, "last", False, duration_ms=3, arguments="x"))
    assert shape_of(steps, PlainTexts()).layers == assess(steps, PlainTexts()).layers


def test_each_level_sees_what_the_one_before_does_not():
    base = shape(0, Call("read a", 1, 3)).layers
    tool, argument = shape(0, Call("list a", 1, 3)).layers, shape(0, Call("read -n", 1, 3)).layers
    outcome = shape(0, Call("read a", 1, 3, False)).layers
    for changed, first in ((tool, "tools"), (argument, "arguments"), (outcome, "outcomes")):
        assert next(level for level in LEVELS if getattr(changed, level) != getattr(base, level)) == first


TOOLS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12)


@given(TOOLS, st.lists(TOOLS, min_size=1, max_size=4))
def test_distances_are_those_of_jensen_and_shannon(mine: list[str], others: list[list[str]]):
    def counted(tools: list[str]) -> dict[tuple[str, str], int]:
        walk = ["<", *tools, ">"]
        pairs = list(pairwise(walk))
        return {pair: pairs.count(pair) for pair in pairs}

    def edges(tools: list[str]) -> bytes:
        return shape(*(Call(tool, 2 * at, 2 * at + 1) for at, tool in enumerate(tools))).edges

    found = distances(edges(mine), [edges(other) for other in others])
    for distance, other in zip(found, others, strict=True):
        one, two = counted(mine), counted(other)
        keys = sorted({*one, *two})
        oracle = jensenshannon([one.get(k, 0) for k in keys], [two.get(k, 0) for k in keys], base=2)
        assert distance == pytest.approx(oracle, abs=2e-6)
    assert distances(edges(mine), []) == []
