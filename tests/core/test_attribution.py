"""Where a difference comes from: parts that add up."""

from itertools import combinations, islice

from hypothesis import given
from hypothesis import strategies as st
from recorded import needs_traces, transcripts_below
from transcripts import call, model, told

from quartermaster.core.alignment import align
from quartermaster.core.attribution import Attribution, attribute
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import Event, Transcript

CENT = PICODOLLARS // 100
STEPS = st.lists(
    st.one_of(
        st.builds(
            lambda name, tokens, cost: model(name, tokens=tokens, cost=cost),
            st.sampled_from(["small", "large"]),
            st.none() | st.integers(0, 10**6),
            st.none() | st.integers(0, 10**13),
        ),
        st.builds(
            lambda name, succeeded: call(name, succeeded=succeeded),
            st.sampled_from(["read", "write", "test"]),
            st.sampled_from([True, False, None]),
        ),
    ),
    max_size=25,
)
SOURCES = ("claude_code", "codex_cli", "tau_bench", "tau2_bench", "swe_agent", "trae_agent", "agentrx")


def attributed(baseline: Transcript, candidate: Transcript) -> dict[str, Attribution]:
    alignment = align(baseline.events, candidate.events)
    return {one.quantity: one for one in attribute(baseline, candidate, alignment)}


def assert_it_adds_up(baseline: Transcript, candidate: Transcript) -> None:
    alignment = align(baseline.events, candidate.events)
    for one in attribute(baseline, candidate, alignment):
        assert len(one.blocks) == len(alignment.blocks)
        assert one.total == sum(one.blocks) == sum(part.amount for part in one.parts)
        assert one.total == (one.candidate or 0) - (one.baseline or 0)


def priced(name: str, cents: int | None, **more: int) -> Event:
    return model(name, cost=None if cents is None else cents * CENT, **more)


def test_the_cost_of_inserted_steps_and_of_a_longer_prompt_are_told_apart():
    before = [priced("m", 10, tokens=10, input_tokens=8), call("read"), priced("m", 5), call("end")]
    added = [call("list"), priced("m", 9), call("list", {"deep": True}), priced("m", 20)]
    after = [priced("m", 22, tokens=30, input_tokens=28), before[1], *added, before[2], before[3]]
    cost = attributed(told(*before), told(*after))["cost"]
    assert (
        cost.sentence
        == "cost +$0.41: +$0.29 from four inserted steps 2-5, +$0.12 from a longer prompt at step 0"
    )
    assert cost.total == 41 * CENT


def test_an_unknown_cost_is_said_and_never_counted_as_nothing():
    cost = attributed(told(priced("m", 10)), told(priced("m", None), priced("m", 10)))["cost"]
    assert not cost.known.full
    assert "known of 1 of 1 model calls of the baseline and 1 of 2 of the candidate" in cost.sentence
    nothing = attributed(told(priced("m", None)), told(priced("m", None)))["cost"]
    assert (nothing.baseline, nothing.candidate) == (None, None)


def test_a_mission_without_model_calls_cost_nothing():
    cost = attributed(told(call("read")), told(call("write")))["cost"]
    assert (cost.baseline, cost.candidate, cost.sentence) == (0, 0, "cost ±0")


def test_another_model_is_one_cause_for_all_its_calls():
    before = [step for index in range(6) for step in (priced("small", 1), call(f"t{index}"))]
    after = [step for index in range(6) for step in (priced("large", 3), call(f"t{index}"))]
    cost = attributed(told(*before), told(*after))["cost"]
    assert cost.sentence == "cost +$0.12: +$0.12 from large instead of small at six steps 0-10"


def test_failures_are_counted_where_they_stand():
    before = [call("a"), call("b"), call("c")]
    after = [call("a"), call("b", succeeded=False), call("c"), call("d", succeeded=False)]
    errors = attributed(told(*before), told(*after))["tool errors"]
    assert errors.sentence == (
        "tool errors +2: +1 from a failure instead of a success at step 1, +1 from one inserted step 3"
    )


def test_what_comes_after_the_third_cause_is_one_remainder():
    before = [call("a"), call("b"), call("c"), call("d"), call("e")]
    after = [
        before[0],
        call("x"),
        before[1],
        call("y"),
        before[2],
        call("z"),
        before[3],
        call("w"),
        before[4],
    ]
    sentence = attributed(told(*before), told(*after))["work steps"].sentence
    assert sentence.startswith("work steps +4: +1 from one inserted step 1, ")
    assert sentence.endswith(", +1 from one other cause")


def test_recordings_without_times_have_no_durations():
    mission = told(call("a"), timed=False)
    assert "duration" not in attributed(mission, told(call("a")))
    assert attributed(told(call("a")), told(call("a"), call("b")))["duration"].total == 10**9


@given(STEPS, STEPS)
def test_the_parts_of_random_missions_add_up_exactly(before: list[Event], after: list[Event]):
    assert_it_adds_up(told(*before), told(*after))


@needs_traces
def test_the_parts_of_fifty_real_pairs_add_up_exactly():
    pairs = 0
    for source in SOURCES:
        missions = [mission for _, mission in islice(transcripts_below(source), 6)]
        for baseline, candidate in islice(combinations(missions, 2), 8):
            assert_it_adds_up(baseline, candidate)
            pairs += 1
    assert pairs >= 50
