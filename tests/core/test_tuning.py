"""A history whose truth is known: what cried wolf, what holds 5 %, and what is then no longer seen."""

import math
import random

import msgspec

from quartermaster.core.comparison import Profile
from quartermaster.core.trials import Policy, Trial
from quartermaster.core.tuning import FEWEST_PAIRS, Known, tune

USUAL = Profile()


def history(tasks=20, runs=4, spread=0.4, seed=1, variant="v1", success=0.7):
    """Runs of one agent: steps and cost spread by so much in their logarithms inside a task."""
    rng = random.Random(seed)
    made = []
    for task in range(tasks):
        length = rng.lognormvariate(3, 0.5)
        for run in range(runs):
            steps = length * rng.lognormvariate(0, spread)
            made.append(
                Known(
                    variant=variant,
                    trial=Trial(
                        mission_id=f"{variant}.{task}.{run}",
                        task=f"t{task}",
                        order=run,
                        status="succeeded" if rng.random() < success else "failed",
                        values={"work_steps": steps, "total_cost_usd": 0.01 * steps, "hallucinations": 0},
                        tool_ok=10,
                        tool_errors=0,
                    ),
                    numbers={
                        "tool_success_rate": 1.0,
                        "steps_to_goal": steps,
                        "total_cost_usd": 0.01 * steps,
                        "hallucinations": 0,
                    },
                )
            )
    return made


def tuned(missions, resamples=2):
    return tune(missions, USUAL, Policy(), resamples=resamples, seed=1)


def metric(gate, name):
    return next(one for one in gate.metrics if one.metric == name)


def test_noise_cries_wolf_as_often_as_the_spread_says():
    pairs = tuned(history(tasks=60, spread=0.4)).pairs
    expected = 0.5 * math.erfc(math.log(1.2) / (0.4 * math.sqrt(2)) / math.sqrt(2))
    assert pairs.compared == 60 * 4 * 3
    assert abs(metric(pairs, "steps_to_goal").false_alarms.share - expected) < 0.06
    assert metric(pairs, "tool_success_rate").false_alarms.hits == 0


def test_the_threshold_that_holds_is_the_upper_end_of_the_noise():
    steps = metric(tuned(history(tasks=60, spread=0.4)).pairs, "steps_to_goal")
    expected = math.expm1(1.645 * 0.4 * math.sqrt(2))
    assert abs(math.log1p(steps.alone) - math.log1p(expected)) < 0.2
    assert steps.tuned >= steps.alone


def test_tuned_thresholds_hold_five_percent_together_and_nearly_so_on_other_tasks():
    pairs = tuned(history(tasks=60)).pairs
    assert pairs.any_tuned.share <= 0.05 < pairs.any.share
    assert pairs.held_out.share <= 0.12


def test_wider_thresholds_see_less_and_that_is_told():
    pairs = tuned(history(tasks=60)).pairs
    doubled = next(one for one in pairs.seen if (one.metric, one.effect) == ("steps_to_goal", 1.0))
    assert doubled.tuned.share < doubled.now.share
    assert doubled.now.share > 0.7


def test_an_agent_that_always_does_the_same_raises_no_alarm_and_every_effect_is_seen():
    pairs = tuned(history(spread=0.0)).pairs
    assert pairs.any.hits == 0
    assert {one.tuned for one in pairs.metrics} == {0.0}
    assert all(one.tuned.share == 1 for one in pairs.seen)


def test_runs_of_another_variant_are_never_paired():
    missions = history(tasks=30, runs=1, variant="v1") + history(tasks=30, runs=1, variant="v2")
    assert tuned(missions).pairs is None
    assert tuned(missions).sets == ()


def test_too_few_pairs_hold_nothing():
    pairs = tuned(history(tasks=3, runs=2)).pairs
    assert pairs.compared == 6 < FEWEST_PAIRS
    assert {one.tuned for one in pairs.metrics} == {None}
    assert pairs.any_tuned is None
    assert tuned(history(tasks=3, runs=2)).pair_thresholds == {}


def test_what_a_metric_does_not_say_is_left_out():
    missions = [
        msgspec.structs.replace(one, numbers={**one.numbers, "total_cost_usd": None}) for one in history()
    ]
    cost = metric(tuned(missions).pairs, "total_cost_usd")
    assert (cost.false_alarms.of, cost.false_alarms.share, cost.tuned) == (0, None, None)


def test_a_rise_from_nothing_is_held_by_no_threshold():
    missions = [
        msgspec.structs.replace(
            one, numbers={**one.numbers, "total_cost_usd": 0.0 if one.trial.order == 0 else 1.0}
        )
        for one in history()
    ]
    cost = metric(tuned(missions).pairs, "total_cost_usd")
    assert cost.false_alarms.share == 0.25
    assert (cost.alone, cost.tuned) == (None, None)


def test_sets_of_an_unchanged_agent_are_mostly_left_alone_and_large_effects_are_seen():
    (gate,) = tuned(history(tasks=30, runs=4, spread=0.2), resamples=40).sets
    assert (gate.variant, gate.tasks, gate.compared) == ("v1", 30, 40)
    assert gate.any.share <= 0.05 + 3 * 0.035
    steps = next(one for one in gate.seen if one.metric == "work_steps")
    assert steps.now.share > 0.8


def test_a_metric_that_sets_do_not_say_is_neither_a_false_alarm_nor_unseen():
    missions = [
        msgspec.structs.replace(
            one, trial=msgspec.structs.replace(one.trial, values={**one.trial.values, "total_cost_usd": None})
        )
        for one in history(tasks=30, runs=4, spread=0.2)
    ]
    (gate,) = tuned(missions, resamples=10).sets
    told = [one.now.share for one in gate.seen if one.metric == "total_cost_usd"]
    assert told == [None] * len(told) != []
    assert metric(gate, "total_cost_usd").false_alarms.share is None


def test_sets_need_six_tasks_that_were_repeated():
    assert tuned(history(tasks=5)).sets == ()


def test_the_order_of_the_history_makes_no_difference():
    missions = history(tasks=8)
    assert tuned(missions) == tuned(missions[::-1])


def test_a_tuning_can_be_written_as_json():
    assert b"Infinity" not in msgspec.json.encode(tuned(history(tasks=8)))
