"""Runs of LangSmith: there is no recording of its makers, so this holds what its documentation says."""

import json
from typing import Any

import pytest
from told import SAMPLES, Counts, Told

from quartermaster.adapters.langsmith import ADAPTER
from quartermaster.core.trajectory import MODEL_CALL


def run(key: str, kind: str = "llm", parent: str | None = "t", **more: Any) -> dict[str, Any]:
    times = {"start_time": "2026-01-01T10:00:00.000000", "end_time": "2026-01-01T10:00:02.500000"}
    about = {"id": key, "trace_id": "t", "parent_run_id": parent, "run_type": kind, "name": key}
    return about | times | {"status": "success", "error": None} | more


def root(**more: Any) -> dict[str, Any]:
    return run("t", "chain", None, **more)


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "langsmith" / "flock_runs.json").read_bytes())
    assert told.counts == Counts(1, 2, 2, 1, 1_353)
    assert told.cost == pytest.approx(0.00046)
    assert told.tools == [("count_births", False), ("count_births", True)]
    assert told.outcomes == [("succeeded", "agent")]
    assert len(told.payloads("span.model")) == 1
    assert told.payloads("mission.created") == [
        {
            "title": "How many lambs were born this week?",
            "goal": "How many lambs were born this week?",
            "task": "langsmith/5a5f0d7c-1111-4222-8333-944455566677",
            "agent": "flock_agent",
            "model": "gpt-4.1-mini-2025-04-14",
            "version": "v18",
            "labels": {"session": "farm-3", "scores": {"correct": {"value": 1.0, "origin": "feedback"}}},
        }
    ]


def test_a_list_an_answer_lines_and_a_tree_tell_the_same():
    runs = [root(), run("m", prompt_tokens=5), run("l", "tool", "m")]
    listed = Told(ADAPTER, runs).raw
    assert Told(ADAPTER, {"runs": runs, "cursors": {"next": None}}).raw == listed
    assert Told(ADAPTER, b"\n".join(json.dumps(one).encode() for one in runs)).raw == listed
    inner = {name: value for name, value in runs[2].items() if name not in ("trace_id", "parent_run_id")}
    tree = runs[0] | {"child_runs": [runs[1] | {"child_runs": [inner]}]}
    assert Told(ADAPTER, tree).raw == listed


def test_each_trace_is_a_mission():
    told = Told(ADAPTER, [root(), run("u", "chain", None, trace_id="u"), run("m", parent="u", trace_id="u")])
    assert told.missions == ["langsmith_t", "langsmith_u"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            {"prompt_tokens": 10, "completion_tokens": 2, "prompt_token_details": {"cache_read": 4}},
            (6, 2, 4, 12),
        ),
        (
            {
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "outputs": {
                    "usage_metadata": {
                        "input_tokens": 10,
                        "output_tokens": 2,
                        "input_token_details": {"cache_read": 4},
                    }
                },
            },
            (6, 2, 4, 12),
        ),
        ({}, (None, None, None, None)),
    ],
)
def test_tokens_of_a_model_run(more: dict[str, Any], expected: tuple[Any, ...]):
    (step,) = Told(ADAPTER, [root(), run("m", **more)]).of_kind(MODEL_CALL)
    assert (step.input_tokens, step.output_tokens, step.cache_read_tokens, step.tokens) == expected


@pytest.mark.parametrize(
    ("cost", "told"),
    [("0.0125", 0.0125), (0.0125, 0.0125), ("0", None), (None, None), ("much", None), ("nan", None)],
)
def test_costs_are_numbers_or_texts(cost: Any, told: float | None):
    assert Told(ADAPTER, [root(), run("m", total_cost=cost)]).cost == told


def test_times_may_be_milliseconds():
    times = {"start_time": 1_767_261_600_000, "end_time": 1_767_261_602_500}
    (step,) = Told(ADAPTER, [root(**times), run("m", **times)]).of_kind(MODEL_CALL)
    assert (step.instant // 10**9, step.duration_ms) == (1_767_261_600, 2_500)


@pytest.mark.parametrize(
    ("more", "outcomes"),
    [
        ({}, [("succeeded", "agent")]),
        ({"status": "error"}, [("failed", "agent")]),
        ({"error": "boom"}, [("failed", "agent")]),
        ({"status": "pending", "end_time": None}, []),
    ],
)
def test_how_a_trace_ended_is_how_its_root_ended(more: dict[str, Any], outcomes: list[tuple[str, str]]):
    assert Told(ADAPTER, [root(**more), run("l", "tool", error="no")]).outcomes == outcomes


def test_a_part_of_a_trace_says_nothing_of_its_end():
    assert Told(ADAPTER, [run("m")]).outcomes == []


def test_a_malformed_run_costs_itself():
    told = Told(ADAPTER, [root(), 17, run("m"), {"run_type": "llm"}])
    assert told.counts.model_calls == 1
    assert len(told.rejected) == 1
    lines = b"\n".join([json.dumps(root()).encode(), b"{broken", json.dumps(run("m")).encode()])
    told = Told(ADAPTER, lines)
    assert told.counts.model_calls == 1
    assert len(told.rejected) == 1


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        (json.dumps([root()]).encode(), True),
        (json.dumps({"runs": [root()]}).encode(), True),
        (json.dumps(root()).encode() + b"\n{", True),
        (b'[{"id": "a", "run_type": "llm"}]', False),
        (b'{"runs": 5}', False),
        (b'{"id": "a", "trace_id": "b"}', False),
    ],
)
def test_what_is_recognised(head: bytes, recognised: bool):
    assert ADAPTER.recognises(head, whole=False) is recognised


def test_a_run_that_a_later_export_shows_to_be_around_the_call_stays_one_entry():
    around, inside = run("m"), run("i", parent="m")
    first = {entry.id: entry.entry_type for entry in Told(ADAPTER, [root(), around]).entries}
    later = {entry.id: entry.entry_type for entry in Told(ADAPTER, [root(), around, inside]).entries}
    changed = [(first[key], later[key]) for key in first if later[key] != first[key]]
    assert first.keys() <= later.keys()
    assert changed == [("llm.call", "span.model")]
