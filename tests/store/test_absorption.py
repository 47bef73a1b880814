"""A trace that turns out to be a part of a conversation: its entries move there, whole and once."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quartermaster.ingest import ingest_paths
from quartermaster.store import access, journal, missions
from quartermaster.store.database import Database
from quartermaster.store.journal import Appended, JournalFilter

TRACE, TALK = "otel_" + "a" * 32, "otel_talk"
SECOND = 10**9


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "quartermaster.db") as opened:
        opened.write_blocking(lambda c: access.create_workspace(c, "crew", now=1))
        yield opened


def entry(number: int, mission_id: str, entry_type: str = "llm.call", **more: Any) -> bytes:
    known = {"id": f"j_{number:016x}", "mission_id": mission_id, "ts": "2026-01-01T00:00:00Z"}
    about = {"entry_type": entry_type, "trace_id": "a" * 32, "payload": {"total_tokens": number}}
    return json.dumps(known | about | more).encode()


def absorbed(number: int, mission_id: str, name: str) -> bytes:
    return entry(number, mission_id, "mission.absorbed", payload={"mission_id": name})


def keep(database: Database, *raws: bytes) -> Appended:
    return database.write_blocking(
        lambda c: journal.append(c, 1, raws, revisable=True, format_name="otlp", now=time.time_ns())
    )


def mission(database: Database, mission_id: str) -> missions.Mission | None:
    return database.read_blocking(lambda c: missions.find_mission(c, 1, mission_id))


def ids(database: Database, mission_id: str) -> list[str]:
    page = database.read_blocking(
        lambda c: journal.list_entries(c, 1, JournalFilter(mission_id=mission_id, limit=500))
    )
    return sorted(json.loads(raw)["id"] for raw in page.entries)


def test_entries_and_totals_move_and_the_absorbed_mission_ends(database: Database):
    keep(database, *(entry(number, TRACE) for number in range(1, 4)))
    keep(database, entry(4, TALK), absorbed(5, TALK, TRACE))
    assert mission(database, TRACE) is None
    found = mission(database, TALK)
    assert found
    assert (found.entries, found.model_calls, found.total_tokens) == (5, 4, 1 + 2 + 3 + 4)
    assert ids(database, TALK) == [f"j_{number:016x}" for number in range(1, 6)]
    for number in range(1, 6):
        assert database.read_blocking(lambda c, n=number: journal.find_entry(c, 1, f"j_{n:016x}"))


def test_what_comes_later_for_an_absorbed_mission_goes_to_the_other_and_nothing_twice(database: Database):
    raws = [entry(number, TRACE) for number in range(1, 4)]
    keep(database, *raws)
    keep(database, absorbed(5, TALK, TRACE))
    assert keep(database, *raws, absorbed(5, TALK, TRACE)).duplicate == 4
    keep(database, entry(6, TRACE))
    assert mission(database, TRACE) is None
    assert len(ids(database, TALK)) == 5


def test_a_mission_that_is_named_before_it_exists_is_absorbed_from_its_first_entry_on(database: Database):
    keep(database, absorbed(5, TALK, TRACE))
    keep(database, entry(1, TRACE))
    assert mission(database, TRACE) is None
    assert len(ids(database, TALK)) == 2


def test_all_in_one_batch_is_the_same(database: Database):
    appended = keep(database, entry(1, TRACE), absorbed(5, TALK, TRACE), entry(2, TRACE))
    assert mission(database, TRACE) is None
    found = mission(database, TALK)
    assert found
    assert appended.missions == {found.key}
    assert (found.entries, found.total_tokens) == (3, 3)


def test_facts_told_again_stay_told_again_when_they_move(database: Database):
    keep(database, entry(1, TRACE))
    keep(database, entry(1, TRACE, payload={"total_tokens": 50}))
    keep(database, absorbed(5, TALK, TRACE))
    found = mission(database, TALK)
    assert found
    assert (found.model_calls, found.total_tokens) == (1, 50)
    assert keep(database, entry(1, TRACE)).duplicate == 1
    keep(database, entry(1, TRACE, payload={"total_tokens": 60}))
    found = mission(database, TALK)
    assert found
    assert (found.model_calls, found.total_tokens) == (1, 60)


def test_a_call_that_is_told_again_as_no_call_leaves_the_totals(database: Database):
    keep(database, entry(1, TRACE), entry(2, TRACE))
    keep(database, entry(1, TRACE, "span.model"))
    found = mission(database, TRACE)
    assert found
    assert (found.entries, found.model_calls, found.total_tokens) == (2, 1, 2)


@pytest.mark.parametrize(("into", "name"), [(TALK, "m-1"), ("m-1", TRACE), (TALK, TALK), (TALK, "")])
def test_no_mission_but_that_of_a_trace_is_ever_absorbed(database: Database, into: str, name: str):
    keep(database, entry(1, "m-1"), entry(2, TRACE), entry(3, TALK))
    keep(database, absorbed(5, into, name))
    assert mission(database, "m-1")
    assert mission(database, TRACE)
    assert mission(database, TALK)


def test_thousands_of_entries_keep_their_bytes(database: Database):
    raws = {f"j_{number:016x}": entry(number, TRACE) for number in range(1, 2_000)}
    keep(database, *raws.values())
    keep(database, *(entry(number, TALK) for number in range(5_000, 5_700)))
    keep(database, absorbed(9_000, TALK, TRACE))
    for entry_id in list(raws)[::97]:
        assert database.read_blocking(lambda c, one=entry_id: journal.find_entry(c, 1, one)) == raws[entry_id]


def test_a_file_whose_conversation_is_named_on_a_later_line_is_one_mission(
    database: Database, tmp_path: Path
):
    def line(number: int, **attributes: str) -> str:
        told = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
        one = {
            "traceId": "a" * 32,
            "spanId": f"{number:016x}",
            "name": "span",
            "startTimeUnixNano": str((1_700_000_000 + number) * SECOND),
            "endTimeUnixNano": str((1_700_000_001 + number) * SECOND),
            "attributes": told,
        }
        return json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [one]}]}]}) + "\n"

    path = tmp_path / "spans.jsonl"
    path.write_text(line(1) + line(2))
    ingest_paths(database, 1, [path])
    assert mission(database, TRACE)
    path.write_text(line(1) + line(2) + line(3, **{"session.id": "talk"}) + line(4))
    [ledger] = ingest_paths(database, 1, [path])
    assert mission(database, TRACE) is None
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(path.read_bytes())
    ingest_paths(database, 1, [copy])
    assert mission(database, TRACE) is None
    assert len(ids(database, TALK)) == 4 + 2  # spans, facts, and that it was absorbed
    assert ledger.rejected == 0
