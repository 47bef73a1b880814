"""Codex CLI rollouts: exact counts on real recordings, and what single lines mean."""

import json
import re
from typing import Any

import pytest
from adapters.recordings import (
    TRACES,
    Figures,
    assert_calls_pair_up,
    entries_of,
    figures,
    lines,
    needs_traces,
    outcome_of,
    payloads,
    read,
    recording,
    steps_of,
)

from quartermaster.adapters import codex_cli
from quartermaster.core.journal import format_instant
from quartermaster.core.trajectory import COMMAND_END, COMMAND_START, KEEPER_DECISION, MODEL_CALL

ADAPTER = codex_cli.ADAPTER

# Tool calls, non-zero exit codes and the last cumulative sum of tokens, as documented beside the recordings.
DOCUMENTED = {
    "gpt54_short": (23, 3, 269_672),
    "growing_a": (59, 0, 842_068),
    "growing_b": (83, 1, 1_597_908),
    "nonzero_exits": (57, 7, 1_339_728),
    "mixed_exits": (111, 4, 3_060_509),
    "spark_compacted": (177, 16, 11_142_011),
    "two_models_aborted": (149, 2, 9_835_445),
    "old_2025-11": (39, 3, 1_121_566),
    "schema_catalogue": (4, 0, 0),
}
# Failures without an exit code, which the documents do not count: a patch that did not apply.
FAILED_WITHOUT_EXIT_CODE = {"spark_compacted": 1}
# The catalogue has two calls of one id, and its sum of tokens falls back to 0 after one model call.
CATALOGUE = Figures(missions=1, model_calls=1, tool_calls=3, failed=0, tokens=16_422)


