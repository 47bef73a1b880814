"""The text that `codex exec` prints: exact counts on a real log, and what single blocks mean."""

import re

import pytest
from adapters.recordings import (
    TRACES,
    Figures,
    entries_of,
    figures,
    needs_traces,
    outcome_of,
    payloads,
    read,
    recording,
    steps_of,
)

from quartermaster.adapters import codex_exec_text, recognise
from quartermaster.core.trajectory import COMMAND, COMMAND_START, MODEL_CALL

ADAPTER = codex_exec_text.ADAPTER
HEADER = """OpenAI Codex v0.87.0 (research preview)
--------
workdir: /home/ada/lamp
model: gpt-5
provider: openai
session id: s1
--------
user
fix the lamp
"""


def real_log() -> bytes:
    return recording("codex_exec_text", "*/openhands_stderr.txt")


def log(*blocks: str) -> bytes:
    return (HEADER + "".join(f"{block}\n" for block in blocks)).encode()


@needs_traces
def test_the_counts_of_a_real_log_are_exact():
    """The documents beside it count nothing, so this is straight from the text."""
    text = real_log().decode()
    ends = re.findall(r"(?m) (succeeded|exited -?\d+) in [\d.]+m?s:$", text)
    patches = re.findall(r"(?m)^apply_patch\(.*\) exited 0 in", text)
    assert len(ends) == len(re.findall(r"(?m)^exec$", text)) + len(patches) == 36
    failed = [end for end in ends if end not in ("succeeded", "exited 0")]
    tokens = int(text.rsplit("tokens used\n", 1)[1].replace(",", ""))
    assert figures(ADAPTER, real_log()) == Figures(1, 1, len(ends), len(failed), tokens)
    assert (len(failed), tokens) == (2, 370_430)


@needs_traces
def test_a_real_log_has_ended_well_and_no_line_of_it_is_rejected():
    assert outcome_of(ADAPTER, real_log()) == "succeeded"
    assert read(ADAPTER, real_log())[1] == []


@needs_traces
@pytest.mark.parametrize("name", ["journal.json", "run_summary.json"])
def test_what_lies_beside_a_real_log_is_no_recording(name: str):
    (path,) = (TRACES / "codex_exec_text").glob(f"*/{name}")
    assert recognise(path.read_bytes(), whole=True) is None


def test_a_mission_is_titled_by_its_task_and_has_no_clock():
    assert payloads(ADAPTER, log(), "mission.created") == [
        {
            "title": "fix the lamp",
            "agent": "codex-cli",
            "model": "gpt-5",
            "version": "0.87.0",
            "labels": {"cwd": "/home/ada/lamp"},
            "clock": "ordinal",
        }
    ]


def test_a_log_is_another_mission_than_the_rollout_of_its_session():
    assert {entry.mission_id for entry in entries_of(ADAPTER, log())} == {"codex_exec_s1"}


def test_a_log_without_a_session_id_is_known_by_its_header():
    data = log().replace(b"session id: s1\n", b"")
    (mission,) = {entry.mission_id for entry in entries_of(ADAPTER, data)}
    assert mission == next(iter(entries_of(ADAPTER, data + b"codex\nhello\n"))).mission_id


@pytest.mark.parametrize(
    ("printed", "command", "exit_code", "duration_ms"),
    [
        ("bash -lc 'ls -a' in /home/ada/lamp succeeded in 6ms:", "ls -a", 0, 6),
        ("bash -lc ls in /home/ada/lamp succeeded in 6ms:", "ls", 0, 6),
        ('bash -lc "echo \\"hi\\"" in /home/ada/lamp exited 1 in 1.88s:', 'echo "hi"', 1, 1_880),
        ("bash -lc 'cat x in y' in /home/ada/lamp exited 127 in 2m 03s:", "cat x in y", 127, 123_000),
        ("bash -lc 'a\nb' in /home/ada/lamp exited -1 in 5ms:", "a\nb", -1, 5),
        ("git status in /home/ada/lamp succeeded in 6ms:", "git status", 0, 6),
    ],
)
def test_a_command_is_told_with_its_exit_code_and_duration(
    printed: str, command: str, exit_code: int, duration_ms: int
):
    (told,) = payloads(ADAPTER, log("exec", printed, "output"), "exec.command")
    assert (told["command"], told["exit_code"], told["duration_ms"]) == (command, exit_code, duration_ms)


