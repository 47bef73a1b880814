"""Who&When: labelled runs of agent teams, one a file."""

import json
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.who_and_when import ADAPTER

RUNS = TRACES / "who_and_when"
needs_traces = pytest.mark.skipif(not RUNS.is_dir(), reason=NO_TRACES)

# Messages, and the mistake: whose it was and at which message.
ALGORITHM_GENERATED = [
    (6, "Excel_Expert", 0),
    (7, "Verification_Expert", 2),
    (8, "Verification_Expert", 4),
    (8, "HawaiiRealEstate_Expert", 2),
    (9, "DataVerification_Expert", 3),
    (8, "Literary_Analysis_Expert", 1),
    (10, "ScientificPaperAnalysis_Expert", 5),
    (10, "AlgorithmDesign_Expert", 4),
    (5, "GameTheory_Expert", 1),
    (10, "Validation_Expert", 5),
    (10, "InformationVerification_Expert", 6),
    (5, "Verification_Expert", 1),
    (10, "ArtHistory_Expert", 4),
    (10, "Culinary_Awards_Expert", 2),
    (10, "Boggle_Board_Expert", 6),
    (10, "Narration_Expert", 1),
    (10, "Statistics_Expert", 4),
    (10, "Poetry_Expert", 7),
    (10, "Debugging_Problem_Solving_Expert", 0),
    (10, "WebServing_Expert", 0),
    (6, "Lyrics_Expert", 0),
    (6, "PythonDebugging_Expert", 0),
    (10, "Church_Historian_Expert", 3),
    (10, "PythonDebugging_Expert", 0),
    (10, "ModelEvaluation_Interpretation_Expert", 4),
]
HAND_CRAFTED = [
    (29, "WebSurfer", 12),
    (86, "WebSurfer", 4),
    (93, "WebSurfer", 32),
    (17, "WebSurfer", 8),
    (20, "WebSurfer", 12),
    (8, "Orchestrator", 5),
    (25, "WebSurfer", 8),
    (129, "WebSurfer", 8),
    (95, "Orchestrator", 25),
    (44, "Orchestrator", 9),
]
DOCUMENTED = {
    f"{half}_{number}.json": facts
    for half, all_facts in (("algorithm_generated", ALGORITHM_GENERATED), ("hand_crafted", HAND_CRAFTED))
    for number, facts in enumerate(all_facts, start=1)
}
SPOKEN_BY_ANOTHER = {"algorithm_generated_14.json", "algorithm_generated_15.json"}
"""Recordings whose label names a message of another agent than the one it blames."""
NOTES = ("Next speaker", "Stalled.", "Request satisfied.", "Replan counter", "There is no code from the last")


def is_reply(index: int, message: dict[str, str]) -> bool:
    """A message for which a model was asked: neither the task, nor handed on, nor the program's own."""
    role, text = message["role"], message["content"]
    if index == 0 or role == "human" or "(->" in role or "(termination" in role:
        return False
    return not text.startswith((*NOTES, "exitcode: "))


def run(*messages: tuple[str, str], **more: Any) -> dict[str, Any]:
    history = [{"role": "user", "name": name, "content": text} for name, text in messages]
    return {"question": "How many?", "ground_truth": "4", "history": history} | more


@needs_traces
def test_every_recording_is_documented_here():
    assert {path.name for path in RUNS.glob("*.json")} == set(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_run_are_exact(name: str):
    data = (RUNS / name).read_bytes()
    history = json.loads(data)["history"]
    executed = [message["content"] for message in history if message["content"].startswith("exitcode: ")]
    replies = sum(is_reply(index, message) for index, message in enumerate(history))
    failed = sum(not text.startswith("exitcode: 0") for text in executed)
    told = Told(ADAPTER, data)
    assert told.counts == Counts(1, replies, len(executed), failed, 0)
    assert not told.rejected


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_real_run_failed_and_names_its_mistake(name: str):
    data = (RUNS / name).read_bytes()
    told = Told(ADAPTER, data)
    (created,) = told.payloads("mission.created")
    labels = created["labels"]
    messages, agent, step = DOCUMENTED[name]
    assert len(json.loads(data)["history"]) == messages
    assert (labels["mistake_agent"], labels["mistake_step"], labels["origin"]) == (agent, step, "human")
    assert told.outcomes[-1] == ("failed", "verifier")
    speakers = {
        payload["step"]: payload.get("speaker") or payload["by"]
        for kind in ("message.user", "message.assistant", "run.note", "assignment.created")
        for payload in told.payloads(kind)
    }
    if name not in SPOKEN_BY_ANOTHER:
        assert speakers[step] == agent


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "who_and_when" / "lilla_windmills.json").read_bytes())
    assert told.counts == Counts(1, 3, 2, 1, 0)
    assert told.tools == [("Computer_terminal", False), ("Computer_terminal", True)]
    assert told.outcomes == [("failed", "verifier")]
    assert told.payloads("mission.created") == [
        {
            "title": "How many windmills stand on the island of Lilla?",
            "goal": "How many windmills stand on the island of Lilla?",
            "task": "who_and_when/7c1f0d52-lilla-windmills",
            "labels": {
                "expected_answer": "4",
                "mistake_agent": "Counting_Expert",
                "mistake_reason": "The list of windmills was invented instead of looked up.",
                "mistake_step": 1,
                "level": 1,
                "origin": "human",
            },
            "clock": "ordinal",
        }
    ]


def test_code_that_ran_is_a_command_with_its_exit_code():
    told = Told(
        ADAPTER,
        run(
            ("A", "task"),
            ("B", "```python\nprint(1)\n```"),
            ("T", "exitcode: 124 (execution failed)\nCode output: timeout"),
        ),
    )
    start, end = told.payloads("exec.command")
    assert (start["command"], start["arguments"]) == ("T", {"code": "print(1)\n"})
    assert (end["exit_code"], end["error"]) == (124, "timeout")


def test_the_first_message_is_the_task_whoever_it_is_named_after():
    told = Told(ADAPTER, run(("Expert", "You are given a task"), ("Expert", "I begin.")))
    assert [payload["text"] for payload in told.payloads("message.user")] == ["You are given a task"]
    assert told.counts.model_calls == 1


@pytest.mark.parametrize(
    ("told_step", "step"), [("12", 12), (12, 12), ("soon", None), (-1, None), (None, None)]
)
def test_the_place_of_the_mistake_is_a_number(told_step: Any, step: int | None):
    (created,) = Told(ADAPTER, run(("A", "task"), mistake_step=told_step)).payloads("mission.created")
    assert created["labels"].get("mistake_step") == step


def test_ground_truth_is_a_label_and_no_metric():
    told = Told(ADAPTER, run(("A", "task"), ("B", "3"), is_correct=True))
    assert told.outcomes == [("succeeded", "verifier")]
    assert told.payloads("mission.outcome")[0]["reward"] == 1.0
    assert [step.tool for step in told.steps] == [None]


@pytest.mark.parametrize(
    ("left_out", "recognised"),
    [((), True), (("mistake_agent", "mistake_step"), True), (("question",), True), (("history",), False)],
)
def test_what_is_recognised(left_out: tuple[str, ...], recognised: bool):
    document = run(("A", "task"), mistake_agent="A", mistake_step="0", question_ID="q1")
    for name in left_out:
        del document[name]
    assert ADAPTER.recognises(json.dumps(document).encode(), whole=True) is recognised
