"""What detectors are told beside the recording, and what they say where they lack it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from transcripts import call, model, said, told

from quartermaster.core.assessment import Assessor
from quartermaster.core.catalogue import context_window
from quartermaster.core.failure_modes import Context, Evidence, find_failure_modes, unknown_in
from quartermaster.core.pricing import OwnPrices, PriceBook
from quartermaster.core.transcript import transcript_of
from quartermaster.examine import look
from quartermaster.store import access, examinations, journal, missions
from quartermaster.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "quartermaster.db") as database:
        database.write_blocking(
            lambda c: access.create_workspace(c, "local", workspace_id="local", name="local", now=1)
        )
        yield database


def add(database: Database, name: str, minute: int, *, cost: float, variant: str = "v1") -> None:
    entries = [
        {"entry_type": "mission.created", "payload": {"task": "pay", "variant": variant}},
        {"entry_type": "llm.call", "payload": {"model": "m", "input_tokens": 10, "cost_usd": cost}},
        {"entry_type": "mission.outcome", "payload": {"outcome": "succeeded", "origin": "verifier"}},
    ]
    facts = [
        {"id": f"{name}-{n}", "mission_id": name, "ts": f"2026-01-01T00:{minute:02d}:{n:02d}Z"} | one
        for n, one in enumerate(entries)
    ]
    database.write_blocking(lambda c: journal.append_facts(c, 1, facts, now=1))


def seen(database: Database, name: str):
    """What is known of a mission, remembered for the next look."""
    price = PriceBook(OwnPrices())

    def query(connection):
        mission = missions.find_mission(connection, 1, name)
        return look(connection, 1, mission, Assessor({}, 0, price).result(), price=price, rules=1)

    found = database.read_blocking(query)
    if found.fresh is not None:
        database.write_blocking(lambda c: examinations.keep(c, [found.fresh]))
    return found


def overruns(found):
    return [one for one in found.examination.findings if one.detector == "D09"]


def test_a_mission_is_held_against_what_earlier_runs_of_its_task_cost(database):
    for run in range(5):
        add(database, f"usual-{run}", run, cost=0.1)
    add(database, "dear", 30, cost=0.9)
    add(database, "other", 31, cost=0.9, variant="v2")
    (overrun,) = overruns(seen(database, "dear"))
    assert overrun.evidence["earlier_runs"] == 5
    assert overrun.evidence["median"] == 10**11
    assert overruns(seen(database, "other")) == []
    assert overruns(seen(database, "usual-4")) == []


def test_earlier_runs_that_arrive_later_are_taken_into_account(database):
    add(database, "dear", 30, cost=0.9)
    assert overruns(seen(database, "dear")) == []
    assert seen(database, "dear").fresh is None
    for run in range(5):
        add(database, f"usual-{run}", run, cost=0.1)
    assert len(overruns(seen(database, "dear"))) == 1
    assert seen(database, "dear").fresh is None


def test_the_catalogue_knows_how_much_a_model_takes():
    assert context_window("gpt-4o") == 128_000
    assert context_window("no-such-model") is None
    calls = [model("gpt-4o", input_tokens=tokens) for tokens in (1_000, 120_000)]
    (full,) = find_failure_modes(
        told(*calls), Context(context_window=context_window), names=("context_runaway",)
    )
    assert full.evidence["window"] == 128_000


def test_a_call_larger_than_the_listed_window_shows_that_the_model_has_another():
    calls = [model("gpt-4o", input_tokens=tokens) for tokens in (120_000, 300_000)]
    known = Context(context_window=context_window)
    assert find_failure_modes(told(*calls), known, names=("context_runaway",)) == ()


def test_what_a_recording_declares_is_what_its_detectors_go_by():
    lines = [
        b'{"id":"a","mission_id":"m","ts":"2026-01-01T00:00:00Z","entry_type":"mission.created","payload":'
        b'{"tools":["pay","read"],"tool_schemas":{"pay":{"required":["order"]}},"required_tools":["verify"],'
        b'"agent_tools":{"reader":["read"],"payer":["pay"]},"budgets":{"steps":1,"cost_usd":-1,"x":2}}}',
        b'{"id":"b","mission_id":"m","ts":"2026-01-01T00:00:01Z","entry_type":"exec.command",'
        b'"agent_id":"reader","payload":{"tool":"pay","arguments":{"sum":1},"exit_code":0}}',
        b'{"id":"c","mission_id":"m","ts":"2026-01-01T00:00:02Z","entry_type":"exec.command",'
        b'"agent_id":"payer","payload":{"tool":"read","arguments":{"page":1},"exit_code":0}}',
    ]
    mission = transcript_of(lines)
    assert mission.budgets == {"steps": 1.0}
    found = {one.detector: one for one in find_failure_modes(mission)}
    assert found["D17"].evidence["faults"] == ["order is missing"]
    assert found["D20"].agent in ("reader", "payer")
    assert found["D09"].evidence["budget"] == "steps"
    assert not {"D09", "D17", "D20"} & unknown_in(Evidence(mission, Context())).keys()


def test_a_detector_that_lacks_what_it_needs_says_what():
    team = told(
        model("mystery", agent="a", input_tokens=5),
        *[call("read", {"path": "x"}, succeeded=None, agent="b")] * 3,
        said("Done."),
    )
    unknown = unknown_in(Evidence(team, Context(context_window=context_window)))
    assert unknown == {
        "D09": "no budget is set, and the cost of this run and of five earlier ones of its task is not known",
        "D10": "the context window of mystery is not known",
        "D17": "in part: the recording does not hold which tools there are and schemas of their arguments",
        "D20": "the recording does not say which tools each of its 2 agents may use",
        "D22": "the recording holds no result of any of its 3 calls",
    }
    assert "orphan" not in {one.name for one in find_failure_modes(team)}