def payloads_of_lines(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    values = [json.loads(line) for line in data.splitlines()]
    return [(value["type"], value["payload"]) for value in values]


def counted(data: bytes) -> Figures:
    """Straight from the JSON: changes of the sum of tokens, calls, results that tell a failure, the sum."""
    sums: list[int] = []
    calls: set[str] = set()
    failed: set[str] = set()
    for _, payload in payloads_of_lines(data):
        kind = payload.get("type")
        if kind == "token_count" and payload["info"]:
            total = payload["info"]["total_token_usage"]["total_tokens"]
            sums += [total] if not sums or total != sums[-1] else []
        if kind in ("function_call", "custom_tool_call"):
            calls.add(payload["call_id"])
        if kind in ("function_call_output", "custom_tool_call_output") and isinstance(payload["output"], str):
            head = (
                payload["output"]
                if payload["output"].startswith("{")
                else payload["output"].split("Output:")[0]
            )
            code = re.search(r'(?:exited with code |Exit code: |"exit_code":)(-?\d+)', head)
            if (code and int(code[1])) or head.startswith("apply_patch verification failed"):
                failed.add(payload["call_id"])
    return Figures(1, len(sums), len(calls), len(failed), sums[-1])


@needs_traces
@pytest.mark.parametrize("name", sorted(DOCUMENTED.keys() - {"schema_catalogue"}))
def test_the_counts_of_a_real_session_are_exact(name: str):
    data = recording("codex_cli", name)
    tool_calls, failed, tokens = DOCUMENTED[name]
    told = figures(ADAPTER, data)
    assert told == counted(data)
    assert (told.tool_calls, told.tokens) == (tool_calls, tokens)
    assert told.failed - FAILED_WITHOUT_EXIT_CODE.get(name, 0) == failed


@needs_traces
def test_a_catalogue_of_every_line_is_read_without_a_fault():
    data = recording("codex_cli", "schema_catalogue")
    assert figures(ADAPTER, data) == CATALOGUE
    assert not read(ADAPTER, data)[1]


@needs_traces
def test_every_real_session_is_documented_here():
    names = {path.name.split("__")[0] for path in (TRACES / "codex_cli").glob("*.jsonl")}
    assert {name.removesuffix("_0.146_trimmed_values.jsonl") for name in names} == set(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_no_line_of_a_real_session_is_rejected_and_its_calls_pair_up(name: str):
    data = recording("codex_cli", name)
    assert not read(ADAPTER, data)[1]
    assert_calls_pair_up(ADAPTER, data)


@needs_traces
@pytest.mark.parametrize("name", sorted(DOCUMENTED.keys() - {"schema_catalogue"}))
def test_the_counters_of_a_real_session_do_not_overlap(name: str):
    data = recording("codex_cli", name)
    *_, last = [p["info"]["total_token_usage"] for _, p in payloads_of_lines(data) if p.get("info")]
    steps = steps_of(ADAPTER, data, MODEL_CALL)
    assert sum(step.input_tokens for step in steps) == last["input_tokens"] - last["cached_input_tokens"]
    assert sum(step.cache_read_tokens for step in steps) == last["cached_input_tokens"]
    assert sum(step.output_tokens for step in steps) == last["output_tokens"]
    reasoned = [payload["reasoning_tokens"] for payload in payloads(ADAPTER, data, "llm.call")]
    assert sum(reasoned) == last["reasoning_output_tokens"]


@needs_traces
def test_a_session_that_grew_begins_with_the_entries_it_had():
    before, after = recording("codex_cli", "growing_a"), recording("codex_cli", "growing_b")
    assert after.startswith(before)
    earlier = {entry.id for entry in entries_of(ADAPTER, before)}
    assert earlier <= {entry.id for entry in entries_of(ADAPTER, after)}


@needs_traces
def test_the_model_of_a_call_is_the_one_of_its_turn():
    data = recording("codex_cli", "two_models_aborted")
    models = {step.tool for step in steps_of(ADAPTER, data, MODEL_CALL)}
    assert models == {"gpt-5.3-codex-spark", "gpt-5.5"}


@needs_traces
@pytest.mark.parametrize("name", ["gpt54_short", "growing_b", "two_models_aborted", "old_2025-11"])
def test_a_real_session_that_stops_within_a_turn_has_no_outcome(name: str):
    assert outcome_of(ADAPTER, recording("codex_cli", name)) is None


def line(envelope: str, seconds: int, **payload: Any) -> dict[str, Any]:
    return {"timestamp": f"2026-04-02T08:00:{seconds:02d}.000Z", "type": envelope, "payload": payload}


def item(kind: str, seconds: int, **payload: Any) -> dict[str, Any]:
    return line("response_item", seconds, type=kind, **payload)


def event(kind: str, seconds: int, **payload: Any) -> dict[str, Any]:
    return line("event_msg", seconds, type=kind, **payload)


def calls(call: str, seconds: int, tool: str = "exec_command", **arguments: Any) -> dict[str, Any]:
    return item("function_call", seconds, name=tool, call_id=call, arguments=json.dumps(arguments))


def answers(call: str, seconds: int, output: Any) -> dict[str, Any]:
    return item("function_call_output", seconds, call_id=call, output=output)


def tokens(
    seconds: int, total: tuple[int, int, int], last: tuple[int, int, int] | None = None
) -> dict[str, Any]:
    names = ("input_tokens", "cached_input_tokens", "output_tokens")
    usages = [dict(zip(names, counts, strict=True)) if counts else None for counts in (total, last)]
    return event("token_count", seconds, info={"total_token_usage": usages[0], "last_token_usage": usages[1]})


META = line("session_meta", 0, id="s1", cwd="/home/ada/tide", cli_version="0.141.0", model_provider="openai")
CONTEXT = line("turn_context", 0, model="gpt-5.4")


def session(*values: dict[str, Any]) -> bytes:
    return lines([META, CONTEXT, *values])


def test_a_mission_is_titled_by_what_the_person_first_said():
    instructions = item(
        "message", 1, role="user", content=[{"type": "input_text", "text": "<environment_context>"}]
    )
    data = session(instructions, event("user_message", 2, message="fix\nthe table"))
    assert payloads(ADAPTER, data, "mission.created") == [
        {
            "title": "fix the table",
            "agent": "codex-cli",
            "model": "gpt-5.4",
            "version": "0.141.0",
            "labels": {"cwd": "/home/ada/tide"},
        }
    ]


def test_a_sub_agent_names_the_session_that_sent_it_out():
    spawned = {"subagent": {"thread_spawn": {"parent_thread_id": "p1", "depth": 1}}}
    data = lines([line("session_meta", 0, id="s1", source=spawned), CONTEXT])
    assert payloads(ADAPTER, data, "mission.created")[0]["parent_mission_id"] == "p1"


def test_tokens_that_are_told_again_are_no_model_call():
    data = session(tokens(1, (100, 60, 10)), tokens(2, (100, 60, 10)), tokens(3, (300, 200, 30)))
    steps = steps_of(ADAPTER, data, MODEL_CALL)
    assert [(s.input_tokens, s.cache_read_tokens, s.output_tokens) for s in steps] == [
        (40, 60, 10),
        (60, 140, 20),
    ]


def test_a_sum_that_falls_back_counts_what_the_last_call_used():
    data = session(
        tokens(1, (100, 0, 10)), tokens(2, (40, 0, 5), (30, 0, 5)), tokens(3, (0, 0, 0), (0, 0, 0))
    )
    assert [step.tokens for step in steps_of(ADAPTER, data, MODEL_CALL)] == [110, 35]


def test_a_sum_that_began_in_another_file_counts_what_the_last_call_used():
    data = session(tokens(1, (1_000, 0, 100), (50, 0, 5)), tokens(2, (1_100, 0, 110)))
    assert [step.tokens for step in steps_of(ADAPTER, data, MODEL_CALL)] == [55, 110]


def test_tokens_that_are_unknown_say_nothing():
    data = session(event("token_count", 1, info=None), event("token_count", 2, info={"total_token_usage": 7}))
    assert steps_of(ADAPTER, data, MODEL_CALL) == []


def test_a_model_call_began_with_the_first_sign_of_its_answer():
    data = session(
        item("reasoning", 3), calls("c1", 4, cmd="ls"), answers("c1", 5, "ok"), tokens(6, (9, 0, 1))
    )
    (call,) = [entry for entry in entries_of(ADAPTER, data) if entry.entry_type == "llm.call"]
    assert format_instant(call.instant) == "2026-04-02T08:00:03Z"


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("Chunk ID: 1\nWall time: 0.5 seconds\nProcess exited with code 2\nOutput:\nno", 2),
        ("Exit code: 1\nWall time: 0.5 seconds\nOutput:\nno", 1),
        (json.dumps({"output": "no", "metadata": {"exit_code": 127, "duration_seconds": 0.5}}), 127),
        ("Chunk ID: 1\nWall time: 0.5 seconds\nProcess exited with code 0\nOutput:\nExit code: 9", 0),
        (
            [{"type": "input_text", "text": "Wall time: 0.5 seconds\nProcess exited with code 3\nOutput:\n"}],
            3,
        ),
    ],
)
def test_an_exit_code_and_a_duration_are_read_in_every_spelling(output: Any, code: int):
    data = session(calls("c1", 1, cmd="make"), answers("c1", 2, output))
    (end,) = [payload for payload in payloads(ADAPTER, data, "exec.command") if payload["phase"] == "end"]
    assert (end["command"], end["tool"], end["exit_code"], end["duration_ms"]) == (
        "make",
        "exec_command",
        code,
        500,
    )


