"""The ledger of files: one writer at a time for each, and what people see of it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from quartermaster.errors import StorageBusy
from quartermaster.store import missions, sources
from quartermaster.store.access import create_workspace
from quartermaster.store.database import Connection, closing_connection, prepare
from quartermaster.store.sources import Rejection, Source

PATH = b"/recordings/a.ndjson"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "quartermaster.db"
    prepare(path)
    with closing_connection(path) as opened:
        create_workspace(opened, "crew", now=1)
        yield opened


def saved(connection: Connection, **fields: object) -> Source:
    source = Source(**({"path": PATH, "state": "complete", "size": 100, "position": 100} | fields))
    source.id = sources.save_source(connection, 1, source, (0, 0), 1)
    return source


def test_a_source_is_found_as_it_was_saved(connection: Connection) -> None:
    source = saved(
        connection, inode=7, modified=9, head_length=3, head_digest=b"h", tail_digest=b"t", lines=4
    )
    assert sources.find_source(connection, 1, PATH) == source
    assert sources.find_source(connection, 2, PATH) is None


def test_whoever_comes_second_to_a_new_file_keeps_nothing(connection: Connection) -> None:
    saved(connection)
    with pytest.raises(StorageBusy, match="another process reads the same file"):
        saved(connection)


def test_whoever_read_from_a_position_that_has_moved_on_keeps_nothing(connection: Connection) -> None:
    source = saved(connection)
    ahead = msgspec.structs.replace(source, position=150, size=150)
    sources.save_source(connection, 1, ahead, (0, 100), 2)
    with pytest.raises(StorageBusy, match="another process reads the same file"):
        sources.save_source(connection, 1, msgspec.structs.replace(source, position=120), (0, 100), 3)
    found = sources.find_source(connection, 1, PATH)
    assert found is not None
    assert found.position == 150


@pytest.mark.parametrize(
    ("state", "known"),
    [
        ("complete", True),
        ("refused", True),
        ("reading", False),
        ("waiting", False),
        ("failed", False),
        ("unrecognised", False),
        ("vanished", False),
    ],
)
def test_after_a_restart_what_was_not_settled_is_looked_at_again(
    connection: Connection, state: sources.State, known: bool
) -> None:
    saved(connection, state=state, inode=7, modified=9)
    assert sources.known_files(connection, 1) == ({PATH: (7, 100, 9)} if known else {})


def test_a_rewritten_file_shows_the_rejected_lines_that_it_has_now(connection: Connection) -> None:
    source = saved(connection)
    sources.keep_rejections(
        connection, source.id, 0, [Rejection(1, 0, 5, "old", b"x"), Rejection(9, 80, 5, "old", b"x")]
    )
    assert [line.reason for line in sources.ledger_of(connection, source.id).rejected_lines] == ["old", "old"]
    source.generation, source.position = 1, 50
    sources.save_source(connection, 1, source, (0, 100), 2)
    sources.keep_rejections(connection, source.id, 1, [Rejection(2, 10, 5, "new", b"x")])
    ledger = sources.ledger_of(connection, source.id)
    assert [(line.line, line.reason) for line in ledger.rejected_lines] == [(2, "new")]
    assert ledger.unread == 50


def test_a_ledger_names_any_path_in_valid_text(connection: Connection) -> None:
    source = saved(connection, path=b"/recordings/caf\xe9.ndjson")
    assert sources.ledger_of(connection, source.id).path == "/recordings/caf\\udce9.ndjson"


def test_a_long_rejected_line_is_kept_up_to_its_first_64_kib(connection: Connection) -> None:
    source = saved(connection)
    sources.keep_rejections(connection, source.id, 0, [Rejection(1, 0, 1 << 20, "long", b"y" * (1 << 20))])
    [raw] = connection.execute("select raw from rejected_line").fetchone()
    assert len(raw) < 200
    assert [line.length for line in sources.ledger_of(connection, source.id).rejected_lines] == [1 << 20]


def test_missions_of_a_file_are_counted_without_walking_those_of_other_files(connection: Connection) -> None:
    source = saved(connection)
    states = missions.open_missions(connection, 1, ["m1", "m2"], format_name=None, now=1)
    sources.add_missions(connection, source.id, [state.key for state in states.values()])
    assert sources.ledger_of(connection, source.id).missions == 2
    assert [one.path for one in sources.sources_of(connection, states["m1"].key)] == [PATH.decode()]
    plan = connection.execute("explain query plan select count(*) from source_mission where source = 1")
    assert "SEARCH" in plan.fetchone()[3]
