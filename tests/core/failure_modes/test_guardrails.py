import msgspec
import pytest
from happenings import asks, call, delegates, happens, mission, model, says

from quartermaster.core.failure_modes import Severity, find_failure_modes
from quartermaster.core.transcript import EventKind, Transcript


def found(transcript: Transcript, name: str):
    return find_failure_modes(transcript, names=(name,))


def refused(**arguments):
    return msgspec.structs.replace(call("shell", output=None, failed=True, **arguments), refused=True)


def test_three_blocks_within_ten_steps_are_a_cascade_and_spread_ones_are_not():
    work = [call(query=n) for n in range(6)]
    near = mission(refused(a=1), refused(a=2), *work, refused(a=3))
    far = mission(refused(a=1), *work, *work, refused(a=2), *work, *work, refused(a=3))
    (cascade,) = found(near, "guardrail_run")
    assert (cascade.severity, cascade.steps) == (Severity.HIGH, (0, 1, 8))
    assert found(far, "guardrail_run") == ()


def test_the_same_action_blocked_twice_is_enough():
    work = [call(query=n) for n in range(20)]
    (again,) = found(mission(refused(a=1), *work, refused(a=1)), "guardrail_run")
    assert again.steps == (0, 21)


def test_one_block_is_no_cascade():
    assert found(mission(refused(a=1), call(query="x")), "guardrail_run") == ()


@pytest.mark.parametrize(
    "block",
    [
        happens(EventKind.BLOCK, "guardrail.output_blocked"),
        happens(EventKind.DECISION, "deny"),
        happens(EventKind.DECISION, "key-1", succeeded=False),
        model(finish_reason="content_filter"),
        model(error="the prompt was flagged by a content filter"),
        refused(),
    ],
    ids=range(6),
)
def test_every_sort_of_block_counts(block):
    assert len(found(mission(*[block] * 3), "guardrail_run")) == 1


def question(text: str):
    return happens(EventKind.QUESTION, text=text)


def test_a_question_put_again_without_an_answer_is_found():
    (again,) = found(mission(question("May I?"), call(query="x"), question("may I?")), "repeated_escalation")
    assert again.steps == (0, 2)
    answer = happens(EventKind.ANSWER, text="not yet")
    assert found(mission(question("May I?"), answer, question("May I?")), "repeated_escalation") == ()
    assert found(mission(question("May I?"), question("Which one?")), "repeated_escalation") == ()


def test_asking_going_on_and_asking_again_three_times_is_found():
    turns = [
        event for n in range(4) for event in (question(f"Which of {n}?"), asks("the first"), call(query=n))
    ]
    (again,) = found(mission(*turns), "repeated_escalation")
    assert again.evidence == {"questions": 4}
    assert found(mission(*turns[:9]), "repeated_escalation") == ()


@pytest.mark.parametrize(
    "page",
    [
        "Verify you are human by completing the action below",
        "Access to this page has been denied. Press & Hold to confirm",
        "[Just a moment...](https://shop.example)",
        "Our systems have detected unusual traffic from your computer network",
        "Please complete the CAPTCHA to continue",
    ],
    ids=range(5),
)
def test_a_page_that_shuts_programs_out_is_a_wall(page: str):
    (wall,) = found(mission(call("open_page", output=page)), "access_wall")
    assert (wall.severity, wall.agentrx) == (Severity.INFO, ("Guardrails Triggered",))


@pytest.mark.parametrize(
    "page",
    [
        "bash: /etc/shadow: Permission denied",
        "A guide to CAPTCHA libraries",
        "humans and robots",
        "access denied for user root",
    ],
    ids=range(4),
)
def test_a_page_that_only_speaks_of_walls_is_none(page: str):
    assert found(mission(call("open_page", output=page)), "access_wall") == ()


def test_what_a_lead_says_about_a_wall_is_no_wall_and_what_its_agent_was_shown_is():
    seen = "I opened the page. It says: verify you are human"
    talk = mission(delegates("lead", "reader"), says(seen, agent="reader"), says(seen, agent="lead"))
    (wall,) = found(talk, "access_wall")
    assert wall.steps == (1,)