@pytest.mark.parametrize(
    ("output", "failed"),
    [
        ("Plan updated", 0),
        ("apply_patch verification failed: no such lines", 1),
        ("failed to parse function arguments: missing field `cmd`", 1),
        ("unsupported call: web", 1),
        ("write_stdin failed: stdin is closed", 1),
        ("The build failed to impress me, but it is done.", 0),
    ],
)
def test_a_result_without_an_exit_code_fails_by_how_it_begins(output: str, failed: int):
    data = session(calls("c1", 1, "update_plan"), answers("c1", 2, output))
    assert figures(ADAPTER, data).failed == failed


def test_an_event_says_whether_a_call_failed_that_has_no_exit_code():
    verdict = event("mcp_tool_call_end", 2, call_id="c1", result={"Err": "no such server"})
    data = session(calls("c1", 1, "ask"), verdict, answers("c1", 3, "no such server"))
    assert figures(ADAPTER, data).failed == 1


def test_a_command_that_is_left_running_ends_with_the_call_that_waited_for_it():
    running = "Chunk ID: 1\nWall time: 1.0 seconds\nProcess running with session ID 41\nOutput:\n"
    ended = "Chunk ID: 2\nWall time: 3.0 seconds\nProcess exited with code 1\nOutput:\n"
    data = session(
        calls("c1", 1, cmd="pytest"),
        answers("c1", 2, running),
        calls("c2", 3, "write_stdin", session_id=41, chars=""),
        answers("c2", 9, ended),
    )
    ends = {step.tool: step.success for step in steps_of(ADAPTER, data, COMMAND_END)}
    assert ends == {"pytest": False, "write_stdin": True}
    assert_calls_pair_up(ADAPTER, data)


