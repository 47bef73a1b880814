"""Missions are examined by themselves once they are quiet, and what was found is remembered by revision."""

import time

import msgspec
import pytest

from quartermaster.core.pricing import OwnPrices
from quartermaster.examiner import Examiner
from quartermaster.looking import judged, rules_of
from quartermaster.store import access, examinations, journal, missions
from quartermaster.store.database import Database
from quartermaster.store.missions import MissionFilter

LATER = 10**18
PRICES = OwnPrices()


class Place:
    """A database with one workspace."""

    def __init__(self, database):
        self.database = database
        self.workspace = database.write_blocking(
            lambda c: access.create_workspace(c, "crew", now=time.time_ns())
        ).key
        self._number = 0

    def record(self, mission_id, times=1, **payload):
        raws = []
        for _ in range(times):
            self._number += 1
            entry = {
                "id": f"j_{self._number:016x}",
                "mission_id": mission_id,
                "ts": f"2026-01-01T00:{self._number // 60:02}:{self._number % 60:02}Z",
                "entry_type": "exec.command",
                "payload": {"tool": "look", "arguments": {"at": "x"}, "output": "same", **payload},
            }
            raws.append(msgspec.json.encode(entry))
        self.database.write_blocking(lambda c: journal.append(c, self.workspace, raws, now=time.time_ns()))

    def examiner(self, ahead=LATER):
        return Examiner(self.database, PRICES, busy=lambda: False, now=lambda: time.time_ns() + ahead)

    def rows(self, **filters):
        def look(connection):
            page = missions.list_missions(connection, self.workspace, MissionFilter(**filters))
            found = examinations.counts(connection, page.rows)
            return {mission.mission_id: found.get(mission.key) for mission in page.rows}

        return self.database.read_blocking(look)

    def look(self, mission_id, limit=250_000):
        def look(connection):
            mission = missions.find_mission(connection, self.workspace, mission_id)
            return judged(connection, self.workspace, mission, PRICES, limit=limit)

        return self.database.read_blocking(look)


@pytest.fixture
def place(tmp_path):
    with Database(tmp_path / "quartermaster.db") as database:
        yield Place(database)


def test_lists_tell_what_was_found_in_missions_that_are_quiet(place):
    place.record("looping", 6)
    place.record("fine")
    assert place.rows() == {"looping": None, "fine": None}
    assert place.examiner(ahead=0).examine_some() == 0
    assert place.examiner().examine_some() == 2
    assert place.examiner().examine_some() == 0
    found = place.rows()
    assert found["looping"]["high"] >= 1
    assert found["fine"]["high"] <= found["looping"]["high"]


def test_a_long_mission_has_to_be_quiet_for_longer(place):
    place.record("long", 1_000)
    place.record("short")
    assert place.examiner(ahead=6 * 10**9).examine_some() == 1
    assert place.rows()["long"] is None
    assert place.examiner(ahead=11 * 10**9).examine_some() == 1
    assert place.rows()["long"] is not None


def test_missions_are_found_by_what_was_found_in_them(place):
    place.record("looping", 6)
    place.record("fine")
    place.examiner().examine_some()
    for name in ("D01", "exact_tool_loop", "tool_loop"):
        assert set(place.rows(failure_mode=name)) == {"looping"}, name


def test_a_mission_that_goes_on_is_examined_anew(place):
    place.record("m", 2)
    place.examiner().examine_some()
    before = place.rows()["m"]
    place.record("m", 4)
    assert place.rows()["m"] is None
    place.examiner().examine_some()
    assert place.rows()["m"] != before


def test_what_is_remembered_is_what_an_examination_finds(place):
    place.record("looping", 6, exit_code=1, error="timed out")
    fresh = place.look("looping")
    assert fresh.fresh is not None
    place.database.write_blocking(lambda c: examinations.keep(c, [fresh.fresh]))
    again = place.look("looping")
    assert again.fresh is None
    assert again.examination == fresh.examination
    assert fresh.fresh.rules == rules_of(PRICES)


def test_a_mission_that_is_too_large_says_so(place):
    place.record("large", 6)
    seen = place.look("large", limit=5)
    assert seen.examination.unexamined == "the mission has 6 entries; up to 5 are examined"
    place.database.write_blocking(lambda c: examinations.keep(c, [seen.fresh]))
    assert place.rows() == {"large": None}
    assert place.look("large").examination.unexamined is None


def test_what_was_found_goes_with_its_mission(place):
    place.record("looping", 6)
    place.examiner().examine_some()
    place.database.write_blocking(lambda c: c.execute("delete from mission where mission_id = 'looping'"))
    for table in ("examination", "failure_mode"):
        left = place.database.read_blocking(lambda c: c.execute(f"select * from {table}").fetchall())  # noqa: B023
        assert left == [], table
