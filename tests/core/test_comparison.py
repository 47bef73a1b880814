"""A pair of missions: thresholds, wording, and what must never pass for fine."""

import json
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.core import trajectory as t
from quartermaster.core.assessment import PlainTexts, assess
from quartermaster.core.comparison import Divergence, Profile, StepName, compare, dollars, first_divergence
from quartermaster.core.trajectory import Step, picodollars

DONE = Step(0, t.STATUS_CHANGE, "completed", True)
TEXTS = PlainTexts()


def unpriced(model, **counts):
    return None


def mission(commands=0, failed=0, costs=(), blocks=0, finished=True, more=()):
    """A mission of so many commands, the last of which failed, then model calls, blocks and its end."""
    rows = [Step(0, t.COMMAND, f"step {index}", index < commands - failed) for index in range(commands)]
    rows += [Step(0, t.MODEL_CALL, "m", True, tokens=10, cost=picodollars(cost)) for cost in costs]
    rows += [Step(0, t.OUTPUT_BLOCKED, None, False, 3)] * blocks
    rows += [DONE] if finished else []
    return assess([*rows, *more], TEXTS, 0, unpriced)


def result(baseline, candidate, **thresholds):
    return compare(baseline, candidate, Profile(**thresholds)).result


def delta(comparison, metric):
    return next(delta for delta in comparison.deltas if delta.metric == metric)


# Wording


def test_a_drop_of_tool_success_is_told_in_points():
    assert result(mission(100), mission(100, failed=8)) == (
        "regressed: tool success dropped 8.0% (> 5% threshold)"
    )


def test_a_longer_way_to_the_goal_is_told_in_percent():
    assert result(mission(9), mission(12)) == "regressed: steps to goal rose 30.0% (> 20% threshold)"


def test_a_rise_of_cost_is_told_in_percent():
    assert result(mission(costs=[1.0]), mission(costs=[1.22])) == (
        "regressed: cost rose 22.0% (> 15% threshold)"
    )


def test_one_hallucination_more_is_told_in_numbers():
    assert result(mission(20), mission(20, blocks=1)) == "regressed: hallucinations rose from 0 to 1"


def test_breaches_are_joined_in_the_order_of_the_contract():
    comparison = compare(mission(10, costs=[1.0]), mission(20, failed=10, costs=[2.0], blocks=1))
    assert comparison.result == (
        "regressed: tool success dropped 50.0% (> 5% threshold); steps to goal rose 91.7% (> 20% threshold); "
        "cost rose 100.0% (> 15% threshold); hallucinations rose from 0 to 1"
    )
    assert comparison.regressed
    assert comparison.verdict == "regressed"
    assert comparison.regressed_metrics == (
        "tool_success_rate",
        "steps_to_goal",
        "total_cost_usd",
        "hallucinations",
    )
    assert "regressed: " + "; ".join(comparison.reasons) == comparison.result


def test_from_no_cost_to_some_is_a_breach_that_says_so():
    assert result(mission(costs=[0.0]), mission(costs=[0.42])) == "regressed: cost rose from $0 to $0.42"


def test_from_no_steps_to_some_is_a_breach_that_says_so():
    comparison = compare(mission(finished=False), mission(11))
    assert comparison.result == "regressed: steps to goal rose from 0 to 12"
    assert "the baseline has no steps" in comparison.notes


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0"),
        (0.42, "$0.42"),
        (12, "$12.00"),
        (0.0042, "$0.0042"),
        (0.0079, "$0.0079"),
        (0.00000123, "$0.0000012"),
        (-1, "-$1.00"),
    ],
)
def test_an_amount_is_written_in_cents_or_two_digits_below(amount, text):
    assert dollars(amount) == text


# Thresholds


@pytest.mark.parametrize(("before", "after"), [(0, 5), (5, 10), (10, 15), (20, 25), (45, 50)])
def test_a_drop_of_exactly_five_points_is_no_breach_wherever_it_starts(before, after):
    assert result(mission(100, failed=before), mission(100, failed=after)) == "no_regression"


def test_a_rise_of_exactly_fifteen_percent_is_no_breach():
    assert result(mission(costs=[0.1] * 10), mission(costs=[0.115] * 10)) == "no_regression"
    assert result(mission(costs=[0.1] * 10), mission(costs=[0.1151] * 10)).startswith("regressed")


def test_a_rise_of_exactly_twenty_percent_of_steps_is_no_breach():
    assert result(mission(9), mission(11)) == "no_regression"