def test_a_command_that_is_still_running_has_not_ended():
    data = session(
        calls("c1", 1, cmd="sleep 9"), answers("c1", 2, "Process running with session ID 41\nOutput:\n")
    )
    assert len(steps_of(ADAPTER, data, COMMAND_START)) == 1
    assert steps_of(ADAPTER, data, COMMAND_END) == []


def test_a_refused_command_is_a_denied_decision_and_an_interrupted_one_never_ended():
    data = session(
        calls("c1", 1, cmd="git push"),
        answers("c1", 2, "exec command rejected by user"),
        calls("c2", 3, cmd="sleep 9"),
        answers("c2", 4, "aborted by user after 1.0s"),
    )
    assert [step.tool for step in steps_of(ADAPTER, data, KEEPER_DECISION)] == ["exec_command"]
    assert steps_of(ADAPTER, data, COMMAND_END) == []


@pytest.mark.parametrize(
    ("command", "told"),
    [(["bash", "-lc", "ls -a"], "ls -a"), (["git", "status"], "git status"), ("make test", "make test")],
)
def test_a_shell_of_older_versions_runs_what_it_was_given(command: Any, told: str):
    data = session(calls("c1", 1, "shell", command=command))
    assert [step.tool for step in steps_of(ADAPTER, data, COMMAND_START)] == [told]


def test_a_patch_is_an_argument_that_is_cut():
    patch = item("custom_tool_call", 1, name="apply_patch", call_id="c1", input="*** Begin Patch" + "x" * 900)
    (start,) = payloads(ADAPTER, session(patch), "exec.command")
    assert start["command"] == "apply_patch"
    assert len(start["arguments"]["input"]) == 400


def test_searches_are_told_and_are_no_tool_calls():
    search = item("web_search_call", 1, status="completed", action={"type": "search", "query": "tides"})
    data = session(search)
    assert payloads(ADAPTER, data, "run.search") == [
        {"kind": "web_search", "status": "completed", "arguments": {"type": "search", "query": "tides"}}
    ]
    assert figures(ADAPTER, data).tool_calls == 0


def test_history_that_a_compaction_repeats_is_not_read_again():
    history = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "old"}]}]
    data = session(line("compacted", 1, message="", replacement_history=history))
    assert payloads(ADAPTER, data, "run.compaction") == [{"kind": "compacted"}]
    assert payloads(ADAPTER, data, "message.assistant") == []


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ([event("task_complete", 2)], "succeeded"),
        ([event("task_complete", 2, error={"message": "quota"})], "failed"),
        ([event("turn_aborted", 2, reason="interrupted")], "aborted"),
        ([event("error", 2, message="stream disconnected")], "failed"),
        ([event("stream_error", 2, message="retrying 1/5")], None),
        ([event("task_complete", 2), event("task_started", 3)], None),
        ([], None),
    ],
)
def test_the_last_end_of_a_turn_is_the_outcome_until_another_begins(ends: list[Any], outcome: str | None):
    assert outcome_of(ADAPTER, session(event("task_started", 1), *ends)) == outcome


def test_an_interrupted_turn_is_a_change_of_status():
    data = session(event("turn_aborted", 2, reason="interrupted"))
    assert payloads(ADAPTER, data, "mission.status_change") == [{"to_status": "interrupted"}]


def test_lines_before_the_one_that_opens_the_session_are_rejected_with_the_reason():
    records, rejected = read(ADAPTER, lines([CONTEXT, META, CONTEXT]))
    assert ["session_meta" in line.reason for line in rejected] == [True]
    assert records


def test_a_fork_that_repeats_the_line_of_its_origin_stays_one_mission():
    data = session(line("session_meta", 1, id="origin"), event("user_message", 2, message="go"))
    assert {entry.mission_id for entry in entries_of(ADAPTER, data)} == {"s1"}


