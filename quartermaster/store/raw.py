"""Raw entries byte for byte: an open tail of single rows, then blocks of 512 under zstd.

An entry is addressed by its mission and its sequence, the order of its arrival.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import zstandard

from quartermaster.store.database import Connection

BLOCK_ENTRIES: Final = 512
BLOCK_BYTES: Final = 4 << 20
"""A block is closed early at so many bytes, so that it fits into memory whatever entries hold."""

_LEVEL: Final = 3
_CACHED_BLOCKS: Final = 8


def append_raws(
    connection: Connection, mission: int, first_sequence: int, tail_entries: int, raws: Sequence[bytes]
) -> int:
    """Keep raw entries under the sequences from `first_sequence` on; returns the new length of the tail.

    `tail_entries` is the length of the tail so far, which ends right before `first_sequence`.
    """
    large = sum(map(len, raws)) > len(raws) * BLOCK_BYTES // BLOCK_ENTRIES  # the tail stays below a block
    if tail_entries + len(raws) < BLOCK_ENTRIES and not large:
        connection.executemany(
            "insert into tail (mission, sequence, raw) values (?, ?, ?)",
            ((mission, first_sequence + index, raw) for index, raw in enumerate(raws)),
        )
        return tail_entries + len(raws)
    start = first_sequence - tail_entries
    pending = [*_take_tail(connection, mission), *raws] if tail_entries else raws
    whole = len(pending) if large else len(pending) - len(pending) % BLOCK_ENTRIES
    _insert_blocks(connection, mission, start, pending[:whole])
    return append_raws(connection, mission, start + whole, 0, pending[whole:]) if whole < len(pending) else 0


def close_tail(connection: Connection, mission: int, next_sequence: int, tail_entries: int) -> None:
    """Compress the tail of a mission that has gone quiet; it joins the last block while that is not full."""
    if not tail_entries:
        return
    first = next_sequence - tail_entries
    raws = _take_tail(connection, mission)
    last = connection.execute(
        "delete from block where mission = ? and entries < ? and first_sequence ="
        " (select max(first_sequence) from block where mission = ?) returning first_sequence, data",
        (mission, BLOCK_ENTRIES, mission),
    ).fetchone()
    if last is not None:
        first = int(last[0])
        raws = [*unpack(zstandard.ZstdDecompressor().decompress(last[1])), *raws]
    _insert_blocks(connection, mission, first, raws)
    connection.execute("update mission set tail_entries = 0 where id = ?", (mission,))


def _take_tail(connection: Connection, mission: int) -> list[bytes]:
    rows = connection.execute("select raw from tail where mission = ? order by sequence", (mission,))
    raws = [row[0] for row in rows]
    connection.execute("delete from tail where mission = ?", (mission,))
    return raws


def _insert_blocks(connection: Connection, mission: int, first: int, raws: Sequence[bytes]) -> None:
    compress = zstandard.ZstdCompressor(level=_LEVEL).compress
    begin = 0
    while begin < len(raws):
        end = _end_of_block(raws, begin)
        data = compress(pack(raws[begin:end]))
        connection.execute(
            "insert into block values (?, ?, ?, ?)", (mission, first + begin, end - begin, data)
        )
        begin = end


def _end_of_block(raws: Sequence[bytes], begin: int) -> int:
    size = 0
    limit = min(begin + BLOCK_ENTRIES, len(raws))
    for index in range(begin, limit):
        size += len(raws[index])
        if size > BLOCK_BYTES:
            return max(index, begin + 1)
    return limit


def pack(raws: Sequence[bytes]) -> bytes:
    """Raw entries as one text: the length of each, a newline, then all of them end to end."""
    lengths = ",".join([str(len(raw)) for raw in raws]).encode()
    return lengths + b"\n" + b"".join(raws)


def unpack(data: bytes) -> list[bytes]:
    """The raw entries of a packed text."""
    header_end = data.index(b"\n")
    raws = []
    start = header_end + 1
    for length in data[:header_end].split(b","):
        end = start + int(length)
        raws.append(data[start:end])
        start = end
    return raws


class RawReader:
    """Reads raw entries of one connection; the last few blocks stay unpacked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._blocks: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()
        self._decompress: Callable[[bytes], bytes] = zstandard.ZstdDecompressor().decompress

    def read(self, mission: int, sequence: int) -> bytes | None:
        """The raw entry at a sequence; None when it was removed."""
        first, raws = self.block_of(mission, sequence)
        return raws[sequence - first] if sequence - first < len(raws) else None

    def block_of(self, mission: int, sequence: int) -> tuple[int, list[bytes]]:
        """The entries around a sequence that are kept together, and the sequence of the first of them; none
        where that one was removed."""
        for (block_mission, first), raws in self._blocks.items():
            if block_mission == mission and first <= sequence < first + len(raws):
                return first, raws
        row: tuple[Any, ...] | None = self._connection.execute(
            "select raw from tail where mission = ? and sequence = ?", (mission, sequence)
        ).fetchone()
        if row is not None:
            return sequence, [bytes(row[0])]
        row = self._connection.execute(
            "select first_sequence, entries, data from block"
            " where mission = ? and first_sequence <= ? order by first_sequence desc limit 1",
            (mission, sequence),
        ).fetchone()
        if row is None or sequence >= row[0] + row[1]:
            return sequence, []
        first, raws = int(row[0]), unpack(self._decompress(row[2]))
        self._blocks[mission, first] = raws
        if len(self._blocks) > _CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return first, raws

    def sequences_with(self, mission: int, needles: Sequence[bytes]) -> Iterator[int]:
        """Sequences of a mission whose raw entry holds one of these lower-case texts."""
        blocks = self._connection.execute(
            "select first_sequence, data from block where mission = ?", (mission,)
        )
        for first, data in blocks:
            packed = self._decompress(data)
            folded = packed.lower()
            if any(needle in folded for needle in needles):
                for index, raw in enumerate(unpack(packed)):
                    if any(needle in raw.lower() for needle in needles):
                        yield first + index
        for sequence, raw in self._connection.execute(
            "select sequence, raw from tail where mission = ?", (mission,)
        ):
            if any(needle in raw.lower() for needle in needles):
                yield sequence
