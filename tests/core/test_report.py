"""Reports: the same arguments give the same bytes, and people read the verdict first."""

import json

from quartermaster.core import trajectory as t
from quartermaster.core.assessment import Assessor, PlainTexts, assess
from quartermaster.core.comparison import Divergence, StepName, compare
from quartermaster.core.report import (
    OBSERVATIONAL,
    regression_report,
    render_markdown,
    replay_report,
    to_json,
)
from quartermaster.core.trajectory import Step, picodollars

SECOND = 10**9


def unpriced(model, **counts):
    return None


def mission(commands=10, failed=0, cost=1.0, loop=False):
    rows = [
        Step(index * SECOND, t.COMMAND, "ls" if loop else f"do {index}", index < commands - failed)
        for index in range(commands)
    ]
    rows += [Step(commands * SECOND, t.MODEL_CALL, "m", True, tokens=1234, cost=picodollars(cost))]
    return assess([*rows, Step(60 * SECOND, t.STATUS_CHANGE, "done", True)], PlainTexts(), 0, unpriced)


def regression(baseline, candidate, divergence=None, **ids):
    names = {"run_id": "er_1", "baseline_mission_id": "m-old", "candidate_mission_id": "m-new"} | ids
    return regression_report(compare(baseline, candidate, None, divergence), baseline, candidate, **names)


def test_a_replay_report_holds_what_was_computed():
    report = json.loads(to_json(replay_report(mission(), run_id="er_1", mission_id="m-1")))
    assert (report["schema"], report["kind"], report["run_id"], report["seed"]) == (1, "replay", "er_1", 0)
    assert report["result"] == "ok"
    assert report["mission"]["mission_id"] == "m-1"
    assert report["mission"]["started_at"] == "1970-01-01T00:00:00Z"
    assert report["mission"]["ended_at"] == "1970-01-01T00:01:00Z"
    tokens = report["mission"]["metrics"][4]
    assert tokens == {
        "name": "total_tokens",
        "value": 1234,
        "unit": "tokens",
        "direction": "lower is better",
        "coverage": {"known": 1, "of": 1},
        "source": "recorded",
    }


def test_an_unknown_value_is_null_with_its_reason():
    report = json.loads(to_json(replay_report(mission(cost=None), run_id="er_1", mission_id="m-1")))
    cost = report["mission"]["metrics"][5]
    assert cost["value"] is None
    assert cost["partial"] == 0
    assert cost["reason"] == "the cost of 1 of 1 model calls is unknown"
    assert "total_cost_usd cannot be said: the cost of 1 of 1 model calls is unknown" in report["notes"]


def test_a_regression_report_holds_the_profile_both_sides_and_all_deltas():
    report = json.loads(to_json(regression(mission(), mission(failed=5))))
    assert (report["verdict"], report["regressed"]) == ("regressed", True)
    assert report["profile"] == {
        "tool_success_rate": 0.05,
        "steps_to_goal": 0.2,
        "total_cost_usd": 0.15,
        "hallucinations": 0.0,
    }
    assert len(report["deltas"]) == 8
    assert report["baseline"]["signature"] == report["candidate"]["signature"]
    assert report["drift"] == {"changed": False, "level": "outcomes", "divergence": None}


def test_the_same_missions_give_the_same_bytes():
    first = regression(mission(), mission(failed=5))
    second = regression(mission(), mission(failed=5))
    assert to_json(first) == to_json(second)
    assert render_markdown(first) == render_markdown(second)


def test_a_replay_is_told_to_people():
    text = render_markdown(replay_report(mission(loop=True), run_id="er_1", mission_id="m-1"))
    assert text.splitlines()[:3] == [
        "# Replay of `m-1`: 12 steps, reached its goal",
        "",
        "- tool_loop, at step 6",
    ]
    assert "| tool_success_rate | 1.0000 | all | recorded |" in text
    assert "| total_cost_usd | $1.00 | all | recorded |" in text
    assert OBSERVATIONAL in text


