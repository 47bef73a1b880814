"""Two sets of missions: what is said of them, what is not, and that it is always the same."""

import json
import math
import random
import time

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from quartermaster.core.comparison import Profile
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.set_report import render_set_comparison
from quartermaster.core.trials import Family, Policy, Trial


def trial(task, succeeded=True, *, arm="b", order=0, steps=20.0, cost=0.1, status=None, **facts):
    values = {
        "work_steps": steps,
        "total_cost_usd": cost,
        "total_tokens": 1000.0,
        "hallucinations": 0.0,
        "guardrail_blocks": 0.0,
        "wall_time": 60.0,
    }
    return Trial(
        mission_id=f"{arm}-{task}-{order}",
        task=task,
        order=order,
        status=status or ("succeeded" if succeeded else "failed"),
        values=values | facts.pop("values", {}),
        tool_ok=facts.pop("tool_ok", 9),
        tool_errors=facts.pop("tool_errors", 1),
        **facts,
    )


def arms(tasks, before, after):
    """Both arms of `tasks` tasks run once; each side says what a task number gives."""
    names = [f"task-{number:03}" for number in range(tasks)]
    return (
        [trial(name, arm="b", **before(number)) for number, name in enumerate(names)],
        [trial(name, arm="c", **after(number)) for number, name in enumerate(names)],
    )


def metric(comparison, name):
    return next(one for one in comparison.metrics if one.metric == name)


def succeeding(*failing):
    return lambda number: {"succeeded": number not in failing}


def noisy_steps(factor, seed):
    rng = random.Random(seed)
    return lambda number: {"steps": factor * math.exp(rng.gauss(3, 0.3))}


def test_a_large_drop_of_success_has_regressed_and_fails_a_gate():
    before, after = arms(100, succeeding(*range(27)), succeeding(*range(7, 58)))
    comparison = compare_sets(before, after)
    success = metric(comparison, "mission_success")
    assert comparison.verdict == "regressed"
    assert comparison.fails
    assert success.sentence == (
        "Mission success fell 24 pp (73 % -> 49 %, 100 tasks; 95 % interval 13 to 35 pp; 31 tasks got worse, "
        "7 better; p < 0.001). Regressed: above the 5 pp threshold and not explained by run-to-run variation."
    )


def test_a_small_drop_says_what_could_not_be_seen_and_what_would_settle_it():
    before, after = arms(100, succeeding(*range(27)), succeeding(*range(11, 41)))
    success = metric(compare_sets(before, after), "mission_success")
    assert success.verdict == "inconclusive"
    assert success.sentence == (
        "Mission success fell 3 pp (73 % -> 70 %, 100 tasks; 95 % interval -7 to 13 pp; 14 tasks got worse, "
        "11 better; p 0.28, 0.84 after Holm). Inconclusive: with 100 tasks run once this comparison can only "
        "see drops of about 12 pp. To see 5 pp, run every task about 7 times in both arms."
    )
    assert success.trials_needed == 7


def test_the_mirror_of_a_regression_is_an_improvement():
    worse, better = arms(100, succeeding(*range(7, 58)), succeeding(*range(27)))
    comparison = compare_sets(worse, better)
    assert metric(comparison, "mission_success").verdict == "improved"
    assert not comparison.fails


def test_a_small_but_certain_rise_is_a_drift_and_passes():
    before, after = arms(40, noisy_steps(1, 1), noisy_steps(1, 1))
    after = [
        msgspec.structs.replace(one, values={**one.values, "work_steps": one.values["work_steps"] * 1.08})
        for one in after
    ]
    comparison = compare_sets(before, after)
    steps = metric(comparison, "work_steps")
    assert steps.verdict == "drift"
    assert steps.worsening == pytest.approx(0.08)
    assert not comparison.fails


def test_dearer_missions_warn_and_block_only_where_asked_to():
    before, after = arms(40, noisy_steps(1, 1), noisy_steps(1.6, 2))
    comparison = compare_sets(before, after)
    assert comparison.verdict == "regressed"
    assert not comparison.fails
    strictly = Policy(families=(Family("all", ("mission_success", "work_steps"), blocks=True),))
    assert compare_sets(before, after, strictly).fails


