"""Missions of one shape are found, with how they ended."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.store import access, journal, missions, similar
from quartermaster.store.database import Database
from quartermaster.store.similar import Similar


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "quartermaster.db") as opened:
        for slug in ("crew", "foreign"):
            opened.write_blocking(lambda c, slug=slug: access.create_workspace(c, slug, now=1))
        yield opened


def record(
    database: Database,
    mission: str,
    commands: list[str],
    *,
    workspace: int = 1,
    outcome: str = "",
    start: int = 0,
) -> None:
    def entry(second: int, entry_type: str, payload: dict[str, object]) -> bytes:
        ts = f"2026-01-01T00:{start + second:02d}:00Z"
        return json.dumps(
            {"mission_id": mission, "ts": ts, "entry_type": entry_type, "payload": payload}
            | {"id": f"j_{abs(hash_of(mission, start + second)):016x}"}
        ).encode()

    raws = [entry(i, "exec.command", {"command": c, "exit_code": 0}) for i, c in enumerate(commands)]
    if outcome:
        raws.append(entry(59 - start, "mission.outcome", {"outcome": outcome, "origin": "verifier"}))
    database.write_blocking(
        lambda c: journal.append(c, workspace, raws, revisable=True, format_name="native", now=time.time_ns())
    )


def hash_of(mission: str, number: int) -> int:
    return int.from_bytes(f"{mission:>6}".encode()[-6:], "big") * 100 + number


def refresh(database: Database, workspace: int = 1, mission: str = "m-1") -> int:
    def draw(connection: object) -> list[similar.Drawn]:
        known = missions.find_mission(connection, workspace, mission)
        assert known is not None
        return similar.draw_stale(connection, workspace, known, 100, lambda: False)

    drawn = database.read_blocking(draw)
    database.write_blocking(lambda c: similar.keep(c, drawn))
    return len(drawn)


def found(database: Database, mission: str, **how: object) -> Similar | None:
    def look_up(connection: object) -> Similar | None:
        known = missions.find_mission(connection, 1, mission)
        assert known is not None
        return similar.find_similar(connection, 1, known, **how)

    return database.read_blocking(look_up)


def test_missions_come_by_how_much_of_their_shape_they_share(database: Database):
    record(database, "m-1", ["ls", "cat a", "make"])
    record(database, "m-2", ["ls", "cat a", "make"], outcome="succeeded")
    record(database, "m-3", ["ls", "cat -n", "make"], outcome="failed")
    record(database, "m-4", ["ls", "cat a", "make", "make", "make"], outcome="failed")
    record(database, "m-5", ["python", "curl"])
    refresh(database)
    result = found(database, "m-1", near=0.5)
    assert result is not None
    assert [(one.mission_id, one.level) for one in result.rows] == [
        ("m-2", "outcomes"), ("m-3", "tools"), ("m-4", None),
    ]  # fmt: skip
    assert result.rows[0].distance == 0
    assert result.outcomes == {"failed": 2, "succeeded": 1}
    assert result.same == {"kinds": 2, "tools": 2, "arguments": 1, "outcomes": 1}
    assert (result.compared, result.not_yet) == (4, 0)
    exact = found(database, "m-1", level="arguments")
    assert exact is not None
    assert [one.mission_id for one in exact.rows] == ["m-2"]


def test_nothing_of_another_workspace_is_found(database: Database):
    record(database, "m-1", ["ls"])
    record(database, "m-2", ["ls"], workspace=2)
    assert refresh(database) == 1
    refresh(database, workspace=2, mission="m-2")
    result = found(database, "m-1")
    assert result is not None
    assert (result.rows, result.compared) == ((), 0)


def test_a_shape_is_drawn_again_when_its_mission_changed_and_only_then(database: Database):
    record(database, "m-1", ["ls"])
    record(database, "m-2", ["ls"])
    assert found(database, "m-1") is None
    assert (refresh(database), refresh(database)) == (2, 0)
    record(database, "m-2", ["make"], start=5)
    stale = found(database, "m-1")
    assert stale is not None
    assert (stale.not_yet, stale.rows[0].level) == (1, "outcomes")
    assert refresh(database) == 1
    fresh = found(database, "m-1", near=0)
    assert fresh is not None
    assert (fresh.not_yet, fresh.rows) == (0, ())


def test_missions_without_calls_are_not_alike_for_that(database: Database):
    for mission, words in ("m-1", 1), ("m-2", 1), ("m-3", 3):
        raws = [
            json.dumps(
                {"mission_id": mission, "ts": f"2026-01-01T00:{i:02d}:00Z", "entry_type": "llm.call"}
                | {"id": f"j_{hash_of(mission, i):016x}", "payload": {"model": "m"}}
            ).encode()
            for i in range(words)
        ]
        database.write_blocking(
            lambda c, raws=raws: journal.append(
                c, 1, raws, revisable=True, format_name="native", now=time.time_ns()
            )
        )
    refresh(database)
    result = found(database, "m-1")
    assert result is not None
    assert [(one.mission_id, one.level) for one in result.rows] == [("m-2", "outcomes")]
