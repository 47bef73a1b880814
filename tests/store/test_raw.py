"""Raw entries come back byte for byte, whatever was appended and closed in between."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.store import missions
from quartermaster.store.access import create_workspace
from quartermaster.store.database import Connection, closing_connection, prepare
from quartermaster.store.raw import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    RawReader,
    append_raws,
    close_tail,
    pack,
    unpack,
)


class Mission:
    """A mission that raw entries are appended to, and what they were."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.execute("delete from mission")
        connection.execute("delete from block")
        connection.execute("delete from tail")
        self.state = missions.open_missions(connection, 1, ["m"], format_name=None, now=1)["m"]
        self.raws: list[bytes] = []

    def append(self, raws: list[bytes]) -> None:
        state = self.state
        state.tail_entries = append_raws(
            self.connection, state.key, state.next_sequence, state.tail_entries, raws
        )
        state.next_sequence += len(raws)
        self.raws += raws

    def close(self) -> None:
        close_tail(self.connection, self.state.key, self.state.next_sequence, self.state.tail_entries)
        self.state.tail_entries = 0

    def read(self, reader: RawReader) -> list[bytes | None]:
        return [reader.read(self.state.key, sequence) for sequence in range(len(self.raws))]

    def blocks(self) -> list[tuple[int, int]]:
        return self.connection.execute("select first_sequence, entries from block order by 1").fetchall()

    def tail(self) -> int:
        return int(self.connection.execute("select count(*) from tail").fetchone()[0])


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    path: Path = tmp_path_factory.mktemp("store") / "quartermaster.db"
    prepare(path)
    with closing_connection(path) as opened:
        create_workspace(opened, "crew", now=1)
        yield opened


@pytest.fixture
def mission(connection: Connection) -> Mission:
    return Mission(connection)


def numbered(first: int, count: int, size: int = 0) -> list[bytes]:
    return [str(number).encode() + b"x" * size for number in range(first, first + count)]


changes = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 1300), st.sampled_from([0, 100])),
        st.tuples(st.integers(1, 3), st.sampled_from([10_000, 3_000_000])),
        st.none(),
    ),
    max_size=6,
)


@given(changes)
@settings(max_examples=25, deadline=None)
def test_every_entry_is_readable_after_any_appends_and_closes(
    connection: Connection, changes: list[tuple[int, int] | None]
) -> None:
    mission = Mission(connection)
    old_reader = RawReader(connection)
    for change in changes:
        if change is None:
            mission.close()
        else:
            count, size = change
            mission.append(numbered(len(mission.raws), count, size))
        assert mission.read(old_reader) == mission.raws
        assert mission.read(RawReader(connection)) == mission.raws
    assert mission.tail() == mission.state.tail_entries
    assert sum(entries for _, entries in mission.blocks()) + mission.tail() == len(mission.raws)
    assert RawReader(connection).read(mission.state.key, len(mission.raws)) is None


def test_a_full_tail_becomes_a_block(mission: Mission) -> None:
    for number in range(BLOCK_ENTRIES + 1):
        mission.append(numbered(number, 1))
    assert (mission.blocks(), mission.tail()) == ([(0, BLOCK_ENTRIES)], 1)


def test_a_quiet_mission_grows_its_last_block(mission: Mission) -> None:
    for _ in range(3):
        mission.append(numbered(len(mission.raws), 10))
        mission.close()
    assert (mission.blocks(), mission.tail()) == ([(0, 30)], 0)


def test_large_entries_make_small_blocks(mission: Mission) -> None:
    mission.append([b"y" * (BLOCK_BYTES // 3)] * 20)
    mission.append([b"z" * (2 * BLOCK_BYTES)])
    assert [entries for _, entries in mission.blocks()] == [3] * 6 + [2, 1]
    assert mission.read(RawReader(mission.connection)) == mission.raws


def test_600_entries_of_a_megabyte_do_not_have_to_fit_into_memory_at_once(mission: Mission) -> None:
    tracemalloc.start()
    try:
        for number in range(600):
            mission.append([str(number).encode() + b"y" * (1 << 20)])
            mission.raws.clear()
        mission.close()
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_phrases_are_found_in_blocks_and_tail(mission: Mission) -> None:
    mission.append([b"Anchor" if number % 100 == 7 else b"sail" for number in range(BLOCK_ENTRIES)])
    mission.append([b"sail", b"an ANCHOR too"])
    found = RawReader(mission.connection).sequences_with(mission.state.key, [b"anchor"])
    assert list(found) == [7, 107, 207, 307, 407, 507, 513]


@given(st.lists(st.binary(max_size=40), min_size=1))
def test_packing_keeps_every_byte(raws: list[bytes]) -> None:
    assert unpack(pack(raws)) == raws
