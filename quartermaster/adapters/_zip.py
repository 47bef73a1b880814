"""Zip archives in memory, read member by member; nothing is taken out that claims too much.

An archive whose directory is missing, because its writer was killed, or damaged is read by the headers
that stand before each member.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import zstandard

from quartermaster.errors import Rejected

MAGIC: Final = b"PK\x03\x04"
MEMBER_LIMIT: Final = 256 << 20
RATIO_LIMIT: Final = 200
"""How many times its size an archive may hold, and a member of more than a mebibyte."""
_SMALL: Final = 1 << 20
_TOTAL_LIMIT: Final = 4 << 30

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_LONGEST_COMMENT: Final = 65_535
_STORED, _DEFLATED, _ZSTANDARD = 0, 8, 93
_ENCRYPTED: Final = 1
_SIZES_FOLLOW: Final = 8


class Member(NamedTuple):
    """One file of an archive; `start` is where its header stands."""

    name: str
    method: int
    flags: int
    checksum: int
    packed: int
    size: int
    start: int


class Archive:
    """The members of an archive by name; of two of one name the later one counts.

    `complete` is False where the archive has no directory, or a damaged one, so that members may be
    missing.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        found = _directory(data)
        self.complete = found is not None
        members = _headers(data) if found is None else found
        self.members = {member.name: member for member in members}
        total = sum(member.size for member in self.members.values())
        self._claims_too_much = total > min(_TOTAL_LIMIT, max(len(data) * RATIO_LIMIT, _SMALL))

    def read(self, member: Member) -> bytes:
        """The content of a member; raises Rejected with the reason."""
        self._check(member)
        content = _unpacked(member, self._packed(member))
        if len(content) != member.size or zlib.crc32(content) != member.checksum:
            raise Rejected(f"{member.name} does not match its checksum")
        return content

    def _check(self, member: Member) -> None:
        if self._claims_too_much:
            raise Rejected("the archive claims to hold more than any recording of its size does")
        if member.size > MEMBER_LIMIT:
            raise Rejected(f"{member.name} is larger than {MEMBER_LIMIT >> 20} MiB")
        if member.size > max(_SMALL, member.packed * RATIO_LIMIT):
            raise Rejected(f"{member.name} claims to be packed better than any recording can be")
        if member.flags & _ENCRYPTED:
            raise Rejected(f"{member.name} is encrypted")

    def _packed(self, member: Member) -> memoryview:
        header = self._data[member.start : member.start + _LOCAL.size]
        if len(header) < _LOCAL.size or not header.startswith(MAGIC):
            raise Rejected(f"{member.name} is not where the archive says it is")
        *_, name_length, extra_length = _LOCAL.unpack(header)
        begin = member.start + _LOCAL.size + name_length + extra_length
        packed = memoryview(self._data)[begin : begin + member.packed]
        if len(packed) != member.packed:
            raise Rejected(f"{member.name} is cut off")
        return packed


def member_names(head: bytes) -> Iterator[str]:
    """The names of the members whose headers stand in the first bytes of an archive."""
    start = 0 if head.startswith(MAGIC) else -1
    while 0 <= start <= len(head) - _LOCAL.size:
        *_, length, _ = _LOCAL.unpack_from(head, start)
        yield _name(head[start + _LOCAL.size : start + _LOCAL.size + length])
        start = head.find(MAGIC, start + _LOCAL.size)


def _directory(data: bytes) -> list[Member] | None:
    """The members that the directory at the end names; None where there is none, or a damaged one."""
    end = data.rfind(b"PK\x05\x06", max(len(data) - _END.size - _LONGEST_COMMENT, 0))
    if end < 0 or end + _END.size > len(data):
        return None
    *_, count, _, begin, _ = _END.unpack_from(data, end)
    members: list[Member] = []
    position = begin
    while position + _CENTRAL.size <= end and data.startswith(b"PK\x01\x02", position):
        fields = _CENTRAL.unpack_from(data, position)
        flags, method, checksum, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
        name_length, extra_length, comment_length, start = fields[10], fields[11], fields[12], fields[16]
        name = position + _CENTRAL.size
        text = _name(data[name : name + name_length])
        members.append(Member(text, method, flags, checksum, packed, size, start))
        position = name + name_length + extra_length + comment_length
    return members if members and len(members) == count else None


def _headers(data: bytes) -> Iterator[Member]:
    """The members one after the other, as far as each says where the next one begins."""
    start = 0
    while start + _LOCAL.size <= len(data) and data.startswith(MAGIC, start):
        _, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = _LOCAL.unpack_from(
            data, start
        )
        begin = start + _LOCAL.size + name_length + extra_length
        if flags & _SIZES_FOLLOW or begin + packed > len(data):
            return
        text = _name(data[start + _LOCAL.size : start + _LOCAL.size + name_length])
        yield Member(text, method, flags, checksum, packed, size, start)
        start = begin + packed


def _unpacked(member: Member, packed: memoryview) -> bytes:
    try:
        if member.method == _STORED:
            return bytes(packed)
        if member.method == _DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
        if member.method == _ZSTANDARD:
            return zstandard.ZstdDecompressor().stream_reader(packed).read(member.size + 1)
    except (zlib.error, zstandard.ZstdError):
        raise Rejected(f"{member.name} is damaged") from None
    raise Rejected(f"{member.name} is packed in a way that is not known here")


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
