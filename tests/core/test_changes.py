"""What a pair shows, in words; and seeded changes of real recordings, each to be called what it is."""

from collections import Counter
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest
from recorded import TRACES, needs_traces
from transcripts import asked, call, model, said, status, told

from quartermaster.core.changes import changes_of, refuses
from quartermaster.core.pricing import OwnPrice, OwnPrices, PriceBook
from quartermaster.core.seeded_changes import FAILURES, SEEDS, dearer_model
from quartermaster.core.transcript import Event, EventKind, transcript_of
from quartermaster.selftest.changes import is_right, missions_of

FORMATS = (
    "agentrx", "claude_code", "codex_cli", "openhands", "swe_agent", "tau2_bench", "tau_bench", "trae_agent",
)  # fmt: skip
RECORDINGS_OF_A_FORMAT = 4
PRICES = PriceBook(
    OwnPrices(
        (
            OwnPrice(pattern="dearer-*", since=None, input=Decimal(30), output=Decimal(150)),
            OwnPrice(pattern="*", since=None, input=Decimal(3), output=Decimal(15)),
        )
    )
)


def shown(before: list[Event], after: list[Event], **facts: Any) -> list[str]:
    return [change.sentence for change in changes_of(told(*before, **facts), told(*after, **facts))]


def test_nothing_is_said_of_the_same_recording():
    steps = [asked("a"), model(), call("read", {"at": "2026-01-01T00:00:00Z"}, output="x"), said("b")]
    again = [*steps[:2], call("read", {"at": "2027-02-02T00:00:00Z"}, output="x"), steps[3]]
    assert shown(steps, steps) == shown(steps, again) == shown([], []) == []


def test_a_continuation_is_called_one_and_nothing_else():
    begun = [asked("a"), model(), call("read"), said("b"), status("completed")]
    assert shown(begun, [*begun[:4], asked("more"), model(), said("c"), begun[4]]) == [
        "a continuation of the same session: three more steps"
    ]


def test_a_mission_that_came_from_nothing_continues_nothing():
    assert shown([], [model()]) == ["one step came in"]
    assert shown([status("running")], [status("running"), model()]) == ["one step came in"]


def test_results_that_failed_and_results_that_recovered_are_told_apart():
    before = [call("a"), call("b", succeeded=False), call("c")]
    after = [call("a", succeeded=False), call("b"), call("c", succeeded=False)]
    assert shown(before, after) == [
        "two tool results turned into failures",
        "one tool result that failed succeeds now",
    ]


def test_a_model_is_dearer_by_the_price_of_its_tokens():
    before = [model("small", tokens=100, cost=100), call("a")]
    assert shown(before, [model("large", tokens=50, cost=150), call("a")]) == [
        "a dearer model (small -> large) in one call"
    ]
    assert shown(before, [model("tiny", tokens=400, cost=100), call("a")]) == [
        "a cheaper model (small -> tiny) in one call"
    ]
    assert shown(before, [model("other", tokens=100), call("a")]) == [
        "another model (small -> other) in one call"
    ]


def test_changed_arguments_say_of_which_calls():
    before = [call("sh", command="ls"), model(), call("sh", command="pwd"), call("read", {"p": 1})]
    after = [call("sh", command="ls -a"), model(), call("sh", command="pwd -P"), call("read", {"p": 1})]
    assert shown(before, after) == ["every shell command's arguments changed (two)"]
    one = [*before[:3], call("read", {"p": 2})]
    assert shown(before, one) == ["the arguments of one call of read changed"]


def test_tools_that_came_and_went_are_named():
    before = [model(), call("search"), model(), call("read"), said("x")]
    after = [model(), model(), call("read"), call("write"), said("x")]
    assert shown(before, after) == [
        "tool search is no longer used (one call)",
        "tool write is used now (one call)",
    ]


def test_a_call_that_was_answered_otherwise_is_told_last():
    assert shown([call("read", output="1")], [call("read", output="2")]) == [
        "one call with the same arguments got another answer"
    ]


def test_a_final_answer_that_is_no_refusal_is_another_one():
    assert shown([said("It is 4.")], [said("It is 5.")]) == ["the final answer is another one"]
    assert shown([said("It is 4.")], [said("I can\u2019t help with that.")]) == [
        "the final answer became a refusal"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that request.",
        "I cannot assist with this.",
        "I am unable to complete this task.",
        "I must decline to answer that.",
        "That is against our policy.",
        "Unfortunately I won't be able to proceed with this.",
    ],
)
def test_refusals_are_recognised(text: str):
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "Your flight is booked.",
        "I can help with that.",
        "The test cannot pass because the file is missing.",
        "The fix is complete; nothing else was changed.",
        "I can't help but notice that all tests pass. " + "Here is the whole report. " * 40,
        None,
    ],
)
def test_other_answers_are_no_refusals(text: str | None):
    assert not refuses(text)


@needs_traces
def test_seeded_changes_of_real_recordings_are_called_what_they_are(capsys: pytest.CaptureFixture[str]):
    made: Counter[str] = Counter()
    right: Counter[str] = Counter()
    recordings = 0
    for folder in FORMATS:
        for raws in islice(_recordings(folder), RECORDINGS_OF_A_FORMAT):
            recordings += 1
            untouched = transcript_of(raws)
            assert changes_of(untouched, transcript_of(reversed(raws))) == ()
            for seed in SEEDS:
                seeded = seed(raws, recordings)
                if seeded is not None:
                    made[seed.__name__] += 1
                    right[seed.__name__] += is_right(seeded)
    with capsys.disabled():
        print()
        print(*(f"{name:20} {right[name]} of {count}" for name, count in made.items()), sep="\n")
    assert recordings >= 30
    assert all(right[name] >= 0.97 * count for name, count in made.items())


@needs_traces
def test_a_dearer_model_is_called_dearer_wherever_its_tokens_are_known():
    told_so = 0
    for folder in FORMATS:
        for raws in islice(_recordings(folder), RECORDINGS_OF_A_FORMAT):
            seeded = dearer_model(raws, 1)
            assert seeded is not None
            before, after = (
                transcript_of(side, price=PRICES) for side in (seeded.baseline, seeded.candidate)
            )
            if any(event.tokens and event.cost for event in before.events):
                assert changes_of(before, after)[0].sentence.startswith("a dearer model (")
                told_so += 1
    assert told_so >= 8


def _recordings(folder: str) -> Any:
    """Native entries of missions with calls enough to change some."""
    for path in sorted((TRACES / folder).rglob("*")):
        if path.is_file() and path.name != "SOURCE.md":
            for raws in missions_of(path.read_bytes()):
                calls = [event for event in transcript_of(raws).events if event.kind is EventKind.TOOL_CALL]
                if sum(event.succeeded is True for event in calls) >= FAILURES:
                    yield raws