def test_values_are_judged_before_they_are_rounded():
    assert result(mission(10_000), mission(10_000, failed=501)) == (
        "regressed: tool success dropped 5.0% (> 5% threshold)"
    )


def test_thresholds_can_be_set_and_are_told():
    candidate = mission(100, failed=8)
    assert result(mission(100), candidate, tool_success_rate=0.1) == "no_regression"
    assert result(mission(100), candidate, tool_success_rate=0.07) == (
        "regressed: tool success dropped 8.0% (> 7% threshold)"
    )
    comparison = compare(mission(100), candidate, Profile(hallucinations=2))
    assert comparison.profile == Profile(hallucinations=2)
    assert delta(comparison, "hallucinations").threshold == 2


@pytest.mark.parametrize("threshold", [-0.1, math.nan, math.inf])
def test_a_threshold_that_makes_no_sense_is_refused(threshold):
    with pytest.raises(ValueError, match="steps_to_goal"):
        Profile(steps_to_goal=threshold)


def test_a_profile_survives_json_and_knows_its_keys():
    profile = Profile(steps_to_goal=0.5)
    assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"steps": 1}', type=Profile)


# Verdicts


def test_a_mission_against_itself_is_unchanged():
    one = mission(10, failed=2, costs=[1.0], blocks=1)
    comparison = compare(one, one)
    assert (comparison.verdict, comparison.result, comparison.regressed) == (
        "unchanged",
        "no_regression",
        False,
    )
    assert not comparison.drift.changed
    assert comparison.drift.level is None


def test_better_by_more_than_a_threshold_is_improved():
    comparison = compare(mission(10, costs=[1.0]), mission(5, costs=[1.0]))
    assert (comparison.verdict, comparison.result) == ("improved", "no_regression")
    assert delta(comparison, "steps_to_goal").state == "better"


def test_better_within_the_thresholds_is_unchanged():
    assert compare(mission(10, costs=[1.0]), mission(9, costs=[0.9])).verdict == "unchanged"


def test_nothing_is_improved_while_a_metric_cannot_be_compared():
    comparison = compare(mission(10, costs=[None]), mission(5, costs=[None]))
    assert (comparison.verdict, comparison.result) == ("unchanged", "no_regression")
    assert comparison.not_comparable == ("total_cost_usd",)


def test_a_breach_outweighs_any_improvement():
    assert compare(mission(10, costs=[1.0]), mission(2, costs=[2.0])).verdict == "regressed"


def test_an_unknown_cost_is_named_and_neither_breach_nor_pass():
    comparison = compare(mission(10, costs=[1.0]), mission(10, costs=[5.0, None]))
    cost = delta(comparison, "total_cost_usd")
    assert (cost.state, cost.absolute, cost.relative, cost.candidate) == ("not comparable", None, None, None)
    assert cost.reason == "the cost of 1 of 2 model calls is unknown (candidate)"
    assert f"total_cost_usd is not comparable: {cost.reason}" in comparison.notes


def test_a_rate_without_outcomes_on_one_side_is_not_comparable():
    comparison = compare(mission(0, costs=[1.0]), mission(10, failed=10, costs=[1.0], finished=True))
    assert delta(comparison, "tool_success_rate").state == "not comparable"
    assert "tool success" not in comparison.result


def test_a_candidate_without_steps_is_not_comparable():
    comparison = compare(mission(10, costs=[1.0]), mission(finished=False))
    assert (comparison.verdict, comparison.regressed) == ("not comparable", False)
    assert comparison.result == "not comparable: the candidate has no steps"
    assert {delta.state for delta in comparison.deltas} == {"not comparable", "not gated"}


def test_two_missions_without_steps_are_not_comparable():
    empty = mission(finished=False)
    assert result(empty, empty) == "not comparable: neither mission has steps"


def test_a_candidate_that_died_on_the_way_is_inconclusive_not_improved():
    comparison = compare(mission(10, costs=[1.0]), mission(3, costs=[0.1], finished=False))
    assert (comparison.verdict, comparison.regressed) == ("inconclusive", False)
    assert comparison.result == "inconclusive: the candidate never reached the goal that its baseline reached"
    assert delta(comparison, "steps_to_goal").state == "not comparable"


def test_a_candidate_that_died_on_the_way_can_still_have_regressed():
    comparison = compare(mission(10), mission(10, failed=5, finished=False))
    assert comparison.result == "regressed: tool success dropped 50.0% (> 5% threshold)"
    assert "the candidate never reached the goal that its baseline reached" in comparison.notes


