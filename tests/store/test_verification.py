"""The hash chain: every kind of damage to the journal is found, and named by its place."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest

from quartermaster.store import backup, chain, retention, verification
from quartermaster.store.access import first_start
from quartermaster.store.chain import Head
from quartermaster.store.database import Connection, Database, closing_connection, heads_beside
from quartermaster.store.journal import append
from quartermaster.store.retention import Policy
from quartermaster.store.verification import Problem, Verified, verify

WORKSPACE = 1


def raw_entry(number: int, mission: str = "m", **fields: object) -> bytes:
    entry = {
        "id": f"j_{number:016x}",
        "mission_id": mission,
        "ts": "2026-11-01T10:00:00Z",
        "entry_type": "exec.command",
        "payload": {"command": "ls", "exit_code": 0},
    }
    return json.dumps(entry | fields).encode()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Three appends: 600 entries of a mission, of which 512 lie in a block, then 20, then 5 of another."""
    with Database(tmp_path / "quartermaster.db") as opened:
        opened.write_blocking(lambda connection: first_start(connection, now=1, secret_bytes=b"s" * 32))
        for mission, first, last in (("m", 0, 600), ("m", 600, 620), ("n", 1000, 1005)):
            raws = [raw_entry(number, mission) for number in range(first, last)]
            opened.write_blocking(lambda connection: append(connection, WORKSPACE, raws, now=1))  # noqa: B023
        yield opened


def damage(database: Database, *statements: str) -> None:
    with closing_connection(database.path) as connection:
        for statement in statements:
            connection.execute(statement)


def look_through(database: Database, **heads: Head) -> tuple[Verified, list[Problem]]:
    problems: list[Problem] = []
    with closing_connection(database.path, writable=False) as connection:
        verified = verify(connection, WORKSPACE, problems.append, heads=list(heads.items()))
        problems += verification.strays(connection)
    return verified, problems


def places(database: Database) -> list[tuple[str | None, int | None]]:
    return [(problem.mission, problem.sequence) for problem in look_through(database)[1]]


def whats(database: Database, **heads: Head) -> list[str]:
    return [str(problem) for problem in look_through(database, **heads)[1]]


def head(database: Database) -> Head:
    with closing_connection(database.path, writable=False) as connection:
        return chain.head_of(connection, WORKSPACE)


def test_what_came_is_found_to_be_what_is_there(database: Database):
    verified, problems = look_through(database)
    assert problems == []
    assert (verified.links, verified.missions, verified.entries) == (3, 2, 625)
    assert verified.size == sum(len(raw_entry(n)) for n in [*range(620), *range(1000, 1005)])


def test_changed_bytes_are_named_by_their_place(database: Database):
    damage(
        database,
        "update tail set raw = cast(replace(cast(raw as text), 'ls', 'rm') as blob) where sequence = 603",
    )
    (problem,) = look_through(database)[1]
    assert (problem.mission, problem.sequence, problem.entry_id) == ("m", 603, "j_000000000000025b")
    assert problem.what == "the raw entry was changed"


def test_a_damaged_block_costs_its_entries_and_each_is_named(database: Database):
    damage(database, "update block set data = zeroblob(100)")
    found = places(database)
    assert found.count(("m", 0)) == 2  # the block and its first entry
    assert {sequence for _, sequence in found} == set(range(512))


def test_bytes_changed_together_with_every_checksum_are_found_by_the_digest(database: Database):
    forged = raw_entry(603, payload={"command": "rm"})
    with closing_connection(database.path) as connection:
        (checksums,) = connection.execute("select checksums from chain_link where number = 2").fetchone()
        connection.execute("update tail set raw = ? where sequence = 603", (forged,))
        connection.execute(
            "update entry_key set checksum = ? where entry_id = ?", (crc32(forged), 603 - 2**63)
        )
        connection.execute(
            "update chain_link set checksums = ? where number = 2",
            (checksums[:12] + crc32(forged).to_bytes(4, "little") + checksums[16:],),
        )
    (problem,) = look_through(database)[1]
    assert (problem.link, problem.mission) == (2, "m")
    assert "600 to 619" in problem.what


