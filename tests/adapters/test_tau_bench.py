"""tau-bench results: one mission per record, with task, trial and reward."""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from quartermaster.adapters import Record, RejectedLine, tau_bench
from quartermaster.core.journal import JournalEntry, read_entry
from quartermaster.core.trajectory import COMMAND_END, COMMAND_START, MODEL_CALL, step_of

PROJECT = Path(__file__).resolve().parents[2]
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES", PROJECT.parent / "shared" / "traces"))
RESULTS = TRACES / "tau_bench"
SAMPLE = PROJECT / "data" / "samples" / "tau_bench" / "bookshop_retail.json"

# records, of these solved, of these died
DOCUMENTED = {
    "gpt-4o-airline__tasks00-24.json": (100, 31, 0),
    "retail_toolcalling__tasks00-39.json": (40, 28, 0),
    "retail_assertions_0618__tasks00-39.json": (40, 13, 10),
    "retail_precond_python__one_task.json": (1, 0, 0),
}
needs_traces = pytest.mark.skipif(
    not RESULTS.is_dir(), reason="no development traces beside the project; set QUARTERMASTER_TRACES"
)


def read(document: bytes) -> tuple[list[Record], list[RejectedLine]]:
    outputs = list(tau_bench.ADAPTER.read_document(document))
    records = [output for output in outputs if isinstance(output, Record)]
    return records, [output for output in outputs if isinstance(output, RejectedLine)]


def entries_of(document: bytes) -> list[JournalEntry]:
    return [read_entry(record.raw) for record in read(document)[0]]


def payloads(document: bytes, entry_type: str) -> list[dict[str, Any]]:
    entries = [json.loads(record.raw) for record in read(document)[0]]
    return [entry.get("payload", {}) for entry in entries if entry["entry_type"] == entry_type]


def missions_of(document: bytes) -> list[str]:
    created = [entry for entry in entries_of(document) if entry.entry_type == "mission.created"]
    return [entry.mission_id or "" for entry in created]


def record(
    task_id: Any = 3, trial: Any = 1, reward: Any = 1.0, traj: Any = (), **info: Any
) -> dict[str, Any]:
    task = {"instruction": "Return the atlas.", "actions": [{"name": "get_order_details", "kwargs": {}}]}
    messages = list(traj) if isinstance(traj, tuple) else traj
    return {
        "task_id": task_id,
        "trial": trial,
        "reward": reward,
        "info": {"task": task} | info,
        "traj": messages,
    }


def calls(*named: tuple[str, Any], ids: bool = True) -> dict[str, Any]:
    made = [{"function": {"name": name, "arguments": arguments}} for name, arguments in named]
    if ids:
        made = [call | {"id": f"c{index}"} for index, call in enumerate(made)]
    return {"role": "assistant", "content": None, "tool_calls": made}


