"""Two missions side by side over HTTP, in windows; and missions like one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from api_world import World
from litestar import Litestar
from litestar.testing import TestClient

from quartermaster.api.recent_pairs import RecentPairs
from quartermaster.core.difference import Compared
from quartermaster.core.transcript import Teller
from quartermaster.store.missions import Mission


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient[Litestar]]:
    world = World(Path(tmp_path_factory.mktemp("diff")))
    world.ingest(world.crew, "pair.ndjson", b"".join(lines("a/b", 5, 0) + lines("longer", 7, 1)))
    world.ingest(world.crew, "long.ndjson", b"".join(lines("long-1", 30, 0) + lines("long-2", 31, 0)))
    with world.client() as opened:
        yield opened
    world.database.close()


def lines(mission: str, calls: int, code: int) -> list[bytes]:
    def line(number: int) -> bytes:
        entry: dict[str, Any] = {"mission_id": mission, "ts": f"2026-01-01T00:00:{number:02d}Z"}
        payload = {"command": f"tool{number} x", "exit_code": code if number == 2 else 0}
        return msgspec.json.encode(entry | {"entry_type": "exec.command", "payload": payload}) + b"\n"

    return [line(number) for number in range(calls)]


def test_a_pair_comes_in_windows_that_make_up_the_whole(client: TestClient[Litestar]) -> None:
    path = "/api/v1/missions/a%2Fb/diff/longer"
    whole = client.get(path).json()
    assert (whole["of_lines"], whole["next_from"]) == (7, None)
    kinds = [change["kind"] for change in whole["changes"]]
    assert kinds == ["results failed", "tool added", "tool added"]
    lines: list[dict[str, Any]] = []
    start: int | None = 0
    while start is not None:
        page = client.get(path, params={"from": start, "limit": 3}).json()
        lines += page["lines"]
        start = page["next_from"]
    assert lines == whole["lines"]
    assert [line["candidate"]["position"] for line in lines] == list(range(7))


def test_a_window_out_of_bounds_is_told(client: TestClient[Litestar]) -> None:
    assert client.get("/api/v1/missions/a%2Fb/diff/longer?limit=0").status_code == 400
    assert client.get("/api/v1/missions/a%2Fb/similar?level=colour").status_code == 400


def test_similar_missions_say_on_which_level(client: TestClient[Litestar]) -> None:
    found = client.get("/api/v1/missions/long-1/similar").json()
    rows = {row["mission_id"]: row for row in found["rows"]}
    assert rows["long-2"]["level"] is None
    assert 0 < rows["long-2"]["distance"] < 0.3
    assert found["not_yet"] == 0
    assert client.get("/api/v1/missions/long-1/similar?level=tools").json()["rows"] == []


def test_calls_are_held_against_a_reference_as_asked(client: TestClient[Litestar]) -> None:
    path = "/api/v1/missions/a%2Fb/diff/longer"
    assert "match" not in client.get(path).json()
    found = client.get(path, params={"match": "superset"}).json()["match"]
    assert (found["matches"], found["matched"], found["expected"], found["made"]) == (True, 5, 5, 7)
    assert [one["tool"] for one in found["extra"]] == ["tool5", "tool6"]
    assert client.get(path, params={"match": "exact"}).json()["match"]["matches"] is False
    ignored = {"match": "exact", "arguments": "exact", "ignore_tool": "tool5,tool6"}
    assert client.get(path, params=ignored).json()["match"]["matches"] is True
    assert client.get(path, params={"match": "roughly"}).status_code == 400
    assert client.get(path, params={"arguments": "roughly"}).status_code == 400


def test_a_pair_whose_mission_grew_is_aligned_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ingest(world.crew, "pair.ndjson", b"".join(lines("grows", 4, 0) + lines("other", 4, 0)))
    with world.client() as client:
        path = "/api/v1/missions/other/diff/grows"
        assert client.get(path).json()["of_lines"] == 4
        world.ingest(world.crew, "more.ndjson", b"".join(lines("grows", 6, 0)[4:]))
        assert client.get(path).json()["of_lines"] == 6
    world.database.close()


def test_only_the_last_pairs_are_kept_and_none_that_is_too_long() -> None:
    recent, pairs = RecentPairs(), [pair(number, 9_000) for number in range(3)]
    for kept in pairs:
        recent.keep(*kept)
    assert [recent.find(*kept[:2]) is kept[2] for kept in pairs] == [False, True, True]
    recent.keep(*pair(9, 30_000))
    assert recent.find(*pairs[2][:2]) is pairs[2][2]


def pair(key: int, calls: int) -> tuple[Mission, Mission, Compared]:
    """A mission beside itself."""
    same = msgspec.convert(
        {field.name: None for field in msgspec.structs.fields(Mission)}
        | dict.fromkeys(("key", "entries", "model_calls", "calls_with_tokens", "calls_with_cost"), key)
        | {"mission_id": "m", "known_cost": 0, "revision": 1, "created_at": 0, "changed_at": 0},
        Mission,
    )
    told = Teller(None)
    for number in range(calls):
        entry = {"id": str(number), "mission_id": "m", "ts": "2026-01-01T00:00:00Z"}
        told.add(msgspec.json.encode(entry | {"entry_type": "exec.command", "payload": {"command": "ls"}}))
    transcript = told.transcript("m", outcome=None, timed=True)
    return same, same, Compared(transcript, transcript)
