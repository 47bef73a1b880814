"""The decisive step, on missions that were made up and on those that people have judged."""

import json
import re
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import msgspec
from recorded import TRACES, needs_traces, transcripts

from quartermaster.core.root_cause import RULES, Rule, root_cause
from quartermaster.core.transcript import Event, EventKind, Told, Transcript

MINUTE = 60 * 10**9


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


class Judged(NamedTuple):
    """A mission with the step and the agent that a person called decisive; `length` is in messages."""

    transcript: Transcript
    step: int
    agent: str
    length: int
    agents: int


class Score(NamedTuple):
    step: float
    agent: float
    near: float


@cache
def judged() -> tuple[Judged, ...]:
    """The labelled recordings at hand by half and number: 35 of the 184 of Who&When."""

    def order(path: Any) -> tuple[str, int]:
        return path.stem[:4], int(re.findall(r"\d+", path.stem)[-1])

    return tuple(map(_judged, sorted((TRACES / "who_and_when").glob("*.json"), key=order)))


def _judged(path: Any) -> Judged:
    document = json.loads(path.read_bytes())
    [transcript] = transcripts(path)
    unlabelled = msgspec.structs.replace(transcript, labels={})
    history = document["history"]
    speakers = {re.sub(r" \(.*", "", one.get("name") or one["role"]) for one in history}
    step, agent = int(document["mistake_step"]), document["mistake_agent"].lower()
    return Judged(unlabelled, step, agent, len(history), len(speakers - {"human", "user"}))


def score(rules: tuple[Rule, ...], missions: tuple[Judged, ...]) -> Score:
    """Shares of all missions; one without an answer is a wrong one. The clock counts messages."""
    step = agent = near = 0
    for one in missions:
        cause = root_cause(one.transcript, rules=rules)
        if cause.position is None:
            continue
        at = one.transcript.events[cause.position].instant // MINUTE - 2
        step += at == one.step
        near += abs(at - one.step) <= 3
        agent += (cause.agent or "").lower() == one.agent
    return Score(step / len(missions), agent / len(missions), near / len(missions))


@needs_traces
def test_step_and_agent_are_found_as_often_as_promised_where_people_judged():
    """0.26 and 0.55 are the promise; on these 35, 0.43 and 0.66 were measured, 0.66 within three steps."""
    found = score(RULES, judged())
    assert found.step >= 0.26
    assert found.agent >= 0.55
    assert found.near >= 0.57


@needs_traces
def test_the_rules_do_better_than_a_guess():
    """A guess among all messages, and among all who speak."""
    by_chance = sum(1 / one.length for one in judged()) / len(judged())
    whom = sum(1 / one.agents for one in judged()) / len(judged())
    found = score(RULES, judged())
    assert found.step > 2 * by_chance
    assert found.agent > 1.5 * whom


@needs_traces
def test_rules_chosen_on_one_half_hold_on_the_other():
    """Which of the rules are used is chosen by the steps found on one half, and measured on the other.

    Both ways together 0.29 of steps and 0.57 of agents were measured: the rules as they stand were made
    with all of these recordings at hand, so what is found elsewhere is rather this than the figure above.
    """
    choices = [some for size in range(1, len(RULES) + 1) for some in combinations(RULES, size)]
    scores = []
    for half in (0, 1):
        chosen_on, held_out = judged()[half::2], judged()[1 - half :: 2]
        best = max(choices, key=lambda some: score(some, chosen_on)[:2])
        scores += [(score(best, held_out), len(held_out))]
    total = len(judged())
    assert sum(one.step * count for one, count in scores) / total >= 0.26
    assert sum(one.agent * count for one, count in scores) / total >= 0.55
