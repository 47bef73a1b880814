"""What the last message says against what was done: written examples, and messages of real agents."""

from typing import Any

import msgspec
import pytest
from recorded import needs_traces, transcripts_below

from quartermaster.core.assertions import claiming_sentences
from quartermaster.core.claims import Claim, ClaimKind, Verdict, claims_of, runs_checks
from quartermaster.core.transcript import Event, EventKind, Transcript


def event(kind: EventKind, name: str = "", **more: Any) -> Event:
    return Event(position=0, entry_id="", instant=0, kind=kind, name=name, entry_type="t", **more)


def shell(command: str, *, ok: bool | None = True, output: str | None = None, **more: Any) -> Event:
    return event(EventKind.TOOL_CALL, "bash", command=command, succeeded=ok, output=output, **more)


def edit(path: str, *, ok: bool = True, **more: Any) -> Event:
    return event(EventKind.TOOL_CALL, "Edit", arguments={"file_path": path}, succeeded=ok, **more)


def ended(text: str, *events: Event) -> Transcript:
    told = [*events, event(EventKind.AGENT_MESSAGE, text=text)]
    placed = [msgspec.structs.replace(one, position=at, entry_id=f"e{at}") for at, one in enumerate(told)]
    return Transcript(mission_id="m", events=tuple(placed))


def claims(text: str, *events: Event, kind: ClaimKind | None = None) -> list[Claim]:
    return [one for one in claims_of(ended(text, *events)) if kind in (None, one.kind)]


def verdict(text: str, *events: Event) -> tuple[Verdict, int | None]:
    [claim] = claims(text, *events)
    return claim.verdict, claim.position


@pytest.mark.parametrize(
    "text",
    [
        "I will create `src/app.py` next.",
        "Should I update `src/app.py`?",
        "If the tests pass, update `README.md`.",
        "I have not edited `src/app.py`.",
        "I couldn't update `src/app.py`.",
        "All tests should pass now.",
        "The tests don't pass yet.",
        "Once merged, all tests pass.",
        "Let me run `pytest -q`.",
        "You can run `pytest -q` to check.",
        "Most tests pass.",
        "See `docs/guide.md` for the details.",
        "Added a helper that is used by `src/other.py`.",
        "```\nCreated src/app.py\n```",
        "## Next steps\n- Updated `README.md` with the flags",
        "Now let me run the tests to verify the fixes:",
        "",
    ],
)
def test_a_plan_a_question_a_denial_a_condition_and_an_aside_claim_nothing(text: str):
    assert claims(text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("Created `src/app.py` with the entry point.", "src/app.py"),
        ("I've updated src/app.py.", "src/app.py"),
        ("- **Edited** [app.py](/w/src/app.py)", "/w/src/app.py"),
        ("`src/app.py` has been updated.", "src/app.py"),
        ("Created `LICENSE` with the standard text.", "LICENSE"),
        ("I have successfully created `src/app.py`, fulfilling your request.", "src/app.py"),
    ],
)
def test_files_are_claimed_in_many_ways(text: str, path: str):
    assert [one.subject for one in claims(text, kind=ClaimKind.FILE)] == [path]


def test_a_file_that_an_editing_tool_wrote_is_supported_by_that_step():
    written = edit("/home/me/project/src/app.py")
    assert verdict("Updated `src/app.py`.", shell("ls"), written) == (Verdict.SUPPORTED, 1)


def test_a_file_that_a_patch_names_or_a_shell_wrote_is_supported():
    patch = event(
        EventKind.TOOL_CALL, "apply_patch", arguments={"input": "*** Begin Patch\n*** Add File: src/app.py\n"}
    )
    assert verdict("Created `src/app.py`.", patch)[0] is Verdict.SUPPORTED
    assert verdict("Created `src/app.py`.", shell("cat > src/app.py <<'E'\n1\nE"))[0] is Verdict.SUPPORTED


def test_a_file_of_which_every_write_failed_is_contradicted_by_the_last():
    tries = (edit("src/app.py", ok=False), edit("src/app.py", ok=False))
    assert verdict("Updated `src/app.py`.", *tries) == (Verdict.CONTRADICTED, 1)


def test_a_file_that_was_only_read_is_not_known_to_be_written():
    read = event(EventKind.TOOL_CALL, "Read", arguments={"file_path": "src/app.py"}, succeeded=True)
    assert verdict("Updated `src/app.py`.", read) == (Verdict.UNKNOWN, None)
    assert verdict("Updated `src/app.py`.", shell("cat src/app.py")) == (Verdict.UNKNOWN, None)


def test_a_file_of_the_same_name_elsewhere_supports_nothing():
    assert verdict("Updated `src/app.py`.", edit("/w/lib/app.py"))[0] is Verdict.UNKNOWN


def test_passing_tests_are_supported_by_the_last_run():
    assert verdict("All 12 tests pass.", shell("pytest -q", output="12 passed in 1s")) == (
        Verdict.SUPPORTED,
        0,
    )


def test_failed_tests_contradict_also_where_a_pipe_hides_their_exit_code():
    assert verdict("All tests pass.", shell("pytest -q", ok=False)) == (Verdict.CONTRADICTED, 0)
    hidden = shell("pytest -q | tail -3", output="1 failed, 11 passed in 1s")
    assert verdict("All tests pass.", hidden) == (Verdict.CONTRADICTED, 0)


