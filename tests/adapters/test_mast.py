"""MAST records: one mission each, with the modes of failure that people found as labels."""

import json
import re
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.mast import ADAPTER
from quartermaster.core.journal import format_instant

SETS = TRACES / "mast"
needs_traces = pytest.mark.skipif(not SETS.is_dir(), reason=NO_TRACES)

# Records and model calls. The label file beside them (`judge_and_gold__16.json`) holds no run.
DOCUMENTED = {
    "mad_human_sample.json": (4, 5 + 2 + 5 + 5),
    "raw_ag2_records.json": (8, 35),
    "raw_ag2_records_batch3.json": (8, 42),
}
# Modes that all three people marked, by the record's place in the human-labelled sample.
UNANIMOUS = [
    {"1.5", "3.3"},
    {"3.3"},
    {"1.2", "1.5", "2.2", "2.4", "2.5", "2.6", "3.4", "4.3", "4.2"},
    {"3.3"},
]


def recorded(name: str) -> bytes:
    return (SETS / name).read_bytes()


def record(trace: Any, **more: Any) -> dict[str, Any]:
    text = trace if isinstance(trace, str) else json.dumps(trace)
    return {"mas_name": "AG2", "benchmark_name": "Words", "round": "1", "trace_id": 7, "trace": text} | more


def talk(*messages: tuple[str, Any], **more: Any) -> dict[str, Any]:
    said = [{"content": text, "role": "user", "name": name} for name, text in messages]
    return {"trajectory": said} | more


def model_calls_of(trace: str) -> int:
    """Messages of agents: all but the first and those of a proxy; in logs, whatever no human wrote."""
    if not trace.startswith("{"):
        return len(re.findall(r"(?m)^\[.*\] NEW MESSAGES:$", trace))
    value = json.loads(trace)
    if "trajectory" not in value:
        return len(re.findall(r"(?m)\| INFO .*: to do ", value["content"]))
    return sum("proxy" not in message["name"] for message in value["trajectory"][1:])


@needs_traces
def test_every_recording_is_documented_here():
    assert {path.name for path in SETS.glob("*.json")} == {*DOCUMENTED, "judge_and_gold__16.json"}


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_real_records_are_exact(name: str):
    records = json.loads(recorded(name))
    calls = sum(model_calls_of(record["trace"]) for record in records)
    told = Told(ADAPTER, recorded(name))
    assert told.counts == Counts(len(records), calls, 0, 0, 0)
    assert (len(records), calls) == DOCUMENTED[name]
    assert not told.rejected


@needs_traces
def test_the_modes_that_all_people_marked_are_told_with_their_votes():
    created = Told(ADAPTER, recorded("mad_human_sample.json")).payloads("mission.created")
    marked = [
        {mode.split()[0] for mode, votes in one["labels"]["failure_modes"].items() if votes == 3}
        for one in created
    ]
    assert marked == UNANIMOUS
    assert {one["labels"]["origin"] for one in created} == {"human"}
    assert created[3]["labels"]["failure_modes"]["1.1 Disobey Task Specification"] == 2


@needs_traces
def test_the_verdict_and_the_cost_that_a_real_trace_holds_are_told():
    told = Told(ADAPTER, recorded("mad_human_sample.json"))
    assert told.outcomes == [("succeeded", "verifier"), ("failed", "verifier")]
    assert told.cost == pytest.approx(0.039)


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "mast" / "wordlets_planets.json").read_bytes())
    assert told.counts == Counts(2, 3 + 2, 0, 0, 0)
    words, planets = told.payloads("mission.created")
    assert words == {
        "title": "Write a function that counts the vowels of a word, and test it.",
        "goal": "Write a function that counts the vowels of a word, and test it.",
        "task": "mast/AG2/Wordlets/3",
        "agent": "AG2",
        "labels": {
            "benchmark": "Wordlets",
            "round": "Round 3",
            "annotators": 3,
            "failure_modes": {"3.2 No or incomplete verification": 3, "3.1 Premature termination": 1},
            "origin": "human",
        },
        "clock": "ordinal",
    }
    assert (planets["title"], planets["clock"]) == ("Which planet is the third from the sun?", "local")
    assert told.outcomes == [("failed", "verifier")]


def test_the_times_of_a_log_are_kept():
    told = Told(ADAPTER, (SAMPLES / "mast" / "wordlets_planets.json").read_bytes())
    times = [
        format_instant(entry.instant)
        for entry in told.entries
        if entry.mission_id == told.missions[1] and entry.entry_type == "llm.call"
    ]
    assert times == ["2026-03-05T09:00:07Z", "2026-03-05T09:00:15Z"]


def test_both_layouts_of_a_log_name_their_speakers():
    acted = "2026-03-05 09:00:00.5 | INFO     | roles:_act:1 - Ada(Coder): to do Write(Write)\nx = 1\n"
    told = Told(
        ADAPTER, [record({"prompt": "Write x.", "content": acted + acted.replace("Ada", "Bo"), "cost": 0.5})]
    )
    assert [call["agent"] for call in told.payloads("llm.call")] == ["Ada", "Bo"]
    assert [call["cost_usd"] for call in told.payloads("llm.call")] == [0.0, 0.5]
    assert [said["text"] for said in told.payloads("message.assistant")] == ["x = 1", "x = 1"]


def test_a_message_may_be_a_list_of_its_lines():
    told = Told(ADAPTER, [record(talk(("A", "task"), ("B", ["one", "two"])))])
    assert [said["text"] for said in told.payloads("message.assistant")] == ["one\ntwo"]


@pytest.mark.parametrize(
    "bad",
    [record("just words"), record(17), record({"trajectory": []}), {"mas_name": "AG2", "trace": None}, 17],
)
def test_a_record_that_cannot_be_read_costs_that_record(bad: Any):
    told = Told(ADAPTER, [record(talk(("A", "a"), ("B", "b"))), bad])
    assert (len(told.missions), len(told.rejected)) == (1, 1)


def test_two_records_of_one_number_with_other_traces_are_two_missions():
    told = Told(ADAPTER, [record(talk(("A", "a"))), record(talk(("A", "b")))])
    assert len(told.missions) == 2


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        ([record("a")], True),
        ([{"report": {}, "gold": {"mas_name": "AG2"}}], False),
        (record("a"), False),
    ],
)
def test_what_is_recognised(head: Any, recognised: bool):
    assert ADAPTER.recognises(json.dumps(head).encode(), whole=True) is recognised
