"""Series over missions: what a point is, what a change says, when it is an alert, what stands beside it."""

import math
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from quartermaster.core.comparison import Profile
from quartermaster.core.series import METRICS, Facts, Run, line_of
from quartermaster.core.trends import MOST_RUNS, Event, Series, Trends, trends_of

DAY = 86_400 * 10**9
DOLLAR = 10**12


def mission(number: int, day: int = 0, **facts: Any) -> Facts:
    started_at = day * DAY + number * 10**9
    given = {"started_at": started_at, "ended_at": started_at + 10**10, "placed_at": started_at}
    return Facts(mission_id=f"m-{day:03}-{number:03}", task=f"t{number}", **{**given, **facts})


def nights(success: Iterable[float], *, tasks: int = 20, seed: int = 1, **facts: Any) -> list[Facts]:
    """One mission a task and night; `success` is the chance of each night."""
    random = Random(seed)
    return [
        mission(task, day, outcome="succeeded" if random.random() < chance else "failed", **facts)
        for day, chance in enumerate(success)
        for task in range(tasks)
    ]


def by_day(missions: Iterable[Facts], *metrics: str) -> Trends:
    return trends_of(missions, Profile(), by="day", metrics=metrics)


def series(trends: Trends, metric: str) -> Series:
    return next(one for one in trends.series if one.metric == metric)


def only(events: tuple[Event, ...]) -> Event:
    (event,) = events
    return event


def points(metric: str, *runs: Iterable[Facts]) -> list[Any]:
    made = [Run(str(number), tuple(missions)) for number, missions in enumerate(runs)]
    return list(line_of(METRICS[metric], made).points)


def test_a_rate_is_pooled_and_has_a_wilson_interval():
    (point,) = points("success_rate", [mission(n, outcome="failed" if n else "succeeded") for n in range(4)])
    assert (point.n, point.value, point.known, point.of) == (4, 0.25, 4, 4)
    assert (point.low, point.high) == pytest.approx((0.0456, 0.6994), abs=1e-4)


def test_of_tool_calls_the_calls_are_pooled_not_the_missions():
    missions = [mission(1, commands=9, results=9, successes=9), mission(2, commands=1, results=1)]
    (point,) = points("tool_success_rate", missions)
    assert (point.n, point.value) == (10, 0.9)


def test_money_is_a_geometric_mean_with_the_t_interval_of_its_logarithm():
    costs = (1, 2, 4, 8)
    missions = [mission(n, cost=cost * DOLLAR, model_calls=1) for n, cost in enumerate(costs)]
    (point,) = points("total_cost_usd", missions)
    assert point.value == pytest.approx(math.sqrt(8))
    half = 3.18244630528371 * math.log(2) * math.sqrt(5 / 12)
    assert (point.low, point.high) == pytest.approx(
        (math.sqrt(8) / math.exp(half), math.sqrt(8) * math.exp(half))
    )


def test_a_point_of_one_mission_has_no_interval():
    (point,) = points("work_steps", [mission(1, model_calls=2, commands=3)])
    assert (point.value, point.low, point.high) == (5.0, None, None)


def test_a_zero_takes_a_series_off_the_logarithm_and_never_breaks_it():
    runs = [[mission(n, model_calls=n)] for n in range(3)]
    line = line_of(METRICS["work_steps"], [Run(str(n), tuple(run)) for n, run in enumerate(runs)])
    assert line.scale == "linear"
    assert [point.value for point in line.points] == [0, 1, 2]


def test_a_rate_over_runs_of_different_sizes_is_stabilised():
    sizes = [[mission(n, outcome="succeeded") for n in range(size)] for size in (3, 5)]
    runs = [Run(str(n), tuple(run)) for n, run in enumerate(sizes)]
    assert line_of(METRICS["success_rate"], runs).scale == "arcsine"
    assert line_of(METRICS["success_rate"], [runs[0], runs[0]]).scale == "rate"


def test_what_is_unknown_is_counted_and_never_a_zero():
    missions = [mission(n, outcome="succeeded" if n else None, model_calls=1) for n in range(4)]
    (success,) = points("success_rate", missions)
    assert (success.value, success.known, success.of, success.used) == (1.0, 3, 4, False)
    (cost,) = points("total_cost_usd", missions)
    assert (cost.value, cost.n, cost.known, cost.of, cost.used) == (None, 0, 0, 4, False)
    (nothing,) = points("total_tokens", [mission(1)])
    assert (nothing.value, nothing.of) == (None, 0)


