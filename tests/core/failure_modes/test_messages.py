from happenings import asks, call, delegates, happens, mission, model, says

from quartermaster.core.failure_modes import Severity, find_failure_modes
from quartermaster.core.transcript import EventKind, Transcript

PLEASE = "Please open the second result of the search and read the {} section of that page"
LONG = "nothing on this page speaks of what was asked " * 4


def found(transcript: Transcript, name: str):
    return find_failure_modes(transcript, names=(name,))


def test_an_instruction_given_three_times_in_other_words_is_found():
    told = [delegates("lead", "reader", PLEASE.format(part)) for part in ("first", "second", "third")]
    (repeated,) = found(
        mission(told[0], call(query="a"), told[1], call(query="b"), told[2]), "near_duplicate_instruction"
    )
    assert (repeated.steps, repeated.agent, repeated.confidence) == ((0, 2, 4), "lead", "likely")
    assert repeated.severity is Severity.INFO


def test_instructions_of_different_agents_are_not_one_instruction():
    told = [delegates(agent, "reader", PLEASE.format("first")) for agent in ("ann", "ben", "cid")]
    assert found(mission(*told), "near_duplicate_instruction") == ()


def test_different_instructions_and_short_words_are_no_repetition():
    told = [
        says("Let me read the parser"),
        says("The test of dates fails in July"),
        says("I changed the calendar"),
    ]
    assert found(mission(*told, *[says("Done.")] * 4), "near_duplicate_instruction") == ()


def test_a_repetition_further_than_eight_messages_apart_is_none():
    others = [
        says("The parser stops at the first comma"),
        says("Dates in July are read as dates in June"),
        says("Nobody calls this function any more"),
        says("A lock is missing around the queue"),
        says("Two users may share one basket here"),
        says("The cache forgets everything at midnight"),
        says("Pages are counted from zero in this view"),
        says("Every error ends up in the same log"),
    ]
    again = says("I will now try to open the locked door with the key")
    assert found(mission(again, *others, again, *others, again), "near_duplicate_instruction") == ()


def test_long_answers_that_stay_the_same_are_found_and_acknowledgements_are_not():
    pages = [call("open_page", output=LONG + str(n), page=n) for n in range(3)]
    writes = [call("edit_file", output="The file was written.", line=n) for n in range(9)]
    assert [one.count for one in found(mission(*pages), "near_duplicate_instruction")] == [3]
    assert found(mission(*writes), "near_duplicate_instruction") == ()


def test_three_messages_to_nobody_are_a_monologue_and_a_tool_call_ends_it():
    thought = says("I should think about the plan again before I go on")
    (talk,) = found(mission(thought, model(), thought, model(), thought), "monologue")
    assert talk.steps == (0, 2, 4)
    assert found(mission(thought, thought, call(query="x"), thought, thought), "monologue") == ()
    assert found(mission(thought, thought, asks("go on"), thought), "monologue") == ()


def test_two_agents_that_hand_the_work_back_and_forth_are_found():
    there, back = delegates("ann", "ben"), delegates("ben", "ann")
    (pong,) = found(mission(there, back, there, back, there), "ping_pong_handoff")
    assert (pong.severity, pong.evidence["handoffs"]) == (Severity.HIGH, 5)
    assert found(mission(there, back, there, back), "ping_pong_handoff") == ()
    assert found(mission(there, back, there, call(query="x"), back, there, back), "ping_pong_handoff") == ()


def test_a_lead_that_gives_out_one_task_after_the_other_plays_no_ping_pong():
    assert found(mission(*[delegates("lead", "reader")] * 8), "ping_pong_handoff") == ()


def opening() -> list:
    return [call("get", output=f"{n}", page=n) for n in range(8)]


def work(count: int) -> list:
    return [call("edit", output=f"edited {n}", line=n) for n in range(count)]


def test_a_mission_that_begins_anew_is_found():
    (reset,) = found(mission(*opening(), *work(5), *opening()[:6]), "conversation_reset")
    assert (reset.first, reset.count) == (13, 6)


def test_a_look_back_at_some_pages_is_no_reset():
    assert found(mission(*opening(), *work(5), *opening()[:4], *work(4)), "conversation_reset") == ()


def test_a_goal_that_is_stated_again_takes_fewer_calls_to_be_a_reset():
    goal = asks("Find out which page speaks of it")
    again = mission(goal, *opening(), *work(5), goal, *opening()[:3])
    (reset,) = found(again, "conversation_reset")
    assert reset.evidence == {"calls_again": 3, "goal_restated": True}


def test_a_loop_is_no_reset():
    rounds = [call("get", output=f"{n}", page=n) for n in range(6)] * 4
    assert found(mission(*rounds), "conversation_reset") == ()


def test_notes_do_not_interrupt_a_monologue():
    thought = says("I should think about the plan again before I go on")
    note = happens(EventKind.NOTE, "run.note")
    assert len(found(mission(thought, note, thought, note, thought), "monologue")) == 1