def test_no_regression_is_earned_by_excluding_the_threshold_not_by_a_large_p():
    before, after = arms(100, noisy_steps(1, 1), noisy_steps(1, 2))
    steps = metric(compare_sets(before, after), "work_steps")
    assert steps.verdict == "no_regression"
    assert steps.upper_bound < 0.20
    few_before, few_after = arms(8, noisy_steps(1, 3), noisy_steps(1.15, 4))
    assert metric(compare_sets(few_before, few_after), "work_steps").verdict == "inconclusive"


def test_ten_flawless_tasks_do_not_exclude_a_drop_of_five_points():
    before, after = arms(10, succeeding(), succeeding())
    success = metric(compare_sets(before, after), "mission_success")
    assert success.verdict == "inconclusive"
    assert success.upper_bound == pytest.approx(1 - 0.05 ** (1 / 10))


def test_fewer_than_six_tasks_have_breaches_but_no_verdict():
    before, after = arms(5, succeeding(), succeeding(0, 1, 2, 3, 4))
    comparison = compare_sets(before, after)
    assert comparison.verdict == "not_comparable"
    assert metric(comparison, "mission_success").breach
    assert comparison.result == "Not comparable: only 5 tasks in both sets, 6 are needed for a verdict."
    assert not comparison.fails
    assert compare_sets(before, after, Policy(strict=True)).fails


def test_tasks_of_one_side_are_listed_and_never_compared():
    before, after = arms(8, succeeding(), succeeding())
    comparison = compare_sets([*before, trial("old")], [*after, trial("new", arm="c")])
    assert comparison.population.only_in_baseline == ("old",)
    assert comparison.population.only_in_candidate == ("new",)
    assert comparison.population.tasks == 8


def test_missions_without_any_task_are_compared_unpaired_and_stamped():
    before = [trial(None, number % 10 < 8, order=number) for number in range(60)]
    after = [trial(None, number % 10 < 3, arm="c", order=number) for number in range(60)]
    comparison = compare_sets(before, after)
    assert comparison.verdict == "regressed"
    assert comparison.stamps == ("unpaired: 1.7 to 4.5 times more missions needed",)
    assert comparison.population.baseline.compared == 60
    assert "(80 % -> 30 %, 120 missions;" in metric(comparison, "mission_success").sentence


def test_rare_hallucinations_without_tasks_are_not_called_absent():
    before = [trial(None, order=number, values={"hallucinations": float(number < 2)}) for number in range(30)]
    after = [
        trial(None, arm="c", order=number, values={"hallucinations": float(number < 1)})
        for number in range(30)
    ]
    assert metric(compare_sets(before, after), "hallucinations").verdict == "inconclusive"


def test_cheaper_and_shorter_is_never_told_without_the_outcome():
    before, after = arms(30, noisy_steps(1, 1), lambda number: {"steps": 5.0, "succeeded": number % 2 == 0})
    steps = metric(compare_sets(before, after), "work_steps")
    assert steps.sentence.endswith("Mission success over 30 tasks: 100 % -> 50 %.")


def test_missions_without_steps_make_effort_not_like_for_like():
    before, after = arms(20, lambda number: {}, lambda number: {"steps": 0.0 if number < 3 else 10.0})
    comparison = compare_sets(before, after)
    steps = metric(comparison, "work_steps")
    assert steps.verdict == "not_comparable"
    assert "not like for like: 0 of 20 missions of the baseline and 3 of 20" in steps.sentence
    assert steps.effect == "ratio of sums"
    assert comparison.stamps[0].startswith("not like for like")


def test_the_tasks_in_which_both_succeeded_are_shown_by_themselves():
    before, after = arms(20, succeeding(), lambda number: {"succeeded": number >= 8, "steps": 30.0})
    stratum = metric(compare_sets(before, after), "work_steps").both_succeeded
    assert stratum.tasks == 12
    assert stratum.change == pytest.approx(0.5)