def test_points_known_to_less_than_95_of_100_are_left_out_and_counted():
    missions = nights([0.8] * 40)
    broken = [m if m.started_at is None or m.started_at >= 2 * DAY else unknown(m) for m in missions]
    told = series(by_day(broken, "success_rate"), "success_rate")
    assert (len(told.points), told.left_out) == (40, 2)
    nineteen_of_twenty = [unknown(m) if m.mission_id == "m-005-000" else m for m in missions]
    assert series(by_day(nineteen_of_twenty, "success_rate"), "success_rate").left_out == 0


def unknown(facts: Facts) -> Facts:
    return mission(int(facts.mission_id[-3:]), int(facts.mission_id[2:5]))


def test_an_unchanged_agent_is_steady_and_a_short_series_says_so():
    steady = series(by_day(nights([0.8] * 60, seed=3), "success_rate"), "success_rate")
    assert (steady.state, steady.alert, steady.reason) == ("steady", None, None)
    short = series(by_day(nights([0.8] * 7), "success_rate"), "success_rate")
    assert short.state == "too short"
    assert short.reason == "7 of the 21 points that a chart needs at least"
    cost = series(by_day(nights([0.8] * 7), "total_cost_usd"), "total_cost_usd")
    assert (cost.state, cost.level, cost.reason) == ("cannot be said", None, "no mission tells it")


def test_a_fall_is_named_with_levels_interval_and_first_bad_mission():
    trends = by_day(nights([0.9] * 35 + [0.55] * 25), "success_rate")
    shift = only(trends.events).shifts[0]
    assert (shift.at, shift.worse, shift.exceeds, shift.confirmed) == ("1970-02-05", True, True, True)
    assert shift.before == pytest.approx(0.9, abs=0.04)
    assert shift.after == pytest.approx(0.55, abs=0.06)
    assert shift.change == pytest.approx(shift.after - shift.before)
    assert shift.low < shift.change < shift.high < 0
    bad = shift.first_bad_mission
    assert bad is not None
    assert (bad.at, bad.value) == ("1970-02-05", 0.0)
    told = series(trends, "success_rate")
    assert told.state == "alert"
    assert told.alert is not None
    assert told.alert.at == "1970-02-05"
    assert "1970-02-05" < told.alert.raised_at <= "1970-02-14"


def test_a_rise_of_success_is_a_change_and_no_alert():
    trends = by_day(nights([0.5] * 35 + [0.9] * 25), "success_rate")
    assert not only(trends.events).worse
    assert only(trends.events).first_bad_mission is None
    assert series(trends, "success_rate").state == "steady"


def test_an_alert_ends_when_the_series_has_come_back():
    trends = by_day(nights([0.9] * 35 + [0.4] * 12 + [0.9] * 30), "success_rate")
    assert [shift.worse for event in trends.events for shift in event.shifts] == [True, False]
    assert series(trends, "success_rate").alert is None


def test_of_several_falls_one_alert_is_open_the_latest():
    trends = by_day(nights([0.95] * 35 + [0.65] * 35 + [0.2] * 20), "success_rate")
    told = series(trends, "success_rate")
    assert told.alert is not None
    assert told.alert.at == only(trends.events[-1:]).at


def costly(days: int, factor: float = 1.0, *, since: int = 0, seed: int = 5, **facts: Any) -> list[Facts]:
    random = Random(seed)
    return [
        mission(
            task,
            day,
            outcome="succeeded",
            cost=round(DOLLAR * random.lognormvariate(task / 10, 0.3) * (factor if day >= since else 1)),
            model_calls=3,
            **facts,
        )
        for day in range(days)
        for task in range(20)
    ]


def test_a_dearer_agent_is_measured_as_a_share_and_below_the_threshold_there_is_no_alert():
    trends = by_day(costly(60, 1.5, since=35), "total_cost_usd")
    shift = only(trends.events).shifts[0]
    assert shift.change == pytest.approx(0.5, abs=0.1)
    assert series(trends, "total_cost_usd").alert is not None
    small = by_day(costly(60, 1.12, since=35), "total_cost_usd")
    assert [shift.exceeds for event in small.events for shift in event.shifts] == [False]
    assert series(small, "total_cost_usd").alert is None
    forgiving = trends_of(
        costly(60, 1.5, since=35), Profile(total_cost_usd=0.8), by="day", metrics=("total_cost_usd",)
    )
    assert series(forgiving, "total_cost_usd").alert is None


def test_the_first_bad_mission_is_held_against_its_own_task():
    missions = costly(50, 1.0)
    dear = [
        mission(n, day, outcome="succeeded", cost=cost, model_calls=3)
        for day in range(50, 60)
        for n in range(20)
        for cost in [round(DOLLAR * math.exp(n / 10) * (9 if n == 2 else 2))]
    ]
    bad = only(by_day([*missions, *dear], "total_cost_usd").events).first_bad_mission
    assert bad is not None
    assert (bad.mission_id, bad.task) == ("m-050-002", "t2")