def ends_of(data: bytes) -> list[dict[str, Any]]:
    return [told for told in payloads(ADAPTER, data, "exec.command") if told["phase"] == "end"]


@pytest.mark.parametrize(
    "output",
    [
        "Chunk ID: 1\nWall time: 0.5 seconds\nProcess exited with code 2\nOutput:\nno such\nOutput:\nfile",
        "Exit code: 1\nWall time: 0.5 seconds\nOutput:\nno such\nOutput:\nfile",
        json.dumps({"output": "no such\nOutput:\nfile", "metadata": {"exit_code": 127}}),
        [{"type": "input_text", "text": "no such\nOutput:"}, {"type": "input_text", "text": "file"}],
    ],
)
def test_the_output_is_what_the_tool_answered_and_nothing_of_the_program(output: Any):
    (end,) = ends_of(session(calls("c1", 1, cmd="make"), answers("c1", 2, output)))
    assert end["output"] == "no such\nOutput:\nfile"
    assert end.get("error") in (None, "no such Output: file")


def test_a_long_output_is_cut_and_has_a_digest():
    (end,) = ends_of(session(calls("c1", 1, cmd="cat big"), answers("c1", 2, "Output:\n" + "y" * 9_000)))
    assert (len(end["output"]), len(end["output_digest"])) == (2_000, 16)


def test_a_command_that_was_left_running_answered_before_and_after():
    head = "Wall time: 1.0 seconds\nProcess {} 1\nOutput:\n"
    data = session(
        calls("c1", 1, cmd="pytest"),
        answers("c1", 2, head.format("running with session ID") + "collected 2\n"),
        calls("c2", 3, "write_stdin", session_id=1, chars=""),
        answers("c2", 9, head.format("exited with code") + "1 failed\n"),
    )
    told = {end["command"]: end["output"] for end in ends_of(data)}
    assert told == {"pytest": "collected 2\n1 failed\n", "write_stdin": "1 failed\n"}


def test_a_shell_keeps_what_it_was_given_beside_its_line():
    (start,) = payloads(
        ADAPTER, session(calls("c1", 1, cmd="ls", workdir="/srv", justification="look")), "exec.command"
    )
    assert (start["arguments"], start["description"]) == ({"workdir": "/srv"}, "look")


def test_a_patch_names_every_file_that_it_is_for():
    change = "@@\n" + "-old\n+new\n" * 200
    patch = (
        f"*** Begin Patch\n*** Update File: tide/moon.py\n*** Move to: tide/lunar.py\n{change}"
        "*** Add File: tide/sun.py\n+1\n*** Delete File: old.py\n*** End Patch"
    )
    call = item("custom_tool_call", 1, call_id="c1", name="apply_patch", input=patch)
    (start,) = payloads(ADAPTER, session(call), "exec.command")
    assert start["arguments"]["paths"] == ["tide/moon.py", "tide/lunar.py", "tide/sun.py", "old.py"]
    assert len(start["arguments"]["input"]) == 400
    assert len(start["arguments_digest"]) == 16


def test_what_agents_ask_of_each_other_names_both():
    data = session(
        event(
            "collab_agent_spawn_end", 1, new_thread_id="t2", new_agent_nickname="Gull", prompt="count boats"
        ),
        item("agent_message", 2, author="Gull", recipient="Heron", content=[{"text": "go on"}]),
        event("collab_agent_interaction_end", 3, prompt="nobody is named"),
    )
    assert payloads(ADAPTER, data, "run.sub_agent") == [
        {"agent": "codex-cli", "to": "Gull", "agent_id": "t2", "text": "count boats"},
        {"agent": "Gull", "to": "Heron", "text": "go on"},
    ]


def test_the_goal_that_was_set_is_the_goal_of_the_mission():
    data = session(event("thread_goal_updated", 1, goal={"objective": "all tests pass"}))
    assert payloads(ADAPTER, data, "mission.created")[0]["goal"] == "all tests pass"


def test_a_sub_agent_speaks_under_its_name():
    meta = line("session_meta", 0, id="s2", agent_nickname="Gull")
    said = item("message", 1, role="assistant", content=[{"type": "output_text", "text": "two boats"}])
    told = payloads(ADAPTER, lines([meta, CONTEXT, said]), "message.assistant")
    assert told == [{"text": "two boats", "agent": "Gull"}]