def test_a_command_that_never_ended_is_a_start():
    data = log("exec", "bash -lc 'sleep 99' in /home/ada/lamp")
    assert [step.tool for step in steps_of(ADAPTER, data, COMMAND_START)] == ["sleep 99"]


def test_a_command_that_ended_at_last_is_one_call():
    begun = log("exec", "bash -lc 'sleep 9' in /home/ada/lamp")
    ended = log("exec", "bash -lc 'sleep 9' in /home/ada/lamp succeeded in 9.00s:")
    (start,) = [entry.id for entry in entries_of(ADAPTER, begun) if entry.entry_type == "exec.command"]
    (end,) = [entry.id for entry in entries_of(ADAPTER, ended) if entry.entry_type == "exec.command"]
    assert start == end


def test_what_a_command_printed_is_not_read_as_blocks_of_commands():
    data = log(
        "exec", "bash -lc 'man exec' in /home/ada/lamp succeeded in 6ms:", "exec", "replaces the shell"
    )
    assert len(steps_of(ADAPTER, data, COMMAND, COMMAND_START)) == 1


def test_patches_and_tools_of_servers_are_calls_too():
    data = log(
        "file update",
        "M lamp.py",
        "apply_patch(auto_approved=true) exited 1 in 5ms:",
        'tool tides.lookup({"day":"monday"})',
        'tides.lookup({"day":"monday"}) failed in 12ms:',
        "file update:",
        "diff --git a/lamp.py b/lamp.py",
    )
    steps = steps_of(ADAPTER, data, COMMAND)
    assert [(step.tool, step.success) for step in steps] == [("apply_patch", False), ("tides.lookup", False)]


def test_the_sum_of_tokens_is_one_model_call():
    (step,) = steps_of(ADAPTER, log("codex", "done", "tokens used", "12,345"), MODEL_CALL)
    assert (step.tool, step.tokens, step.input_tokens) == ("gpt-5", 12_345, None)


def test_a_log_that_goes_on_after_its_sum_takes_back_that_it_ended():
    ended = log("codex", "done", "tokens used", "12")
    assert outcome_of(ADAPTER, ended) == "succeeded"
    assert payloads(ADAPTER, ended + b"user\nmore\n", "mission.outcome") == [{"origin": "agent"}]


def test_an_interrupted_task_was_aborted():
    data = log("task interrupted")
    assert outcome_of(ADAPTER, data) == "aborted"
    assert payloads(ADAPTER, data, "mission.status_change") == [{"to_status": "interrupted"}]


def test_a_log_that_stops_within_its_work_has_no_outcome():
    assert payloads(ADAPTER, log("codex", "I will look"), "mission.outcome") == []


def test_a_very_long_line_takes_no_long_time():
    line = "bash -lc '" + "x in y exited succeeded in " * 40_000
    assert read(ADAPTER, log("exec", line, f"{line}' in /home/ada succeeded in 6ms:"))[1] == []


def test_what_a_command_printed_is_kept_up_to_the_next_block():
    data = log(
        "exec",
        "bash -lc 'cat lamp.py' in /home/ada succeeded in 6ms:",
        "import day",
        "",
        "lamp = 1",
        "",
        "file update",
        "M lamp.py",
        "apply_patch(auto_approved=true) exited 1 in 5ms:",
        "no such lines",
        'tides.lookup({"day":"monday"}) success in 12ms:',
        "low water",
        "exec",
        "bash -lc 'cat big' in /home/ada exited 3 in 6ms:",
        *["y" * 100] * 100,
    )
    told = [
        (end["command"], end["output"][:20], end.get("error"))
        for end in payloads(ADAPTER, data, "exec.command")
    ]
    assert told == [
        ("cat lamp.py", "import day\n\nlamp = 1", None),
        ("apply_patch", "no such lines", "no such lines"),
        ("tides.lookup", "low water", None),
        ("cat big", "y" * 20, "y" * 100 + " " + "y" * 98 + "…"),
    ]
    last = payloads(ADAPTER, data, "exec.command")[-1]
    assert (len(last["output"]), len(last["output_digest"])) == (2_000, 16)