def told(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


def document(*records: Any) -> bytes:
    return json.dumps(list(records)).encode()


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_real_results_are_exact(name: str):
    data = (RESULTS / name).read_bytes()
    records = json.loads(data)
    count, solved, died = DOCUMENTED[name]
    assert len(set(missions_of(data))) == count == len(records)
    outcomes = payloads(data, "mission.outcome")
    assert Counter(payload["outcome"] for payload in outcomes)["succeeded"] == solved
    assert sum(payload["origin"] == "harness" for payload in outcomes) == died
    assert [payload["reward"] for payload in outcomes] == [record["reward"] for record in records]
    steps = Counter(step.kind for entry in entries_of(data) if (step := step_of(entry)))
    messages = [message for record in records for message in record["traj"]]
    assert steps[MODEL_CALL] == sum(message["role"] == "assistant" for message in messages)
    assert steps[COMMAND_START] == sum(len(message.get("tool_calls") or ()) for message in messages)
    assert steps[COMMAND_END] == sum(message["role"] == "tool" for message in messages)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_failed_tools_of_real_results_are_those_whose_result_is_an_error(name: str):
    data = (RESULTS / name).read_bytes()
    messages = [message for record in json.loads(data) for message in record["traj"]]
    errors = sum(
        bool(re.match(r'(# var_\d+ = ")?Error', m["content"])) for m in messages if m["role"] == "tool"
    )
    failed = [payload for payload in payloads(data, "exec.command") if payload.get("exit_code") == 1]
    assert len(failed) == errors


@needs_traces
def test_tasks_and_trials_of_real_results():
    airline = payloads((RESULTS / "gpt-4o-airline__tasks00-24.json").read_bytes(), "mission.created")
    assert Counter(payload["trial"] for payload in airline) == {0: 25, 1: 25, 2: 25, 3: 25}
    assert {payload["task"] for payload in airline} == {f"tau_bench/airline/{task}" for task in range(25)}
    retail = payloads((RESULTS / "retail_toolcalling__tasks00-39.json").read_bytes(), "mission.created")
    assert {payload["trial"] for payload in retail} == {0}
    assert {payload["task"] for payload in retail} == {f"tau_bench/retail/{task}" for task in range(40)}


@needs_traces
def test_the_same_task_of_two_agents_is_two_missions():
    one = missions_of((RESULTS / "retail_toolcalling__tasks00-39.json").read_bytes())
    other = missions_of((RESULTS / "retail_assertions_0618__tasks00-39.json").read_bytes())
    assert set(one).isdisjoint(other)


def test_the_sample_holds_two_trials_of_two_tasks():
    created = payloads(SAMPLE.read_bytes(), "mission.created")
    assert Counter((payload["task"], payload["trial"]) for payload in created) == {
        ("tau_bench/retail/0", 0): 1,
        ("tau_bench/retail/0", 1): 1,
        ("tau_bench/retail/1", 0): 1,
        ("tau_bench/retail/1", 1): 1,
    }


def test_a_copy_with_other_white_space_and_a_file_that_grew_hold_the_same_missions():
    first, second = record(1), record(2)
    spread = json.dumps([first], indent=4, sort_keys=True).encode()
    assert missions_of(spread) == missions_of(document(first))
    assert missions_of(document(first, second))[0] == missions_of(document(first))[0]


def test_a_mission_says_what_was_asked_and_that_its_clock_is_no_clock():
    (created,) = payloads(document(record(user_cost=0.01, source="user")), "mission.created")
    assert created == {
        "title": "Return the atlas.",
        "goal": "Return the atlas.",
        "task": "tau_bench/retail/3",
        "trial": 1,
        "labels": {"expected_actions": 1, "user_cost": 0.01, "source": "user"},
        "clock": "ordinal",
    }


def test_a_whole_number_as_user_cost_is_no_money():
    (created,) = payloads(document(record(user_cost=972)), "mission.created")
    assert "user_cost" not in created["labels"]


def test_trials_that_only_repeat_the_task_id_are_all_the_first():
    created = payloads(document(record(1, 1), record(2, 2)), "mission.created")
    assert [payload["trial"] for payload in created] == [0, 0]


def test_without_a_word_of_its_domain_a_task_is_only_numbered():
    (created,) = payloads(
        document({"task_id": 5, "reward": 0, "trial": 0, "info": {}, "traj": []}), "mission.created"
    )
    assert created["task"] == "tau_bench/5"


def test_the_verifier_decides_the_outcome():
    solved, failed = document(record(reward=1)), document(record(reward=0.5))
    assert payloads(solved, "mission.outcome") == [
        {"outcome": "succeeded", "reward": 1.0, "origin": "verifier"}
    ]
    assert payloads(solved, "mission.status_change") == [{"to_status": "completed"}]
    assert payloads(failed, "mission.outcome")[0]["outcome"] == "failed"
    assert payloads(failed, "mission.status_change") == [{"to_status": "failed"}]


def test_a_run_that_died_has_no_steps_and_failed_by_the_harness():
    data = document(record(reward=0.0, error="rate limit", traceback="..."))
    types = [entry.entry_type for entry in entries_of(data)]
    assert types == ["mission.created", "run.failed", "mission.outcome"]
    assert payloads(data, "mission.outcome")[0]["origin"] == "harness"
    assert not any(step_of(entry) for entry in entries_of(data))


def test_model_calls_say_nothing_that_the_recording_does_not():
    data = document(record(traj=({"role": "assistant", "content": "Hello"},)))
    (step,) = [step for entry in entries_of(data) if (step := step_of(entry)) and step.kind == MODEL_CALL]
    assert (step.tool, step.tokens, step.cost, step.duration_ms) == (None, None, None, None)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ('{"a": 1}', {"a": 1}),
        ("{'a': 1, 'b': None}", {"a": 1, "b": None}),
        ("{'a': (1, 2), 3: {4}}", {"a": [1, 2], "3": [4]}),
        ("{'a': 1j}", "{'a': 1j}"),
        (r"{'a': '\ud83d'}", r"{'a': '\ud83d'}"),
        ("-" * 5_000 + "1", ("-" * 399) + "…"),
        ("no structure", "no structure"),
        ("__import__('os')", "__import__('os')"),
        ({"a": 1}, {"a": 1}),
        ("(" * 5_000, ("(" * 399) + "…"),
    ],
)
def test_arguments_are_read_however_they_are_written(written: Any, read_as: Any):
    (start,) = payloads(document(record(traj=(calls(("lookup", written)),))), "exec.command")
    assert start["arguments"] == read_as