def test_costs_known_for_too_few_tokens_are_not_comparable():
    before, after = arms(20, lambda _: {"cost_coverage": 1.0}, lambda _: {"cost_coverage": 0.9})
    cost = metric(compare_sets(before, after), "total_cost_usd")
    assert cost.verdict == "not_comparable"
    assert "90.0 % of the candidate's tokens" in cost.reason


def test_a_candidate_that_stopped_using_tools_is_named():
    before, after = arms(20, lambda _: {}, lambda _: {"tool_ok": 0, "tool_errors": 0})
    tools = metric(compare_sets(before, after), "tool_success_rate")
    assert tools.verdict == "not_comparable"
    assert tools.reason == "the candidate stopped using tools"


def test_missions_that_have_not_ended_are_left_out_and_counted():
    before, after = arms(10, succeeding(), succeeding())
    comparison = compare_sets([*before, trial("task-001", order=1, status="running")], after)
    assert comparison.population.baseline.non_terminal == 1
    left_out = "1 of 11 missions of the baseline had not ended or were skipped, and are left out"
    assert comparison.notes[0] == left_out


def test_a_few_failures_of_the_infrastructure_are_left_out_many_are_an_obstacle():
    before, after = arms(40, succeeding(), succeeding())
    few = [msgspec.structs.replace(one, infrastructure=number < 2) for number, one in enumerate(after)]
    many = [msgspec.structs.replace(one, infrastructure=number < 3) for number, one in enumerate(after)]
    assert compare_sets(before, few).population.candidate.infrastructure == 2
    assert compare_sets(before, few).verdict != "not_comparable"
    assert compare_sets(before, many).verdict == "not_comparable"


def test_only_measured_instability_quarantines_a_task():
    steady, steady_after = arms(8, succeeding(), succeeding())
    flaky = [trial("flaky", number % 2 == 0, order=number) for number in range(40)]
    broken = [trial("flaky", False, arm="c", order=number) for number in range(40)]
    kept = compare_sets([*steady, *flaky], [*steady_after, *broken])
    assert [record.task for record in kept.tasks if record.unstable] == ["flaky"]
    assert kept.population.tasks == 9
    quarantined = compare_sets([*steady, *flaky], [*steady_after, *broken], Policy(quarantine=True))
    assert quarantined.population.quarantined == ("flaky",)
    assert quarantined.population.tasks == 8


def test_a_verifier_wins_over_the_status():
    assert not trial("a", status="succeeded", success=False).succeeded
    assert trial("a", status="failed", success=True).succeeded


def test_repeated_runs_say_how_often_all_of_them_succeed():
    before = [trial(f"t{n}", order=k) for n in range(10) for k in range(3)]
    after = [trial(f"t{n}", k > 0 or n > 4, arm="c", order=k) for n in range(10) for k in range(3)]
    comparison = compare_sets(before, after)
    assert comparison.reliability.k == 3
    assert comparison.reliability.candidate_pass_hat_k == pytest.approx(0.5)
    assert metric(comparison, "mission_success").test == "permutation within tasks"


def test_a_tool_that_broke_is_worth_a_look_and_fails_nothing():
    def calls(number, failed):
        return {"tools": {"search": (9 - failed, 1 + failed), "read": (5, 0)}}

    before, after = arms(20, lambda number: calls(number, 0), lambda number: calls(number, 3 + number % 3))
    comparison = compare_sets(before, after)
    assert [(found.subject, found.name) for found in comparison.worth_a_look] == [("tool", "search")]
    assert not comparison.fails


def test_thresholds_are_the_profiles():
    before, after = arms(40, noisy_steps(1, 1), noisy_steps(1.6, 2))
    lenient = Policy(profile=Profile(steps_to_goal=0.9))
    assert metric(compare_sets(before, after, lenient), "work_steps").verdict == "drift"


