"""A long mission that is watched while it grows is not judged for every look at it."""

import json

import msgspec
from api_world import World

from quartermaster.api.recent_details import LONG_ENTRIES, RecentDetails
from quartermaster.store import missions
from quartermaster.store.missions import Mission


def lines(mission: str, begin: int, end: int) -> bytes:
    """A command an entry."""
    return b"".join(
        json.dumps(
            {
                "id": f"{mission}-{number}",
                "mission_id": mission,
                "ts": f"2026-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z",
                "entry_type": "exec.command",
                "payload": {"command": "ls", "exit_code": 0},
            }
        ).encode()
        + b"\n"
        for number in range(begin, end)
    )


def test_a_short_mission_is_told_as_it_is_and_a_long_one_as_it_was_a_moment_ago(world: World) -> None:
    with world.client() as client:
        for mission, many in (("short", 10), ("long", LONG_ENTRIES)):
            for begin, end in ((0, many), (many, many + 5)):
                sent = client.post("/api/v1/journal", content=lines(mission, begin, end))
                assert sent.json()["accepted"] == end - begin
                if begin == 0:
                    assert client.get(f"/api/v1/missions/{mission}").json()["entries"] == many
        assert client.get("/api/v1/missions/short").json()["entries"] == 15
        assert client.get("/api/v1/missions/long").json()["entries"] == LONG_ENTRIES


def of_entries(world: World, many: int) -> Mission:
    """Some mission, said to have so many entries."""
    found = world.database.read_blocking(
        lambda connection: missions.list_missions(connection, world.crew, missions.MissionFilter())
    )
    return msgspec.structs.replace(found.rows[0], entries=many)


def test_an_answer_holds_longer_the_longer_the_mission_is_and_ten_seconds_at_most(world: World) -> None:
    now = 100.0
    recent = RecentDetails(lambda: now)
    for many, seconds in ((LONG_ENTRIES, 2.0), (7_000, 7.0), (1_000_000, 10.0)):
        mission = of_entries(world, many)
        recent.keep(mission, b"told")
        now += seconds - 0.1
        assert recent.find(mission) == b"told"
        now += 0.2
        assert recent.find(mission) is None  # this one makes it anew
        assert recent.find(mission) == b"told"  # and meanwhile others need not
        recent.keep(mission, b"anew")
        assert recent.find(mission) == b"anew"


def test_what_is_short_or_too_large_is_not_kept(world: World) -> None:
    recent = RecentDetails(lambda: 100.0)
    short, long = of_entries(world, LONG_ENTRIES - 1), of_entries(world, LONG_ENTRIES)
    recent.keep(short, b"told")
    assert recent.find(short) is None
    recent.keep(long, b"x" * (17 << 20))
    assert recent.find(long) is None
