"""What the entries of every format keep of arguments, answers and declarations."""

import json
from typing import Any

import pytest

from quartermaster.adapters._entries import (
    Mission,
    arguments_beside,
    declared_tools,
    kept_arguments,
    kept_output,
    output_text,
)
from quartermaster.adapters._story import Story

LONG = "line of a file\n" * 400


def payloads(story: Story, entry_type: str) -> list[dict[str, Any]]:
    entries = [json.loads(raw) for raw in story.entries]
    return [entry["payload"] for entry in entries if entry["entry_type"] == entry_type]


def test_short_arguments_are_kept_as_they_are_and_need_no_digest():
    assert kept_arguments({"path": "a.py", "lines": [1, 2.5, None]}) == {
        "arguments": {"path": "a.py", "lines": [1, 2.5, None]}
    }
    assert kept_arguments(None) == {}


def test_a_change_behind_the_cut_of_an_argument_is_seen():
    one, other = kept_arguments({"text": LONG + "a"}), kept_arguments({"text": LONG + "b"})
    assert one["arguments"] == other["arguments"] != {"text": LONG + "a"}
    assert one["arguments_digest"] != other["arguments_digest"]
    assert len(one["arguments_digest"]) == 16


def test_the_digest_of_arguments_does_not_hang_on_their_order():
    one = kept_arguments({"text": LONG, "path": "a.py"})
    assert one["arguments_digest"] == kept_arguments({"path": "a.py", "text": LONG})["arguments_digest"]


def test_arguments_that_are_nested_without_end_are_cut():
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    assert "arguments" in kept_arguments({"deep": deep})


def test_a_change_behind_the_cut_of_an_output_is_seen():
    one, other = kept_output(LONG + "a" + LONG), kept_output(LONG + "b" + LONG)
    assert len(one["output"]) == 2_000
    assert one["output"] == other["output"]
    assert one["output_digest"] != other["output_digest"]


def test_an_output_that_is_kept_whole_needs_no_digest():
    assert kept_output("") == {"output": ""}
    assert kept_output("x" * 2_000) == {"output": "x" * 2_000}
    assert kept_output(None) == {}


def test_a_shell_keeps_what_stands_beside_its_command_line():
    assert arguments_beside("ls", {"command": "ls", "timeout": 5}) == {"arguments": {"timeout": 5}}
    assert arguments_beside("ls", {"command": "ls"}) == {}
    one, other = (arguments_beside(line, {"command": line}) for line in (LONG + "a", LONG + "b"))
    assert one.keys() == {"arguments_digest"}
    assert one != other


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, None),
        ("plain", "plain"),
        ([], "[]"),
        (["one", "two"], "one\ntwo"),
        ([{"type": "text", "text": "one"}, {"type": "image", "data": "x"}], "one"),
        ([{"title": "a", "text": "b"}], '[{"title":"a","text":"b"}]'),
        ({"rows": 3}, '{"rows":3}'),
        (7, "7"),
        (False, "false"),
    ],
)
def test_whatever_a_tool_answered_becomes_a_text(answer: Any, text: str | None):
    assert output_text(answer) == text


@pytest.mark.parametrize(
    ("declared", "names"),
    [
        (["a", "b", "a"], ["a", "b"]),
        ([{"type": "function", "function": {"name": "a"}}, {"name": "b"}], ["a", "b"]),
        ([{"function_declarations": [{"name": "a"}, {"name": "b"}]}], ["a", "b"]),
        ([None, 1, {}, {"name": 1}, {"function": []}, ""], None),
        ({"name": "a"}, None),
        ([f"t{number}" for number in range(300)], [f"t{number}" for number in range(200)]),
    ],
)
def test_declared_tools_are_told_by_their_names(declared: Any, names: list[str] | None):
    assert declared_tools(declared) == names


def test_what_a_failed_call_answered_is_kept_beside_its_error():
    story = Story(Mission("made_up", "m"))
    story.begin("c", "bash", {"command": "make"})
    story.end("c", exit_code=2, error="no rule\nto make", output="no rule\nto make")
    end = payloads(story, "exec.command")[1]
    assert (end["error"], end["output"], end["exit_code"]) == ("no rule to make", "no rule\nto make", 2)


def test_a_final_answer_that_was_said_already_is_not_said_again():
    story = Story(Mission("made_up", "m"))
    story.said(False, "It is done.", "1", agent="mason")
    story.concluded("It is done.\n")
    story.concluded(None)
    story.concluded("All of it.", agent="mason")
    said = payloads(story, "message.assistant")
    assert said == [{"text": "It is done.", "agent": "mason"}, {"text": "All of it.", "agent": "mason"}]