def test_all_eight_deltas_are_kept():
    comparison = compare(mission(10, costs=[1.0, 1.0]), mission(11, costs=[1.0, 1.1]))
    assert [delta.metric for delta in comparison.deltas] == [metric.name for metric in mission().metrics]
    tokens, calls = delta(comparison, "total_tokens"), delta(comparison, "tool_call_count")
    assert (tokens.absolute, tokens.relative, tokens.state) == (0, 0.0, "not gated")
    assert (calls.baseline, calls.candidate, calls.absolute) == (12, 13, 1)


def test_a_new_failure_mode_is_named():
    looping = mission(more=[Step(0, t.COMMAND, "ls", True)] * 6)
    notes = compare(mission(6), looping).notes
    assert "the candidate shows tool_loop, its baseline does not" in notes
    assert delta(compare(mission(6), looping), "failure_modes").absolute == 1


# Drift


def test_drift_alone_does_not_regress():
    candidate = mission(5, more=[Step(0, t.ASSIGNMENT_RUNNING, None, True)])
    comparison = compare(mission(5), candidate)
    assert comparison.result == "no_regression"
    assert comparison.drift.changed
    assert comparison.drift.level == "kinds"


def test_the_first_level_that_differs_is_named():
    comparison = compare(mission(20), mission(20, failed=1))
    assert not comparison.drift.changed
    assert comparison.drift.level == "outcomes"


def commands(*tools):
    return [Step(index, t.COMMAND, tool, True) for index, tool in enumerate(tools)]


def test_the_first_diverging_step_is_shown_with_both_sides():
    found = first_divergence(commands("a", "b", "c"), commands("a", "x", "c"), TEXTS, TEXTS)
    assert found == Divergence(1, StepName("exec.command", "b"), StepName("exec.command", "x"))


def test_a_trajectory_that_ends_earlier_diverges_at_its_end():
    found = first_divergence(commands("a"), commands("a", "b"), TEXTS, TEXTS)
    assert found == Divergence(1, None, StepName("exec.command", "b"))


def test_texts_are_compared_not_their_keys():
    rows = [Step(0, t.COMMAND, 1, True)]
    other = [Step(0, t.COMMAND, 2, True)]
    assert first_divergence(rows, other, {1: "ls"}, {2: "ls"}) is None
    assert first_divergence(rows, other, {1: "ls"}, {2: "cat"}) is not None


def test_a_command_told_twice_does_not_diverge_from_one_told_once():
    twice = [
        Step(0, t.COMMAND_START, "ls", None, pairing=1),
        Step(1, t.COST_INCURRED, cost=1),
        Step(2, t.COMMAND_END, "ls", True, pairing=1),
        Step(3, t.COMMAND, "cat", True),
    ]
    assert first_divergence(twice, commands("ls", "cat"), TEXTS, TEXTS) is None


def test_a_long_or_broken_tool_text_is_shown_in_short():
    found = first_divergence(commands("\ud800" + "x" * 1_000), [], TEXTS, TEXTS)
    assert found is not None
    assert found.baseline == StepName("exec.command", "?" + "x" * 199)
    assert msgspec.json.encode(found)


# What holds for every pair

costs = st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=4)
missions = st.builds(
    mission,
    commands=st.integers(0, 12),
    failed=st.integers(0, 12),
    costs=costs,
    blocks=st.integers(0, 2),
    finished=st.booleans(),
)


@settings(deadline=None)
@given(missions, missions)
def test_verdict_result_and_reasons_never_contradict_each_other(baseline, candidate):
    comparison = compare(baseline, candidate)
    assert comparison.regressed == (comparison.verdict == "regressed") == bool(comparison.reasons)
    assert (comparison.result == "no_regression") == (comparison.verdict in ("improved", "unchanged"))
    for verdict in ("regressed", "inconclusive", "not comparable"):
        assert comparison.result.startswith(verdict + ": ") == (comparison.verdict == verdict)


@settings(deadline=None)
@given(missions, missions)
def test_a_comparison_is_always_json_without_nan_or_infinity(baseline, candidate):
    constants: list[str] = []
    json.loads(msgspec.json.encode(compare(baseline, candidate)), parse_constant=constants.append)
    assert constants == []


@settings(deadline=None)
@given(missions)
def test_no_mission_regresses_against_itself(one):
    assert not compare(one, one).regressed
