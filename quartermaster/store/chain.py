"""The hash chain of a workspace: what shows that its raw entries are those that came, all and in order.

Each append is a link for each mission that it adds to. A link holds the CRC-32 of every raw entry, and
the SHA-256 of those checksums, of the raw bytes end to end and of their lengths. It is chained to the one
before it: link = SHA-256(link before, number, kind, entries, digest). Hashing a whole append at once costs
ingest about a hundredth of its time. Where entries lie (mission and sequence) is not hashed, because
entries move when missions turn out to be parts of others.

What shows what, when a chain is verified:

- changed bytes: the entry's checksum in its link; bytes changed so that the checksum still fits: the
  digest of the link, which names the few entries of one append;
- a removed entry: its place within its link is empty; a removed mission: its links lead nowhere, and no
  checkpoint says that retention took it;
- an inserted entry: no link tells of its place;
- entries in another order: each disagrees with the checksum of its place;
- a removed, changed or reordered link: the numbers have a gap, or a link does not follow from the one
  before it;
- a cut tail: the head of the chain, kept in a table of its own, in a file beside the database (written
  every few seconds and at every stop) and in every backup;
- a row that names another entry, or that is gone although its raw entry is there.

Where retention removes a mission, a checkpoint joins the chain: a link over the digests of all links that
it takes away. They stay, without their checksums, so that the chain can be followed across the gap. When
a fact was told again, the earlier telling keeps its raw bytes and its place here, and loses only its row.

None of this stops somebody who may write the database and the files beside it, and who rewrites the whole
chain from the change on: nothing here is secret. Against that helps a head that was kept where they cannot
write: a backup elsewhere, or the line that a verification prints. The columns that are derived from raw
entries, and what was never committed, are not part of the chain.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from struct import pack
from typing import Final

import msgspec

from quartermaster.store.database import Connection

ENTRIES: Final = 0
CHECKPOINT: Final = 1
"""Kinds of links: of raw entries that came, and of a mission that retention took away."""


class Piece(msgspec.Struct, frozen=True):
    """Raw entries of one mission, one behind the other, that came in one append."""

    mission: int
    first_sequence: int
    entries: int
    checksums: bytes
    digest: bytes


class Head(msgspec.Struct, frozen=True):
    """How far a chain has come. Number 0 is before the first link."""

    number: int
    link: bytes


def piece(mission: int, first_sequence: int, raws: Sequence[bytes], checksums: Sequence[int]) -> Piece:
    """What a link will hold of these raw entries; `checksums` are their CRC-32."""
    packed = pack_checksums(checksums)
    digest = sha256(packed)
    digest.update(b"".join(raws))
    digest.update(pack_lengths(map(len, raws)))
    return Piece(mission, first_sequence, len(raws), packed, digest.digest())


def pack_checksums(checksums: Sequence[int]) -> bytes:
    """CRC-32 checksums as they are kept in a link."""
    return pack(f"<{len(checksums)}I", *checksums)


def pack_lengths(lengths: Iterable[int]) -> bytes:
    """Lengths of raw entries as they are hashed into a digest."""
    known = tuple(lengths)
    return pack(f"<{len(known)}Q", *known)


def next_link(before: bytes, number: int, kind: int, entries: int, digest: bytes) -> bytes:
    """The link that follows from the one before it."""
    return sha256(before + pack("<QBQ", number, kind, entries) + digest).digest()


def first_link(workspace_id: str) -> bytes:
    """What the first link of a workspace follows from."""
    return sha256(f"quartermaster journal of {workspace_id}".encode()).digest()


def head_of(connection: Connection, workspace: int) -> Head:
    """The last link of a workspace, as the chain itself remembers it."""
    row = connection.execute(
        "select number, link from chain_head where workspace = ?", (workspace,)
    ).fetchone()
    if row is not None:
        return Head(*row)
    named = connection.execute("select workspace_id from workspace where id = ?", (workspace,)).fetchone()
    return Head(0, first_link(named[0]))


def extend(connection: Connection, workspace: int, pieces: Iterable[Piece], kind: int = ENTRIES) -> None:
    """Add a link for each piece."""
    head = head_of(connection, workspace)
    number, link = head.number, head.link
    rows = []
    for one in pieces:
        number += 1
        link = next_link(link, number, kind, one.entries, one.digest)
        rows.append(
            (
                workspace,
                number,
                kind,
                one.mission,
                one.first_sequence,
                one.entries,
                one.checksums,
                one.digest,
                link,
            )
        )
    connection.executemany("insert into chain_link values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("insert or replace into chain_head values (?, ?, ?)", (workspace, number, link))


def check_out(connection: Connection, workspace: int, mission: int) -> None:
    """Add the checkpoint of a mission that retention takes away."""
    digest, links = digest_of_links(connection, workspace, mission)
    if not links:
        return
    extend(connection, workspace, [Piece(mission, 0, links, b"", digest)], CHECKPOINT)
    connection.execute(
        "update chain_link set checksums = null where mission = ? and kind = ?", (mission, ENTRIES)
    )


def digest_of_links(connection: Connection, workspace: int, mission: int) -> tuple[bytes, int]:
    """What a checkpoint holds of a mission: one digest over all its links, and how many there are."""
    digest, links = sha256(), 0
    for number, held in connection.execute(
        "select number, digest from chain_link where mission = ? and kind = ? and workspace = ?"
        " order by number",
        (mission, ENTRIES, workspace),
    ):
        digest.update(pack("<Q", number) + held)
        links += 1
    return digest.digest(), links


def move(connection: Connection, mission: int, into: int, behind: int) -> None:
    """Raw entries of one mission now lie in another, from the sequence `behind` on."""
    connection.execute(
        "update chain_link set mission = ?, first_sequence = first_sequence + ? where mission = ?",
        (into, behind, mission),
    )
