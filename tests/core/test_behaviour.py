"""Two sets and how their agents work: what is told of it, and that chance is not taken for a difference."""

import math
import random

import msgspec
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from quartermaster.core.assessment import PlainTexts, assess
from quartermaster.core.capsule import MissionFacts
from quartermaster.core.permutation import deal_missions, seed_of
from quartermaster.core.profile import END, START, Edge, distance, together
from quartermaster.core.report import comparison_report, render_markdown
from quartermaster.core.reports.cases import cases_of
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.trajectory import COMMAND, COMMAND_END, COMMAND_START, MODEL_CALL, Step
from quartermaster.core.trials import Trial, trial_of


def behaviour(*tools):
    return profile([Step(at, COMMAND, tool, True) for at, tool in enumerate(tools)])


def profile(rows):
    return trial_of(MissionFacts(mission_id="m"), assess(rows, PlainTexts()), 0).behaviour


def side(arm, tools_of, tasks=30, runs=1):
    """Missions whose tools a seeded chance draws; `tools_of` says which there are."""
    made = []
    for task in range(tasks):
        for order in range(runs):
            rng = random.Random(f"{arm} {task} {order}")
            tools = tools_of(rng)
            made.append(
                Trial(
                    mission_id=f"{arm}-{task}-{order}",
                    task=f"task-{task:02}",
                    order=order,
                    status="succeeded",
                    values={"work_steps": 20.0, "total_cost_usd": 0.1, "hallucinations": 0.0},
                    tool_ok=len(tools),
                    behaviour=behaviour(*tools),
                )
            )
    return made


def usual(rng):
    return [rng.choice(["read", "grep", "edit"]) for _ in range(rng.randrange(3, 12))] + ["test"]


def hasty(rng):
    return [rng.choice(["read", "edit", "edit"]) for _ in range(rng.randrange(3, 12))]


def test_a_mission_goes_from_program_to_program_whatever_its_arguments():
    told = [
        Step(1, MODEL_CALL, "m"),
        Step(2, COMMAND, "git status", True),
        Step(3, COMMAND_START, "/usr/bin/make all", None, pairing=7),
        Step(4, COMMAND_END, "/usr/bin/make all", True, pairing=7),
        Step(5, COMMAND, "git commit -m x", True),
    ]
    assert profile(told).edges == {
        Edge(START, "git"): 1, Edge("git", "make"): 1, Edge("make", "git"): 1, Edge("git", END): 1,
    }  # fmt: skip
    assert behaviour().edges == {Edge(START, END): 1}


def test_an_agent_that_works_differently_is_told_as_a_drift_that_fails_nothing():
    comparison = compare_sets(side("b", usual), side("c", hasty))
    found = comparison.behaviour
    assert found.verdict == "drift"
    assert found.p == 0.001
    assert found.distance > 2 * found.by_chance
    assert found.sentence.startswith("The agent behaves differently: ")
    assert "Changed most: " in found.sentence
    assert comparison.result.endswith("; the agent behaves differently.")
    assert comparison.verdict != "regressed"
    assert not comparison.fails
    report = comparison_report(comparison, run_id="r")
    assert [case.level for case in cases_of(report) if case.name == "behaviour"] == ["note"]
    assert "## Behaviour" in render_markdown(report)


def test_the_same_agent_twice_shows_no_difference_and_is_not_called_unchanged():
    comparison = compare_sets(side("b", usual), side("c", usual))
    assert comparison.behaviour.verdict == "inconclusive"
    assert comparison.behaviour.sentence.startswith("No difference of behaviour was seen: ")
    assert "behaves" not in comparison.result
    assert comparison.behaviour == compare_sets(side("b", usual)[::-1], side("c", usual)).behaviour


def test_chance_alone_is_taken_for_a_difference_in_five_of_a_hundred():
    alarms = sum(
        compare_sets(side(f"b{n}", usual, 8, 2), side(f"c{n}", usual, 8, 2)).behaviour.verdict == "drift"
        for n in range(200)
    )
    assert alarms <= 200 * 0.05 + 3 * math.sqrt(200 * 0.05 * 0.95)


def test_distance_and_chance_are_those_of_a_plain_reckoning():
    before, after = side("b", usual, 7, 2), side("c", hasty, 7, 2)
    found = compare_sets(before, after).behaviour
    profiles = [
        one.behaviour for task in range(7) for arm in (before, after) for one in arm[2 * task : 2 * task + 2]
    ]
    edges = sorted({edge for one in profiles for edge in one.edges})
    counts = np.array([[one.edges[edge] for edge in edges] for one in profiles])
    tasks = [f"task-{task:02}" for task in range(7)]
    dealt = deal_missions([(2, 2)] * 7, seed_of(tasks, "behaviour", 1), 999)
    oracle = [jensenshannon(counts[~row].sum(axis=0), counts[row].sum(axis=0), base=2) for row in dealt]
    assert found.distance == pytest.approx(oracle[0], abs=1e-9)
    assert found.by_chance == pytest.approx(np.mean(oracle[1:]), abs=1e-9)
    assert found.p == (1 + sum(one >= oracle[0] - 1e-9 for one in oracle[1:])) / 1_000
    assert found.distance == distance(
        together(one.behaviour for one in before), together(one.behaviour for one in after)
    )


def test_what_cannot_be_tested_says_so():
    few = compare_sets(side("b", usual, 3), side("c", hasty, 3)).behaviour
    assert few.verdict == "not_comparable"
    assert few.p is None
    assert few.reason in few.sentence
    unknown = [msgspec.structs.replace(one, behaviour=None) for one in side("c", usual)]
    assert compare_sets(side("b", usual), unknown).behaviour is None