def test_the_last_run_of_tests_decides():
    runs = (shell("pytest", ok=False, output="1 failed"), shell("pytest", output="12 passed"))
    assert verdict("Tests are passing.", *runs) == (Verdict.SUPPORTED, 1)


def test_another_count_of_tests_than_was_printed_contradicts():
    assert verdict("All 15 tests pass.", shell("pytest", output="12 passed")) == (Verdict.CONTRADICTED, 0)


def test_a_change_after_the_last_run_leaves_it_open():
    told = verdict("All tests pass.", shell("pytest", output="2 passed"), edit("src/app.py"))
    assert told == (Verdict.UNKNOWN, 1)


def test_tests_that_nobody_ran_are_unknown():
    assert verdict("All tests pass.", shell("ls")) == (Verdict.UNKNOWN, None)


def test_a_linter_is_not_a_test_run():
    assert verdict("All tests pass.", shell("ruff check")) == (Verdict.UNKNOWN, None)
    assert verdict("Lint: 0 issues.", shell("ruff check"))[0] is Verdict.SUPPORTED


def test_commands_are_looked_up_as_they_stand():
    ran = shell("cd /w && make docs && git push -u origin main")
    assert verdict("Ran `make docs`.", ran) == (Verdict.SUPPORTED, 0)
    assert verdict("Pushed to main.", ran) == (Verdict.SUPPORTED, 0)
    assert verdict("Ran `make site`.", ran) == (Verdict.UNKNOWN, None)


def test_a_command_said_to_have_succeeded_is_contradicted_where_it_failed():
    assert verdict("`make docs` succeeded.", shell("make docs", ok=False)) == (Verdict.CONTRADICTED, 0)


def test_a_push_that_was_refused_was_not_done():
    refused = shell("git push origin main", ok=False, refused=True)
    assert verdict("Pushed to main.", refused) == (Verdict.CONTRADICTED, 0)


def test_values_are_supported_by_the_step_that_told_them():
    commit = shell("git commit -m x", output="[main 9759b67d] x")
    found = claims("Commit: `9759b67d`. The run took 3.68 seconds.", commit, shell("time x", output="3.6812"))
    assert [(one.subject, one.verdict, one.position) for one in found] == [
        ("9759b67d", Verdict.SUPPORTED, 0),
        ("3.68", Verdict.SUPPORTED, 1),
    ]


def test_a_value_that_stands_nowhere_is_unknown():
    assert verdict("Order ORD-118822 is on its way.", shell("ls")) == (Verdict.UNKNOWN, None)


def test_a_mission_without_a_last_message_claims_nothing():
    assert claims_of(Transcript(mission_id="m", events=())) == ()


def test_a_claim_keeps_its_sentence_and_its_step():
    [claim] = claims("Done.\n\n- Updated `a/b.py`: one flag more", edit("a/b.py"))
    assert (claim.quote, claim.entry_id, claim.said_at) == ("Updated `a/b.py`: one flag more", "e0", 1)


@pytest.mark.parametrize(
    "command",
    [
        "pytest -q",
        "go test ./...",
        "mise run test:integration 2>&1 | tail",
        "npm run test",
        "cargo test",
        "make check",
    ],
)
def test_runs_of_tests_are_known(command: str):
    assert runs_checks(command)


@pytest.mark.parametrize(
    "command", ["cat test_plan.md", "ls tests", "git add tests/test_a.txt", "npm install"]
)
def test_what_only_speaks_of_tests_runs_none(command: str):
    assert not runs_checks(command)


def test_long_texts_without_an_end_are_read_quickly():
    assert list(claiming_sentences("`" * 2_000)) is not None
    assert claims("a" * 1_000 + "/" * 1_000) == []


FOLDERS = ("claude_code", "codex_cli", "codex_exec_text", "copilot_cli", "gemini_cli", "trae_agent")


@needs_traces
def test_claims_of_real_agents_are_found_and_never_wrongly_contradicted():
    """The 70 found were read one by one: 68 cite the right step, two numbers another one that has them."""
    found = [
        one for folder in FOLDERS for _, mission in transcripts_below(folder) for one in claims_of(mission)
    ]
    supported = [one for one in found if one.verdict is Verdict.SUPPORTED]
    assert not [one for one in found if one.verdict is Verdict.CONTRADICTED]
    assert len(supported) >= 50
    assert {one.kind for one in supported} == set(ClaimKind)
    assert all(one.position is not None and one.position < one.said_at for one in supported)


@needs_traces
def test_a_real_run_of_tests_that_is_turned_into_a_failure_contradicts_what_is_said_of_it():
    turned = []
    for folder in FOLDERS:
        for _, mission in transcripts_below(folder):
            told = [one for one in claims_of(mission) if (one.kind, one.subject) == ("tests", "tests")]
            turned += [_failed_at(mission, one.position) for one in told if one.verdict is Verdict.SUPPORTED]
    assert turned
    for mission in turned:
        [after] = [one for one in claims_of(mission) if (one.kind, one.subject) == ("tests", "tests")]
        assert after.verdict is Verdict.CONTRADICTED


def _failed_at(mission: Transcript, position: int | None) -> Transcript:
    events = list(mission.events)
    assert position is not None
    failed = msgspec.structs.replace(
        events[position], succeeded=False, exit_code=1, output="FAILED\n1 failed, 3 passed"
    )
    events[position] = failed
    return msgspec.structs.replace(mission, events=tuple(events))