def test_a_metric_that_nobody_knows_is_refused_by_name():
    policy = Policy(families=(Family("mine", ("charm",), blocks=True),))
    with pytest.raises(ValueError, match="charm"):
        compare_sets([], [], policy)
    with pytest.raises(ValueError, match="one family"):
        Policy(families=(Family("a", ("work_steps",), True), Family("b", ("work_steps",), True)))


def test_nothing_against_nothing_is_not_comparable():
    comparison = compare_sets([], [])
    assert comparison.verdict == "not_comparable"
    assert "NaN" not in render_set_comparison(comparison)


def test_the_order_of_missions_changes_no_byte():
    before, after = arms(30, noisy_steps(1, 1), noisy_steps(1.1, 2))
    first = compare_sets(before, after)
    rng = random.Random(3)
    shuffled = compare_sets(rng.sample(before, 30), rng.sample(after, 30))
    assert msgspec.json.encode(first) == msgspec.json.encode(shuffled)
    assert render_set_comparison(first) == render_set_comparison(shuffled)


def test_the_report_is_one_harmless_line_per_finding():
    before = [trial(f"<b>|\n{number}", order=k) for number in range(8) for k in range(2)]
    after = [trial(f"<b>|\n{number}", False, arm="c", order=k) for number in range(8) for k in range(2)]
    report = render_set_comparison(compare_sets(before, after))
    assert "**Regressed: mission success" in report
    assert "<b>" not in report
    assert r"| \<b\>\| 0 | 2 of 2 | 0 of 2 |  |" in report


def test_two_hundred_tasks_thrice_take_less_than_two_seconds():
    rng = random.Random(1)
    before, after = (
        [
            trial(
                f"t{n}", rng.random() < 0.6, arm=arm, order=k, steps=rng.lognormvariate(3, 0.5),
                cost=rng.lognormvariate(-2, 0.5), tool_errors=rng.randrange(4),
                values={name: float(rng.randrange(1, 5)) for name in ("hallucinations", "guardrail_blocks",
                                                                     "wall_time", "total_tokens")},
            )
            for n in range(200) for k in range(3)
        ]
        for arm in "bc"
    )  # fmt: skip
    compare_sets(before[:30], after[:30])
    started = time.process_time()
    comparison = compare_sets(before, after)
    assert time.process_time() - started < 2
    assert len(comparison.metrics) == 8


ANYTHING = st.builds(
    Trial,
    mission_id=st.uuids().map(str),
    task=st.sampled_from([None, *"abcdefgh"]),
    order=st.integers(0, 3),
    status=st.sampled_from(["succeeded", "failed", "aborted", "timed_out", "limit_reached", "running"]),
    success=st.none() | st.booleans(),
    values=st.dictionaries(
        st.sampled_from(["work_steps", "total_cost_usd", "hallucinations", "wall_time", "total_tokens"]),
        st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.integers(0, 10**9).map(float),
    ),
    cost_coverage=st.none() | st.floats(0, 1),
    tool_ok=st.integers(0, 20),
    tool_errors=st.integers(0, 20),
    infrastructure=st.booleans(),
    failure_modes=st.dictionaries(st.sampled_from("xy"), st.integers(0, 5)),
)


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(st.lists(ANYTHING, max_size=30), st.lists(ANYTHING, max_size=30))
def test_whatever_was_recorded_every_number_is_finite_and_every_rate_is_of_something(before, after):
    comparison = compare_sets(before, after)
    text = msgspec.json.encode(comparison)

    def refuse(constant):
        raise AssertionError(f"{constant} in a report")

    json.loads(text, parse_constant=refuse)
    report = render_set_comparison(comparison)
    assert "nan" not in report.replace("nant", "")
    assert "inf " not in report
    for one in comparison.metrics:
        if one.verdict not in ("not_comparable", "not_gated"):
            assert one.tasks >= 2
            assert 0 <= one.adjusted_p <= 1
    for number in _numbers(msgspec.to_builtins(comparison)):
        assert math.isfinite(number)


def _numbers(value):
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _numbers(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _numbers(one)
