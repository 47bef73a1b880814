"""Entries in, each exactly once; entries out in the order that was promised."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quartermaster.errors import UsageError
from quartermaster.store import journal, missions
from quartermaster.store.database import Connection, closing_connection, prepare
from quartermaster.store.journal import (
    Appended,
    JournalFilter,
    append,
    count_entries,
    find_entry,
    list_entries,
)
from quartermaster.store.missions import find_mission
from quartermaster.store.trajectory import step_pages, trajectory_window


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "quartermaster.db"
    prepare(path)
    with closing_connection(path) as opened:
        for number in (1, 2):
            opened.execute(
                "insert into workspace values (?, ?, ?, ?, 0)", (number, f"ws{number}", f"s{number}", "W")
            )
        yield opened


def raw_entry(
    number: int | str, entry_type: str = "exec.command", *, second: float = 0, **fields: object
) -> bytes:
    entry = {
        "id": f"j_{number:016x}" if isinstance(number, int) else number,
        "mission_id": "m",
        "ts": f"2026-11-01T10:00:{second:09.6f}Z",
        "entry_type": entry_type,
        "payload": {"command": "ls", "exit_code": 0},
    }
    return json.dumps({key: value for key, value in (entry | fields).items() if value is not None}).encode()


def walked(connection: Connection, mission_id: str = "m") -> list[tuple[object, ...]]:
    mission = find_mission(connection, 1, mission_id)
    assert mission is not None
    return list(itertools.chain.from_iterable(step_pages(connection, mission.key)))


def ids(entries: tuple[bytes, ...]) -> list[str]:
    return [json.loads(raw)["id"] for raw in entries]


def test_the_same_entry_twice_is_one_entry(connection: Connection) -> None:
    assert append(connection, 1, [raw_entry(1), raw_entry(1)], now=1).duplicate == 1
    again = append(connection, 1, [raw_entry(1)], now=2)
    assert (again.accepted, again.duplicate, again.conflicts) == (0, 1, ())
    assert count_entries(connection, 1, JournalFilter()) == 1


def test_the_same_content_in_other_bytes_is_a_duplicate(connection: Connection) -> None:
    append(connection, 1, [raw_entry(1)], now=1)
    rearranged = json.dumps(dict(reversed(json.loads(raw_entry(1)).items())), indent=2).encode()
    assert append(connection, 1, [rearranged], now=2).duplicate == 1


def test_another_body_under_a_known_id_is_a_conflict_and_the_first_stays(connection: Connection) -> None:
    append(connection, 1, [raw_entry(1)], now=1)
    assert append(connection, 1, [raw_entry(1, summary="other")], now=2).conflicts == (0,)
    assert find_entry(connection, 1, "j_0000000000000001") == raw_entry(1)


def test_two_workspaces_may_hold_the_same_id(connection: Connection) -> None:
    assert append(connection, 1, [raw_entry(1)], now=1).accepted == 1
    assert append(connection, 2, [raw_entry(1, summary="theirs")], now=1).accepted == 1
    assert find_entry(connection, 1, "j_0000000000000001") == raw_entry(1)


@pytest.mark.parametrize(
    "entry_id", ["J_0000000000000001", "j_000000000000000G", "event-7", "j_1", "j_00000000000000_1", "é"]
)
def test_an_id_of_any_form_is_kept_as_it_is(connection: Connection, entry_id: str) -> None:
    append(connection, 1, [raw_entry(entry_id), raw_entry(1)], now=1)
    assert json.loads(find_entry(connection, 1, entry_id) or b"")["id"] == entry_id
    assert journal.entry_id_of(journal.entry_key(entry_id)) == entry_id


def test_late_entries_take_their_place_by_instant_then_id(connection: Connection) -> None:
    tools = ["a", "b", "c", "d"]
    raws = [
        raw_entry(2, second=5, payload={"command": "d"}),
        raw_entry("j_zz", second=1, payload={"command": "c"}),
        raw_entry(9, second=1, payload={"command": "b"}),
        raw_entry("e-1", second=1, payload={"command": "a"}),
    ]
    for raw in raws:
        append(connection, 1, [raw], now=1)
    texts = journal_texts(connection)
    assert [texts[row[2]] for row in walked(connection)] == tools


def journal_texts(connection: Connection) -> dict[object, str]:
    return dict(connection.execute("select id, text from name"))


def test_the_order_of_delivery_does_not_change_what_a_replay_walks(connection: Connection) -> None:
    raws = [raw_entry(number, second=number % 7, payload={"command": f"c{number}"}) for number in range(1500)]
    append(connection, 1, raws, now=1)
    shuffled = raws[:]
    random.Random(7).shuffle(shuffled)
    for start in range(0, len(shuffled), 37):
        append(connection, 2, shuffled[start : start + 37], now=1)
    one = find_mission(connection, 1, "m")
    other = find_mission(connection, 2, "m")
    assert one is not None and other is not None
    assert list(step_pages(connection, one.key)) == list(step_pages(connection, other.key))


def test_raw_entries_come_back_byte_for_byte_from_tail_and_blocks(connection: Connection) -> None:
    raws = [raw_entry(number, second=number % 50, note="ü" * (number % 9)) for number in range(1300)]
    append(connection, 1, raws[:300], now=1)
    append(connection, 1, raws[300:1200], now=1)
    append(connection, 1, raws[1200:], now=1)
    assert connection.execute("select count(*), sum(entries) from block").fetchone() == (2, 1024)
    assert connection.execute("select count(*) from tail").fetchone() == (276,)
    for number in (0, 299, 300, 511, 512, 1023, 1024, 1299):
        assert find_entry(connection, 1, f"j_{number:016x}") == raws[number]


def test_pages_newest_first_give_every_entry_once_over_all_missions(connection: Connection) -> None:
    chance = random.Random(3)
    raws = [
        raw_entry(number, second=chance.randrange(20), mission_id=f"m{chance.randrange(6)}")
        for number in range(400)
    ]
    append(connection, 1, raws, now=1)
    seen: list[str] = []
    cursor = None
    while True:
        page = list_entries(connection, 1, JournalFilter(limit=33, cursor=cursor))
        seen += ids(page.entries)
        cursor = page.next_cursor
        if cursor is None:
            break
    expected = sorted(
        (json.loads(raw) for raw in raws), key=lambda entry: (entry["ts"], entry["id"]), reverse=True
    )
    assert seen == [entry["id"] for entry in expected]


def test_a_cursor_of_another_workspace_or_a_damaged_one_is_refused(connection: Connection) -> None:
    for workspace in (1, 2):
        append(connection, workspace, [raw_entry(number) for number in range(5)], now=1)
    cursor = list_entries(connection, 1, JournalFilter(limit=2)).next_cursor
    assert cursor is not None
    for workspace, bad in ((2, cursor), (1, cursor[:-2] + "AA"), (1, "%"), (1, "é")):
        with pytest.raises(UsageError, match="cursor"):
            list_entries(connection, workspace, JournalFilter(limit=2, cursor=bad))


FILTERS: list[tuple[JournalFilter, Callable[[dict[str, object]], bool]]] = [
    (JournalFilter(mission_id="m1"), lambda entry: entry["mission_id"] == "m1"),
    (JournalFilter(entry_type=("llm.call",)), lambda entry: entry["entry_type"] == "llm.call"),
    (JournalFilter(entry_type=("no.such",)), lambda entry: False),
    (
        JournalFilter(exclude_entry_type=("llm.call", "no.such")),
        lambda entry: entry["entry_type"] != "llm.call",
    ),
    (JournalFilter(severity=("warn", "error")), lambda entry: entry.get("severity") in ("warn", "error")),
    (JournalFilter(actor_type=("user",)), lambda entry: entry.get("actor_type") == "user"),
    (JournalFilter(trace_id="t1"), lambda entry: entry.get("trace_id") == "t1"),
    (JournalFilter(q="NEEDLE in Ünï"), lambda entry: "needle" in str(entry.get("summary"))),
    (JournalFilter(since=1793527205 * 10**9), lambda entry: str(entry["ts"]) >= "2026-11-01T10:00:05"),
    (JournalFilter(until=1793527205 * 10**9), lambda entry: str(entry["ts"]) < "2026-11-01T10:00:05"),
]


@pytest.mark.parametrize(("filters", "passes"), FILTERS)
def test_a_filter_lets_through_what_it_says_and_count_agrees(
    connection: Connection, filters: JournalFilter, passes: Callable[[dict[str, object]], bool]
) -> None:
    chance = random.Random(5)
    raws = [
        raw_entry(
            number,
            chance.choice(["llm.call", "exec.command", "network.x"]),
            second=chance.randrange(12),
            mission_id=f"m{chance.randrange(3)}",
            severity=chance.choice(["info", "warn", "error", None]),
            actor_type=chance.choice(["user", "agent", None]),
            trace_id=chance.choice([None, f"t{number % 3}"]),
            summary=chance.choice(["plain", "a needle in ünï code"]),
        )
        for number in range(300)
    ]
    append(connection, 1, raws, now=1)
    page = list_entries(connection, 1, msgspec_replace(filters, limit=500))
    expected = {json.loads(raw)["id"] for raw in raws if passes(json.loads(raw))}
    assert set(ids(page.entries)) == expected
    assert count_entries(connection, 1, filters) == len(expected)


def msgspec_replace(filters: JournalFilter, **changes: object) -> JournalFilter:
    from msgspec.structs import replace

    return replace(filters, **changes)


def test_a_run_is_found_by_payload_trace_or_actor(connection: Connection) -> None:
    raws = [
        raw_entry(1, "eval.metric", payload={"run_id": "er_1"}),
        raw_entry(2, trace_id="er_1", mission_id=None),
        raw_entry(3, actor_id="er_1"),
        raw_entry(4),
    ]
    append(connection, 1, raws, now=1)
    assert len(list_entries(connection, 1, JournalFilter(run_id="er_1")).entries) == 3
    assert list_entries(connection, 1, JournalFilter(run_id="er_2")).entries == ()


@pytest.mark.parametrize(
    "filters",
    [
        JournalFilter(limit=0),
        JournalFilter(limit=501),
        JournalFilter(severity=("loud",)),
        JournalFilter(q=" "),
        JournalFilter(q="x" * 201),
    ],
)
def test_a_bad_filter_is_named(connection: Connection, filters: JournalFilter) -> None:
    append(connection, 1, [raw_entry(1)], now=1)
    with pytest.raises(UsageError):
        list_entries(connection, 1, filters)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_entries_without_a_mission_join_it_by_assignment_or_trace_in_any_order(
    connection: Connection, order: tuple[int, ...]
) -> None:
    raws = [
        raw_entry(1, "assignment.created", mission_id=None, payload={"assignment_id": "a1"}),
        raw_entry(2, "assignment.running", second=1, trace_id="run-1", payload={"assignment_id": "a1"}),
        raw_entry(3, "exec.command", second=2, mission_id=None, trace_id="run-1"),
    ]
    for index in order:
        append(connection, 1, [raws[index]], now=1)
    assert [row[1] for row in walked(connection)] == [1, 2, 5]
    assert find_entry(connection, 1, "j_0000000000000001") == raws[0]
    assert append(connection, 1, raws, now=2).duplicate == 3
    assert count_entries(connection, 1, JournalFilter(mission_id="m")) == 3


def test_a_revisable_fact_told_again_replaces_the_earlier_telling(connection: Connection) -> None:
    def call(tokens: int) -> bytes:
        return raw_entry(1, "llm.call", payload={"model": "m", "input_tokens": tokens})

    def deliver(*raws: bytes) -> Appended:
        return append(connection, 1, raws, revisable=True, now=1)

    assert deliver(call(5)).accepted == 1
    assert deliver(call(9)).accepted == 1
    stale = deliver(call(5), call(9))
    assert (stale.accepted, stale.duplicate) == (0, 2)
    assert [row[5] for row in walked(connection)] == [9]
    mission = find_mission(connection, 1, "m")
    assert mission is not None
    assert (mission.entries, mission.model_calls, mission.total_tokens) == (1, 1, 9)
    assert list_entries(connection, 1, JournalFilter()).entries == (call(9),)
    assert count_entries(connection, 1, JournalFilter()) == 1
    assert json.loads(find_entry(connection, 1, "j_0000000000000001") or b"")["payload"]["input_tokens"] == 9


def test_totals_say_unknown_when_one_call_does_not_tell(connection: Connection) -> None:
    append(
        connection, 1, [raw_entry(1, "llm.call", payload={"model": "m", "tokens": 7, "cost_usd": 0.1})], now=1
    )
    known = find_mission(connection, 1, "m")
    append(connection, 1, [raw_entry(2, "llm.call", payload={"model": "m"})], now=1)
    unknown = find_mission(connection, 1, "m")
    assert known is not None and unknown is not None
    assert (known.total_tokens, known.cost) == (7, 10**11)
    assert (unknown.total_tokens, unknown.cost) == (None, None)


def test_what_is_told_of_a_mission_stands_on_it_and_the_verifier_wins(connection: Connection) -> None:
    facts = {
        "title": "T",
        "task": "t/1",
        "trial": 2,
        "agent": "a",
        "model": "m",
        "labels": {"k": 1},
        "clock": "ordinal",
    }
    append(
        connection,
        1,
        [
            raw_entry(1, "mission.created", payload=facts),
            raw_entry(2, "mission.outcome", payload={"outcome": "failed", "reward": 0, "origin": "verifier"}),
            raw_entry(3, "mission.outcome", second=9, payload={"outcome": "succeeded", "origin": "agent"}),
        ],
        now=1,
    )
    mission = find_mission(connection, 1, "m")
    assert mission is not None
    assert (mission.title, mission.task, mission.trial, mission.variant) == ("T", "t/1", 2, "a m")
    assert (mission.outcome, mission.outcome_origin, mission.reward) == ("failed", "verifier", 0.0)
    assert mission.labels == {"k": 1}
    assert mission.started_at is None
    assert [told.origin for told in missions.outcomes_of(connection, mission.key)] == ["agent", "verifier"]


def test_a_trajectory_window_shows_a_command_where_it_began_with_its_outcome(connection: Connection) -> None:
    append(
        connection,
        1,
        [
            raw_entry(1, payload={"cmd": ["make", "test"], "phase": "start", "run_id": "r"}),
            raw_entry(2, "llm.call", second=1, payload={"model": "m"}),
            raw_entry(
                3, second=2, payload={"cmd": ["make", "test"], "phase": "end", "run_id": "r", "exit_code": 2}
            ),
            raw_entry(4, second=3),
        ],
        now=1,
    )
    mission = find_mission(connection, 1, "m")
    assert mission is not None
    window = trajectory_window(connection, mission.key, 0, 10)
    assert [(step.index, step.tool, step.success) for step in window] == [
        (0, "make test", False),
        (1, "m", True),
        (2, "ls", True),
    ]
    assert [step.index for step in trajectory_window(connection, mission.key, 1, 1)] == [1]
    assert trajectory_window(connection, mission.key, 3, 10) == []


def test_an_outcome_that_is_taken_back_leaves_the_word_of_others(connection: Connection) -> None:
    def tell(number: int, **payload: object) -> None:
        append(connection, 1, [raw_entry(number, "mission.outcome", second=number, payload=payload)], now=1)

    def outcome() -> tuple[str | None, str | None]:
        mission = find_mission(connection, 1, "m")
        assert mission is not None
        return mission.outcome, mission.outcome_origin

    tell(1, outcome="succeeded", origin="agent")
    assert outcome() == ("succeeded", "agent")
    tell(2, origin="agent")
    assert outcome() == (None, None)
    tell(3, outcome="failed", origin="harness")
    assert outcome() == ("failed", "harness")


def test_a_page_of_missions_that_overlap_reads_little_more_than_it_shows(connection: Connection) -> None:
    entries = [
        raw_entry(100 * mission + number, mission_id=f"m{mission}", second=number)
        for mission in range(150)
        for number in range(40)
    ]
    append(connection, 1, entries, now=1)
    looked = 0

    def look() -> int:
        nonlocal looked
        looked += 1
        return 0

    connection.set_progress_handler(look, 100)  # after each hundred instructions of the database
    page = list_entries(connection, 1, JournalFilter(limit=40))
    connection.set_progress_handler(None, 0)
    assert ids(page.entries) == [f"j_{100 * mission + 39:016x}" for mission in range(149, 109, -1)]
    assert 100 * looked < 10_000