def test_a_digest_that_was_forged_as_well_breaks_the_chain(database: Database):
    damage(database, "update chain_link set digest = zeroblob(32) where number = 2")
    found = whats(database)
    assert "link 2: the link does not follow from the one before it" in found


def test_a_link_that_was_made_anew_breaks_the_chain_behind_it(database: Database):
    """Whoever changes an entry with its checksum, digest and link would have to change every later link."""
    forged = [raw_entry(number, summary="forged") for number in range(600, 620)]
    piece = chain.piece(1, 600, forged, [crc32(raw) for raw in forged])
    with closing_connection(database.path) as connection:
        (before,) = connection.execute("select link from chain_link where number = 1").fetchone()
        link = chain.next_link(before, 2, chain.ENTRIES, 20, piece.digest)
        connection.execute(
            "update chain_link set checksums = ?, digest = ?, link = ? where number = 2",
            (piece.checksums, piece.digest, link),
        )
    assert "link 3: the link does not follow from the one before it" in whats(database)


def test_a_removed_raw_entry_is_named(database: Database):
    damage(database, "delete from tail where sequence = 605")
    assert whats(database) == ["mission m, sequence 605, entry j_000000000000025d: the raw entry is missing"]


def test_a_row_that_is_gone_is_named_by_its_entry(database: Database):
    damage(database, f"delete from entry where entry_id = {605 - 2**63}")
    assert whats(database) == [
        "mission m, sequence 605, entry j_000000000000025d: the row of the raw entry is gone",
        "mission m: the mission counts 620 entries, and there are 619",
    ]


def test_an_entry_that_was_put_in_is_named(database: Database):
    with closing_connection(database.path) as connection:
        mission = connection.execute("select id from mission where mission_id = 'n'").fetchone()[0]
        connection.execute("insert into tail values (?, 5, ?)", (mission, raw_entry(7000, "n")))
    assert places(database) == [("n", 5)]


def test_an_entry_of_a_mission_that_does_not_exist_is_named(database: Database):
    damage(database, "insert into tail values (77, 0, x'7b7d')")
    assert places(database) == [("#77", None)]


def test_entries_in_another_order_are_named(database: Database):
    damage(
        database,
        "update tail set sequence = -1 where sequence = 601",
        "update tail set sequence = 601 where sequence = 602",
        "update tail set sequence = 602 where sequence = -1",
    )
    assert places(database) == [("m", 601), ("m", 602)]


def test_rows_that_point_at_each_others_entries_are_named(database: Database):
    damage(
        database,
        f"update entry set sequence = 602 where entry_id = {601 - 2**63}",
        f"update entry set sequence = 601 where entry_id = {602 - 2**63}",
    )
    assert places(database) == [("m", 601), ("m", 602)]


def test_an_id_that_was_changed_is_named(database: Database):
    damage(
        database,
        f"update entry set entry_id = 5 where entry_id = {601 - 2**63}",
        f"update entry_key set entry_id = 5 where entry_id = {601 - 2**63}",
    )
    assert places(database) == [("m", 601)]


def test_a_removed_link_is_named_with_what_it_held(database: Database):
    damage(database, "delete from chain_link where number = 2")
    found = whats(database)
    assert found[0] == "link 2: the link is gone"
    assert sum("no link tells of it" in one for one in found) == 40  # twenty raw entries and their rows


def test_links_in_another_order_are_named(database: Database):
    damage(
        database,
        "update chain_link set number = 99 where number = 1",
        "update chain_link set number = 1 where number = 2",
        "update chain_link set number = 2 where number = 99",
    )
    assert [problem.link for problem in look_through(database)[1]] == [1, 2, 3]