@pytest.mark.parametrize(
    ("content", "exit_code"),
    [
        ("Error: user not found", 1),
        ('# var_6 = "Error: user not found"', 1),
        ("No Error here", 0),
        ('{"note": "Error"}', 0),
        ("", 0),
        (13.46, 0),
    ],
)
def test_a_tool_failed_when_its_result_is_an_error(content: Any, exit_code: int):
    _, end = payloads(document(record(traj=(calls(("lookup", "{}")), told(content)))), "exec.command")
    assert end["exit_code"] == exit_code


def test_results_answer_by_id_and_without_one_in_order():
    by_id = record(
        traj=(calls(("a", "{}"), ("b", "{}")), told("1", tool_call_id="c1"), told("2", tool_call_id="c0"))
    )
    assert [payload["command"] for payload in payloads(document(by_id), "exec.command")] == [
        "a",
        "b",
        "b",
        "a",
    ]
    in_order = record(traj=(calls(("a", "{}"), ("b", "{}"), ids=False), told("1"), told("2")))
    assert [payload["command"] for payload in payloads(document(in_order), "exec.command")] == [
        "a",
        "b",
        "a",
        "b",
    ]


def test_the_order_of_the_conversation_is_the_order_of_time():
    data = SAMPLE.read_bytes()
    for mission in missions_of(data):
        instants = [entry.instant for entry in entries_of(data) if entry.mission_id == mission]
        assert instants == sorted(set(instants))


@pytest.mark.parametrize(
    "bad",
    [
        17,
        record(reward=None),
        record(reward="1.0"),
        record(reward=True),
        record(task_id=None),
        record(traj="none"),
        record(traj=("hello",)),
        record(traj=({"role": "assistant", "tool_calls": ["x"]},)),
        record(traj=({"role": "assistant", "tool_calls": [{"function": {"name": 5}}]},)),
        {"task_id": 1},
    ],
)
def test_a_malformed_record_costs_that_record(bad: Any):
    good = record(1)
    data = document(good, bad, record(2))
    _, rejected = read(data)
    assert len(missions_of(data)) == 2
    (line,) = rejected
    assert json.loads(data[line.offset : line.offset + line.length]) == bad


def test_a_cut_off_file_gives_the_complete_records_and_one_rejected_rest():
    data = document(record(1), record(2))
    whole = missions_of(data)
    records, rejected = read(data[:-30])
    assert {read_entry(kept.raw).mission_id for kept in records} == {whole[0]}
    assert [line.reason for line in rejected] == ["the document ends too early"]
