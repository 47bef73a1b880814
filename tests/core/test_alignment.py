"""Two missions side by side."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcripts import asked, call, in_order, model, said

from quartermaster.core.alignment import (
    Alignment,
    Block,
    Place,
    align,
    align_keys,
    changed_arguments,
    similarity,
)
from quartermaster.core.transcript import Event

KEYS = st.lists(st.integers(0, 4), max_size=40)


def kinds(alignment: Alignment | Sequence[Block]) -> list[tuple[str, int, int]]:
    blocks = alignment.blocks if isinstance(alignment, Alignment) else alignment
    return [(block.kind, len(block.baseline), len(block.candidate)) for block in blocks]


def aligned(before: Sequence[Event], after: Sequence[Event]) -> Alignment:
    return align(in_order(*before), in_order(*after))


def test_equal_missions_are_one_equal_block_and_never_diverge():
    steps = [asked("Why?"), model(), call("read", {"path": "a"}), said("So.")]
    result = aligned(steps, steps)
    assert kinds(result) == [("equal", 4, 4)]
    assert (result.similarity, result.unaligned, result.first_divergence) == (1.0, 0, None)


def test_two_empty_missions_are_alike_and_an_empty_one_is_like_no_other():
    assert aligned([], []).similarity == 1.0
    only = aligned([], [model(), call("read")])
    assert (only.similarity, kinds(only), only.first_divergence) == (0.0, [("inserted", 0, 2)], Place(0, 0))


def test_inserted_steps_stand_where_they_were_inserted():
    before = [model(), call("read", {"path": "a"}), call("write", {"path": "b"})]
    after = [before[0], before[1], call("list"), call("list", {"deep": True}), before[2]]
    result = aligned(before, after)
    assert kinds(result) == [("equal", 2, 2), ("inserted", 0, 2), ("equal", 1, 1)]
    assert result.first_divergence == Place(2, 2)


def test_a_call_of_the_same_tool_with_other_arguments_is_changed_by_key():
    before = call("book", {"flight": "HAT1", "seats": 2, "cabin": "economy"})
    after = call("book", {"flight": "HAT2", "seats": 2, "bags": 1})
    assert kinds(aligned([model(), before], [model(), after])) == [("equal", 1, 1), ("changed", 1, 1)]
    told = [(one.key, one.baseline, one.candidate) for one in changed_arguments(before, after)]
    assert told == [("bags", None, "1"), ("cabin", "economy", None), ("flight", "HAT1", "HAT2")]


def test_a_long_argument_is_cut():
    (change,) = changed_arguments(call("write", {"text": "a"}), call("write", {"text": "b" * 1000}))
    assert change.candidate is not None
    assert len(change.candidate) == 200
    assert change.candidate.endswith("…")


def test_another_tool_in_its_place_is_replaced_and_has_no_partner():
    result = aligned([model(), call("read", {"p": 1})], [model(), call("write", {"p": 2})])
    assert kinds(result) == [("equal", 1, 1), ("replaced", 1, 1)]
    assert result.unaligned == 2


def test_a_replaced_stretch_pairs_the_steps_that_have_most_in_common():
    before = [call("read", {"path": "a"}), call("edit", {"path": "a", "line": 1, "text": "x"})]
    after = [call("list"), call("edit", {"path": "a", "line": 2, "text": "x"}), call("read", {"path": "c"})]
    result = aligned(before, after)
    assert ("changed", 1, 1) in kinds(result)
    (pair,) = [block for block in result.blocks if block.kind == "changed"]
    assert (pair.baseline.start, pair.candidate.start) == (1, 1)


def test_an_outcome_that_flips_is_where_two_missions_part_first():
    before = [model(), call("test"), model(), call("push", {"to": "main"})]
    after = [model(), call("test", succeeded=False), model(), call("push", {"to": "dev"})]
    result = aligned(before, after)
    assert [(flip.baseline, flip.candidate, flip.failed) for flip in result.flips] == [(1, 1, True)]
    assert result.first_divergence == Place(1, 1)


def test_an_outcome_that_is_not_known_flips_nothing():
    result = aligned([call("test", succeeded=None)], [call("test", succeeded=False)])
    assert result.flips == ()


def test_a_loop_that_was_inserted_says_how_often_it_repeats():
    rest = [model(), call("push")]
    before = [model(), call("test"), *rest]
    after = [model(), call("test"), *[call("test")] * 5, *rest]
    block = aligned(before, after).blocks[1]
    assert (block.kind, block.period, block.repeats) == ("inserted", 1, 5)
    after = [model(), call("test"), *[model(), call("test")] * 4, *rest]
    block = next(one for one in aligned(before, after).blocks if one.kind == "inserted")
    assert (block.period, block.repeats) == (2, 4)


def test_two_steps_of_one_kind_are_no_loop():
    block = aligned([model()], [model(), call("read"), call("read")]).blocks[-1]
    assert (block.kind, block.repeats) == ("inserted", None)


def test_of_two_loops_the_longer_one_has_more_rounds_of_the_same():
    before = [asked("a"), *[model(), call("poll")] * 10, said("no"), call("end", {"code": 1})]
    after = [asked("b"), *[model(), call("poll")] * 14, said("yes"), call("end", {"code": 2})]
    assert kinds(aligned(before, after)) == [
        ("changed", 1, 1), ("equal", 20, 20), ("inserted", 0, 8), ("changed", 2, 2),
    ]  # fmt: skip


def test_a_stretch_beyond_refinement_is_told_by_its_length_alone():
    before = [call("read", {"path": str(index)}) for index in range(501)]
    after = [call("write", {"path": str(index)}) for index in range(390)]
    assert kinds(aligned(before, after)) == [("replaced", 501, 390)]


def test_missions_beyond_the_limit_are_aligned_between_steps_that_both_have_once():
    chance = random.Random(1)
    steps = [call("read", {"path": str(index)}) for index in range(300)]
    other = [step for step in steps if chance.random() > 0.1]
    result = align(in_order(*steps), in_order(*other), whole_limit=100)
    assert result.method == "anchored windows"
    assert {block.kind for block in result.blocks} == {"equal", "deleted"}
    assert result.unaligned == len(steps) - len(other)
    assert result.similarity == len(other) / len(steps)


def test_a_window_without_anchors_beyond_the_limit_stays_closed():
    blocks = align_keys([1, *[2, 3] * 100, 9], [4, *[3, 5] * 90, 8], whole_limit=50)
    assert kinds(blocks) == [("replaced", 202, 182)]


@given(KEYS, KEYS, st.sampled_from([5, 1000]))
def test_blocks_cover_every_step_of_both_sides_in_order(before: list[int], after: list[int], limit: int):
    blocks = align_keys(before, after, whole_limit=limit)
    assert [step for b in blocks for step in before[b.baseline.start : b.baseline.end]] == before
    assert [step for b in blocks for step in after[b.candidate.start : b.candidate.end]] == after
    for block in blocks:
        if block.kind == "equal":
            here = before[block.baseline.start : block.baseline.end]
            assert here == after[block.candidate.start : block.candidate.end]


@given(KEYS, KEYS)
def test_similarity_is_the_same_from_either_side(before: list[int], after: list[int]):
    assert similarity(before, after) == similarity(after, before) == _by_the_book(before, after)


@given(st.lists(st.integers(0, 200), max_size=60), st.lists(st.integers(0, 200), max_size=60))
def test_few_matches_and_many_are_counted_alike(before: list[int], after: list[int]):
    assert similarity(before, after) == pytest.approx(_by_the_book(before, after))


@given(KEYS, KEYS)
def test_the_first_divergence_is_where_a_walk_in_lockstep_ends(before: list[int], after: list[int]):
    sides = [in_order(*(call(f"t{key}") for key in keys)) for keys in (before, after)]
    place = align(*sides).first_divergence
    walked = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), None)
    if walked is None and len(before) != len(after):
        walked = min(len(before), len(after))
    assert place == (None if walked is None else Place(walked, walked))


def _by_the_book(before: list[int], after: list[int]) -> float:
    if not before or not after:
        return float(before == after)
    table: Any = [[0] * (len(after) + 1) for _ in range(len(before) + 1)]
    for i, one in enumerate(before):
        for j, other in enumerate(after):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else longest
    return float(table[-1][-1] / max(len(before), len(after)))