def test_a_tail_that_was_cut_without_care_is_told_by_the_head(database: Database):
    damage(
        database,
        "delete from chain_link where number = 3",
        "delete from tail where mission = (select id from mission where mission_id = 'n')",
        "delete from entry where mission = (select id from mission where mission_id = 'n')",
        "delete from mission where mission_id = 'n'",
    )
    assert whats(database) == ["link 3: the chain ends at link 2, and its head is link 3: its tail was cut"]


def test_a_tail_that_was_cut_with_care_is_told_by_the_heads_kept_elsewhere(
    database: Database, tmp_path: Path
):
    kept = head(database)
    backup.make(database.path, tmp_path / "copy.db", now=1)
    database.close()
    beside = verification.heads_told_beside(database.path)
    damage(
        database,
        "delete from chain_link where number = 3",
        "update chain_head set number = 2, link = (select link from chain_link where number = 2)",
        "delete from tail where mission = (select id from mission where mission_id = 'n')",
        "delete from entry where mission = (select id from mission where mission_id = 'n')",
        "delete from entry_key where mission = (select id from mission where mission_id = 'n')",
        "delete from mission where mission_id = 'n'",
    )
    assert whats(database) == []
    assert beside is not None
    assert list(beside.values()) == [kept]
    with closing_connection(tmp_path / "copy.db", writable=False) as copy:
        assert list(verification.heads_of(copy).values()) == [kept]
    (told,) = whats(database, beside=kept)
    assert told == "link 3: the chain ends at link 2, and beside tells of link 3: its tail was cut"


def test_a_chain_that_was_rewritten_whole_is_told_by_an_earlier_head(database: Database):
    kept = head(database)
    forged = raw_entry(1004, "n", payload={"command": "rm"})
    with closing_connection(database.path) as connection:
        _rewrite_last_entry(connection, forged)
    assert whats(database) == []
    assert whats(database, note=kept) == ["link 3: the chain was rewritten: note tells of another link"]


def _rewrite_last_entry(connection: Connection, forged: bytes) -> None:
    mission = connection.execute("select id from mission where mission_id = 'n'").fetchone()[0]
    raws = [raw_entry(number, "n") for number in range(1000, 1004)] + [forged]
    piece = chain.piece(mission, 0, raws, [crc32(raw) for raw in raws])
    connection.execute("update tail set raw = ? where mission = ? and sequence = 4", (forged, mission))
    connection.execute("update entry_key set checksum = ? where entry_id = ?", (crc32(forged), 1004 - 2**63))
    connection.execute("delete from chain_link where number = 3")
    connection.execute(
        "update chain_head set number = 2, link = (select link from chain_link where number = 2)"
    )
    chain.extend(connection, WORKSPACE, [piece])


def test_a_mission_that_retention_took_leaves_a_checkpoint_and_a_chain_that_holds(database: Database):
    retention.run(database, WORKSPACE, Policy(missions=1), now=10)
    verified, problems = look_through(database)
    assert problems == []
    assert (verified.links, verified.checkpoints, verified.missions) == (4, 1, 1)


def test_a_mission_that_somebody_else_took_is_told(database: Database):
    damage(
        database,
        "delete from tail where mission = (select id from mission where mission_id = 'n')",
        "delete from entry where mission = (select id from mission where mission_id = 'n')",
        "delete from mission where mission_id = 'n'",
    )
    (problem,) = look_through(database)[1]
    assert problem.link == 3
    assert "no checkpoint says why" in problem.what


def test_a_checkpoint_that_was_put_in_has_to_agree_with_its_links(database: Database):
    retention.run(database, WORKSPACE, Policy(missions=1), now=10)
    damage(database, "update chain_link set digest = zeroblob(32) where number = 1")
    assert any("the checkpoint does not agree" in one for one in whats(database))


def test_an_earlier_telling_keeps_its_bytes_and_nothing_is_wrong_with_that(database: Database):
    for number in range(3):
        tellings = [raw_entry(603, summary=f"telling {number}")]
        database.write_blocking(
            lambda connection: append(connection, WORKSPACE, tellings, revisable=True, now=2)  # noqa: B023
        )
    assert whats(database) == []