def test_changes_of_several_metrics_at_one_run_are_one_event():
    random = Random(8)
    missions = [
        mission(
            task,
            day,
            outcome="succeeded" if random.random() < (0.5 if late else 0.95) else "failed",
            cost=round(DOLLAR * random.lognormvariate(0, 0.3) * (1.6 if late else 1)),
            model_calls=5,
        )
        for day in range(60)
        for late in [day >= 35]
        for task in range(20)
    ]
    event = only(by_day(missions, "success_rate", "total_cost_usd").events)
    assert [shift.metric for shift in event.shifts] == ["success_rate", "total_cost_usd"]
    assert event.worse


def test_what_else_changed_there_is_offered_and_what_changed_elsewhere_is_not():
    before, after = (nights([chance] * 60, model=model) for chance, model in ((0.9, "old"), (0.5, "new")))
    missions = [m for m in before if m.placed_at < 35 * DAY] + [m for m in after if m.placed_at >= 35 * DAY]
    noted = [
        mission(int(m.mission_id[-3:]), day, outcome=m.outcome, model=m.model, version=version)
        for m in missions
        for day in [int(m.mission_id[2:5])]
        for version in ["1" if day < 10 else "2"]
    ]
    trends = by_day(noted, "success_rate")
    assert [(one.fact, one.at) for one in trends.annotations] == [
        ("version", "1970-01-11"),
        ("model", "1970-02-05"),
    ]
    (offered,) = only(trends.events).explanations
    assert (offered.fact, offered.before, offered.after) == ("model", ("old",), ("new",))


def test_tasks_that_were_never_there_before_are_counted_beside_a_change():
    missions = nights([0.95] * 60)
    harder = [
        mission(20 + n, day, outcome="failed" if n % 2 else "succeeded")
        for day in range(35, 60)
        for n in range(20)
    ]
    event = only(by_day([*missions, *harder], "success_rate").events)
    assert event.new_tasks == 20


def test_agents_are_never_in_one_series():
    missions = nights([0.9] * 30, agent="a")
    others = [mission(n + 50, day, agent="b", outcome="failed") for day in range(30, 60) for n in range(20)]
    trends = by_day([*missions, *others], "success_rate")
    assert [(one.agent, len(one.points)) for one in trends.series] == [("a", 30), ("b", 30)]
    assert trends.events == ()


def test_missions_without_a_time_or_a_commit_are_left_out_of_days_and_commits_and_counted():
    timeless = mission(1, started_at=None, ended_at=None, outcome="succeeded")
    at_commit = mission(2, commit="abc", outcome="succeeded")
    for by, places, without in (("day", ["1970-01-01"], 1), ("commit", ["abc"], 1), ("mission", None, 0)):
        trends = trends_of([timeless, at_commit], Profile(), by=by, metrics=("success_rate",))
        assert trends.without_place == without
        if places is not None:
            assert [point.at for point in trends.series[0].points] == places


def test_commits_come_in_the_order_of_their_first_missions():
    missions = [
        mission(n, day, commit=commit) for n, (day, commit) in enumerate([(2, "a"), (1, "z"), (3, "z")])
    ]
    trends = trends_of(missions, Profile(), by="commit", metrics=("work_steps",))
    assert [(point.at, point.missions) for point in trends.series[0].points] == [("z", 2), ("a", 1)]


def test_single_missions_are_a_series_too_and_one_failure_is_no_change():
    missions = [mission(n, outcome="failed" if n == 200 else "succeeded") for n in range(201)]
    trends = trends_of(missions, Profile(), by="mission", metrics=("success_rate",))
    assert series(trends, "success_rate").alert is None


def test_of_very_many_runs_the_latest_are_looked_at():
    missions = [mission(n, model_calls=1 + n % 7) for n in range(MOST_RUNS + 50)]
    trends = trends_of(missions, Profile(), by="mission", metrics=("work_steps",))
    assert (len(trends.series[0].points), trends.runs_left_out) == (MOST_RUNS, 50)
    assert trends.series[0].points[-1].at == missions[-1].mission_id


def test_the_order_in_which_missions_come_does_not_matter():
    missions = nights([0.9] * 35 + [0.5] * 25)
    shuffled = list(missions)
    Random(9).shuffle(shuffled)
    assert by_day(shuffled) == by_day(missions)


def test_nothing_gives_nothing():
    trends = by_day([])
    assert (trends.series, trends.events, trends.missions) == ((), (), 0)
