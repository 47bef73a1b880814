"""Scores from judges of the recordings: compared where the same judge spoke, and never a gate."""

import pytest
from scipy import stats

from quartermaster.core.assessment import PlainTexts, assess
from quartermaster.core.capsule import MissionFacts
from quartermaster.core.report import comparison_report, render_markdown
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.trials import Score, Trial, trial_of

BEFORE = [4, 5, 3, 4, 5, 4, 5, 3, 4, 5, 4, 5]
AFTER = [3, 3, 3, 2, 4, 3, 4, 2, 4, 3, 2, 4]


def side(arm, values, origin="judge"):
    return [
        Trial(
            mission_id=f"{arm}{task}",
            task=f"task {task:02}",
            status="succeeded",
            values={"work_steps": 5.0},
            scores={"quality": Score(origin, float(value))},
        )
        for task, value in enumerate(values)
    ]


def test_a_scale_is_compared_by_its_order_and_gates_nothing():
    comparison = compare_sets(side("b", BEFORE), side("c", AFTER))
    (found,) = comparison.scores
    fell = stats.wilcoxon(BEFORE, AFTER, zero_method="pratt", alternative="greater", method="exact")
    assert found.p == pytest.approx(2 * fell.pvalue, rel=0.5)
    assert found.test == "signed ranks, zeros kept"
    assert (found.lower, found.higher, found.tasks) == (10, 0, 12)
    assert found.interval.high < 0
    assert found.sentence.startswith("quality (by judge) fell 1.2 (4.25 -> 3.08, 12 tasks; 95 % interval ")
    assert not comparison.fails
    assert found.sentence in render_markdown(comparison_report(comparison, run_id="r"))


def test_shares_are_compared_by_their_amount():
    before, after = ([value / 7 for value in values] for values in (BEFORE, AFTER))
    (found,) = compare_sets(side("b", before), side("c", after)).scores
    assert found.test == "sign flip"
    assert found.p == pytest.approx(2 / 2**10)


def test_another_judge_or_too_few_tasks_leave_nothing_to_compare():
    (other,) = compare_sets(side("b", BEFORE), side("c", AFTER, "human")).scores
    assert other.p is None
    assert other.sentence == (
        "quality is not comparable: the baseline was judged by judge, the candidate by human."
    )
    (few,) = compare_sets(side("b", BEFORE[:3]), side("c", AFTER[:3])).scores
    assert "3 tasks have it in both sets, 6 are needed" in few.sentence


def test_scores_are_read_from_labels_where_they_are_numbers():
    labels = {
        "scores": {
            "quality": {"value": 4, "origin": "judge"},
            "passed": {"value": True, "origin": "verifier"},
            "tone": {"value": "friendly", "origin": "judge"},
            "length": {"value": float("inf")},
            "plain": 0.5,
        }
    }
    mission = MissionFacts(mission_id="m", labels=labels)
    assert trial_of(mission, assess([], PlainTexts()), 0).scores == {
        "quality": ("judge", 4.0), "passed": ("verifier", 1.0), "plain": ("unknown", 0.5),
    }  # fmt: skip