def test_a_regression_is_told_to_people_verdict_first():
    text = render_markdown(regression(mission(), mission(failed=5, cost=None)))
    assert text.splitlines()[:5] == [
        "# Regressed",
        "",
        "Candidate `m-new` against baseline `m-old`.",
        "",
        "- tool success dropped 50.0% (> 5% threshold)",
    ]
    assert "| tool_success_rate | 1.0000 | 0.5000 | -0.5000 | -50.0% | breach |" in text
    assert "| total_cost_usd | $1.00 | cannot be said (0 of 1 known) |  |  | not comparable |" in text
    assert "| total_tokens | 1,234 | 1,234 | 0 | +0.0% |  |" in text
    assert "Drift: none, every step has the same type and tool; the outcomes differ." in text
    assert "Thresholds: tool success -5%, steps to goal +20%, cost +15%, hallucinations +0." in text
    assert text.endswith(f"- {OBSERVATIONAL}\n")


def test_the_first_diverging_step_is_told_to_people():
    divergence = Divergence(3, StepName("exec.command", "do 3"), None)
    text = render_markdown(regression(mission(10), mission(3), divergence))
    assert "# Improved" in text
    assert (
        "Drift: the trajectories differ, first in kinds, from step 4 on: `exec.command do 3` became the end."
        in text
    )


def test_recorded_texts_cannot_break_out_of_their_line():
    hostile = "x`\n# Improved\x1b[31m|" + "y" * 500
    divergence = Divergence(0, StepName("exec.command", hostile), None)
    text = render_markdown(regression(mission(), mission(9), divergence, candidate_mission_id=hostile))
    assert "\x1b" not in text
    assert "\n# Improved" not in text
    assert max(len(line) for line in text.splitlines()) < 400


def priced(*rows, price=lambda model, **counts: 2 * 10**12):
    assessor = Assessor(PlainTexts(), 0, price, check_costs=True)
    assessor.add(rows)
    return replay_report(assessor.result(), run_id="er_1", mission_id="m-1", prices="a list")


def differences(report):
    return [note for note in report.notes if note.startswith("recorded and list price differ")]


def call(cost, **more):
    return Step(0, t.MODEL_CALL, "m", True, input_tokens=1, output_tokens=1, cost=picodollars(cost), **more)


def test_recorded_and_list_price_that_differ_are_both_told():
    report = priced(call(1.0), call(2.0))
    assert report.mission.metrics[5].value == 3.0
    assert differences(report) == [
        "recorded and list price differ: 2 model calls cost $3.00 as recorded, $4.00 by the price list;"
        " the recorded cost counts"
    ]


def test_a_difference_of_two_in_a_hundred_is_none():
    assert differences(priced(call(1.96), call(1.96)))
    assert not differences(priced(call(1.96), call(1.97)))


def test_calls_that_have_one_cost_only_are_not_compared():
    assert not differences(priced(call(None)))
    assert not differences(priced(Step(0, t.MODEL_CALL, "m", True, cost=1)))
    assert not differences(priced(call(1.0), price=unpriced))
    assert not differences(priced(call(0.0, terms="zed;;flat_rate")))


def test_a_flat_rate_plan_costs_nothing_and_says_why():
    report = priced(call(0.0, terms="zed;;flat_rate"), call(3.0), price=unpriced)
    cost = report.mission.metrics[5]
    assert (cost.value, cost.coverage.known, cost.coverage.of) == (3.0, 2, 2)
    assert cost.reason == "1 of 2 model calls are not billed singly: a flat-rate plan"
    assert f"total_cost_usd: {cost.reason}" in report.notes


def test_the_edition_of_the_price_lists_is_in_both_kinds_of_report():
    assert "Price lists: a list." in render_markdown(priced(call(1.0)))
    assert json.loads(to_json(priced(call(1.0))))["prices"] == "a list"
    assert "Price lists: a list." in render_markdown(regression(mission(), mission(), prices="a list"))
