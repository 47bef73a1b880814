"""The decisive step, on missions that were made up and on those that people have judged."""

from functools import cache
from itertools import combinations
from typing import Any

from recorded import TRACES, needs_traces

from quartermaster.core.root_cause import RULES, Rule, root_cause
from quartermaster.core.transcript import Event, EventKind, Told, Transcript
from quartermaster.selftest.labels import Judged, causes_of, judged


def mission(*events: dict[str, Any], **facts: Any) -> Transcript:
    told = tuple(
        Event(position=at, entry_id=f"e{at}", instant=at, name=one.pop("name", ""), entry_type="t", **one)
        for at, one in enumerate([dict(event) for event in events])
    )
    return Transcript(mission_id="m", events=told, **facts)


def said(agent: str, text: str = "so be it") -> dict[str, Any]:
    return {"kind": EventKind.AGENT_MESSAGE, "agent": agent, "text": text}


def called(name: str, *, ok: bool = True, **more: Any) -> dict[str, Any]:
    return {"kind": EventKind.TOOL_CALL, "name": name, "succeeded": ok, **more}


def asked(to: str, text: str) -> dict[str, Any]:
    return {"kind": EventKind.DELEGATION, "agent": "lead", "to": to, "text": text}


def test_the_step_is_the_failing_call_where_its_agent_made_it():
    cause = root_cause(mission(said("coder"), called("bash"), called("bash", ok=False, exit_code=2)))
    assert (cause.position, cause.rule, cause.measured) == (2, "first_failed_call", True)
    assert "exit code 2" in cause.reason


def test_the_step_is_what_was_said_before_an_executor_that_only_carries_out():
    cause = root_cause(
        mission(said("planner"), said("coder"), called("terminal", ok=False, agent="terminal"))
    )
    assert (cause.position, cause.agent, cause.symptom) == (1, "coder", 2)


def test_a_call_that_was_refused_did_not_fail():
    assert root_cause(mission(called("rm", ok=False, refused=True))).rule == "first_call"


def test_the_answer_before_the_same_instruction_again_was_not_what_was_wanted():
    cause = root_cause(
        mission(
            asked("surfer", "find the opening hours of the museum"),
            said("surfer", "here is a page"),
            said("lead", "not there yet"),
            asked("surfer", "find the opening hours of the museum please"),
        )
    )
    assert (cause.position, cause.agent, cause.symptom) == (1, "surfer", 3)


def test_where_nothing_was_asked_twice_the_last_answer_was_accepted_too_soon():
    cause = root_cause(mission(asked("surfer", "look it up"), said("surfer", "42"), said("lead", "done")))
    assert (cause.position, cause.agent, cause.measured) == (2, "lead", False)


def test_an_error_that_an_agent_speaks_of_counts_where_no_call_failed():
    cause = root_cause(mission(said("a", "all fine"), said("b", "It seems there was an error.")))
    assert (cause.position, cause.rule) == (1, "first_admission")


def test_where_nothing_points_anywhere_there_is_no_step_but_a_reason():
    cause = root_cause(mission(said("a", "the answer is 4")))
    assert cause.position is None
    assert cause.agent is None
    assert cause.reason


def test_a_mission_that_a_verifier_called_good_has_no_root_cause():
    verified = (Told(origin="verifier", outcome="succeeded"),)
    events = (called("bash", ok=False),)
    assert root_cause(mission(*events, outcome="succeeded", told=verified)).position is None


def test_an_agent_that_calls_its_own_mission_good_is_not_believed():
    claimed = (Told(origin="agent", outcome="succeeded"),)
    assert root_cause(mission(called("x", ok=False), outcome="succeeded", told=claimed)).position == 0


@cache
def labelled() -> tuple[Judged, ...]:
    """35 of the 184 of Who&When are at hand."""
    return judged(TRACES)


@needs_traces
def test_step_and_agent_are_found_as_often_as_promised_where_people_labelled():
    """0.26 and 0.55 are the promise; on these 35, 0.43 and 0.66 were measured, 0.66 within three steps."""
    found = causes_of(RULES, labelled())
    assert found.step.share >= 0.26
    assert found.agent.share >= 0.55
    assert found.near.share >= 0.57


@needs_traces
def test_the_rules_do_better_than_a_guess():
    """A guess among all messages, and among all who speak."""
    by_chance = sum(1 / one.length for one in labelled()) / len(labelled())
    whom = sum(1 / one.agents for one in labelled()) / len(labelled())
    found = causes_of(RULES, labelled())
    assert found.step.share > 2 * by_chance
    assert found.agent.share > 1.5 * whom


@needs_traces
def test_rules_chosen_on_one_half_hold_on_the_other():
    """Which of the rules are used is chosen by the steps found on one half, and measured on the other.

    Both ways together 0.29 of steps and 0.57 of agents were measured: the rules as they stand were made
    with all of these recordings at hand, so what is found elsewhere is rather this than the figure above.
    """
    choices = [some for size in range(1, len(RULES) + 1) for some in combinations(RULES, size)]
    scores = []
    for half in (0, 1):
        chosen_on, held_out = labelled()[half::2], labelled()[1 - half :: 2]
        best = max(choices, key=lambda some: _hits(some, chosen_on))
        scores.append(causes_of(best, held_out))
    total = len(labelled())
    assert sum(one.step.hits for one in scores) / total >= 0.26
    assert sum(one.agent.hits for one in scores) / total >= 0.55


def _hits(rules: tuple[Rule, ...], missions: tuple[Judged, ...]) -> tuple[int, int]:
    found = causes_of(rules, missions)
    return found.step.hits, found.agent.hits