def test_entries_that_waited_for_their_mission_move_in_and_nothing_is_wrong_with_that(database: Database):
    waiting = raw_entry(5000, "", mission_id=None, trace_id="t")
    told = raw_entry(5001, "late", trace_id="t")
    for raw in (waiting, told):
        database.write_blocking(lambda connection: append(connection, WORKSPACE, [raw], now=2))  # noqa: B023
    assert whats(database) == []


def test_a_mission_that_became_part_of_another_takes_its_links_along(database: Database):
    raws = [
        raw_entry(6000, "otel_a", trace_id="a"),
        raw_entry(6001, "otel_a"),
        raw_entry(6002, "otel_b", trace_id="b"),
        raw_entry(6003, "otel_b", entry_type="mission.absorbed", payload={"mission_id": "otel_a"}),
    ]
    for raw in raws:
        database.write_blocking(lambda connection: append(connection, WORKSPACE, [raw], now=2))  # noqa: B023
    verified, problems = look_through(database)
    assert problems == []
    assert verified.entries == 629


@pytest.mark.parametrize(
    "change",
    [
        "update tail set raw = x'00' where sequence = 612",
        "delete from tail where sequence = 612",
        "delete from chain_link where number = 2",
    ],
)
def test_a_damaged_backup_is_not_put_back(database: Database, tmp_path: Path, change: str):
    copy = tmp_path / "copy.db"
    backup.make(database.path, copy, now=1)
    assert backup.verify(copy).problems == ()
    with closing_connection(copy) as connection:
        connection.execute(change)
        connection.execute("pragma journal_mode = delete")
    assert backup.verify(copy).problems != ()


def test_the_command_prints_the_head_and_names_each_bad_row(
    quartermaster: Callable, samples: Path, home: Path, tmp_path: Path
):
    assert quartermaster("ingest", samples).returncode == 0
    sound = quartermaster("journal", "verify", "--format", "json")
    assert sound.returncode == 0, sound.stderr
    (row,) = json.loads(sound.stdout)
    assert row["problems"] == []
    assert quartermaster("backup", tmp_path / "copy.db").returncode == 0
    checked = ("journal", "verify", "--workspace", "local", "--against", tmp_path / "copy.db", "--head")
    assert quartermaster(*checked, row["head"]).returncode == 0
    with closing_connection(home / "quartermaster.db") as connection:
        connection.execute("update tail set raw = x'00' where sequence = 1")
    bad = quartermaster("journal", "verify", "--format", "json")
    assert bad.returncode == 10
    assert json.loads(bad.stdout)[0]["problems"][0]["sequence"] == 1
    assert "the raw entry was changed" in bad.stderr


def test_a_home_whose_tail_was_cut_is_not_called_sound(quartermaster: Callable, samples: Path, home: Path):
    first, *others = sorted(samples.rglob("*.jsonl"))
    assert quartermaster("ingest", first).returncode == 0
    shutil.copy(home / "quartermaster.db", home / "earlier.db")
    assert quartermaster("ingest", *others).returncode == 0
    (home / "earlier.db").rename(home / "quartermaster.db")
    done = quartermaster("journal", "verify")
    assert done.returncode == 10
    assert "its tail was cut" in done.stderr
    heads_beside(home / "quartermaster.db").unlink()
    assert quartermaster("journal", "verify").returncode == 0


def test_a_restore_forgets_the_heads_of_the_database_before_it(
    quartermaster: Callable, samples: Path, tmp_path: Path
):
    first, *others = sorted(samples.rglob("*.jsonl"))
    assert quartermaster("ingest", first).returncode == 0
    assert quartermaster("backup", tmp_path / "copy.db").returncode == 0
    assert quartermaster("ingest", *others).returncode == 0
    assert quartermaster("restore", tmp_path / "copy.db").returncode == 0
    done = quartermaster("journal", "verify")
    assert done.returncode == 0, done.stderr
