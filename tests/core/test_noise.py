"""A breach between two single runs says whether run-to-run variation can explain it."""

import math
import random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from quartermaster.core.noise import (
    Counts,
    History,
    grade_hallucinations,
    grade_rise,
    grade_tool_errors,
    rise_sentence,
)


def project(tasks, sigma=0.4, seed=1):
    rng = random.Random(seed)
    return {f"t{n}": [40 * math.exp(rng.gauss(0, sigma)) for _ in range(2)] for n in range(tasks)}


def test_without_a_history_one_run_is_one_run():
    evidence = grade_rise(41, 55, History())
    assert evidence.grade == "single-run"
    assert evidence.sentence == ("One run against one run cannot separate this from run-to-run variation.")


def test_with_a_history_the_sentence_counts_how_often_nothing_moved_as_much():
    evidence = grade_rise(41, 55, History(project=project(23)))
    assert evidence.grade == "single-run"
    assert evidence.sentence.startswith(
        "One run against one run cannot separate this from run-to-run variation: "
        "in your last 23 repeated tasks, "
    )
    assert evidence.sentence.endswith("% of unchanged pairs moved at least this much.")
    assert 0 < evidence.unchanged_moved < 1


def test_a_rise_beyond_the_range_of_earlier_runs_is_outside_noise():
    evidence = grade_rise(41, 115, History(task=(39.0, 41.0, 43.0, 40.0), project=project(23)))
    assert evidence.grade == "outside-noise"
    assert evidence.sentence == "It lies outside the 95 % range of this task's 4 earlier runs."


def test_a_breach_is_told_with_its_evidence():
    outside = grade_rise(41, 115, History(task=(39.0, 41.0, 43.0, 40.0), project=project(23)))
    assert rise_sentence("Steps", 41, 115, 0.20, outside) == (
        "Steps rose 180 % (41 -> 115), above the 20 % threshold and outside the 95 % range of this task's 4 "
        "earlier runs."
    )
    single = grade_rise(41, 55, History())
    assert rise_sentence("Steps", 41, 55, 0.20, single) == (
        "Steps rose 34 % (41 -> 55), above the 20 % threshold. One run against one run cannot separate this "
        "from run-to-run variation."
    )
    assert rise_sentence("Cost", 0, 0.25, 0.15, single).startswith("Cost rose from nothing ($0 -> $0.25).")


def test_the_limit_is_that_of_a_prediction_from_so_many_runs():
    history = History(task=(40.0, 40.0, 40.0), project={f"t{n}": (10.0, 10.0 * math.e) for n in range(2_000)})
    evidence = grade_rise(40, 60, history)
    sigma = math.sqrt(0.5)
    assert evidence.sigma == pytest.approx(sigma)
    assert math.log1p(evidence.limit) == pytest.approx(1.645 * sigma * math.sqrt(4 / 3), rel=1e-3)


def test_three_runs_of_one_task_know_their_spread_badly_and_the_limit_says_so():
    evidence = grade_rise(40, 60, History(task=(38.0, 40.0, 42.0)))
    assert math.log1p(evidence.limit) == pytest.approx(2.92 * evidence.sigma * math.sqrt(4 / 3), rel=1e-3)
    assert grade_rise(40, 60, History(task=(38.0, 40.0))).limit is None


def test_the_calls_inside_two_runs_can_be_enough():
    evidence = grade_tool_errors(Counts(0, 30), Counts(8, 30))
    assert evidence.grade == "within-run"
    assert "0 of 30 -> 8 of 30 calls" in evidence.sentence
    assert grade_tool_errors(Counts(0, 3), Counts(1, 3)).grade == "single-run"


def test_hallucinations_are_held_against_the_calls_in_which_they_could_happen():
    assert grade_hallucinations(Counts(0, 20), Counts(6, 20)).grade == "within-run"
    assert grade_hallucinations(Counts(0, 20), Counts(6, 400)).grade == "single-run"
    assert grade_hallucinations(Counts(0, 0), Counts(2, 5)).grade == "single-run"


POSITIVE = st.floats(0, 1e9)


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    POSITIVE, POSITIVE, st.lists(POSITIVE, max_size=5), st.lists(st.lists(POSITIVE, max_size=3), max_size=25)
)
def test_a_grade_is_given_for_any_history(baseline, candidate, task, others):
    history = History(task=tuple(task), project={str(n): values for n, values in enumerate(others)})
    evidence = grade_rise(baseline, candidate, history)
    for number in (evidence.limit, evidence.sigma, evidence.unchanged_moved):
        assert number is None or math.isfinite(number)
