"""One recording on disk that is being read: which bytes are new, and what they say.

A file may grow, be rewritten, rotated, cut off, or be read while half a line is on disk. What was read
is remembered as a position together with digests of the file's first bytes and of the bytes right
before the position: while both still agree, the file has only grown, otherwise it is another one and is
read from its start. Reading anything twice is harmless, because entries have natural keys.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from quartermaster.adapters import (
    Adapter,
    DocumentAdapter,
    LineAdapter,
    LineReader,
    Record,
    RejectedLine,
    adapter_named,
    recognise,
)
from quartermaster.adapters.native import split_concatenated
from quartermaster.core.journal import minted_id
from quartermaster.core.secrets import Masker
from quartermaster.errors import Rejected
from quartermaster.store.journal import Decoded, decode_entry
from quartermaster.store.sources import KEPT_BYTES, Rejection, Source, State, printable_path

CHUNK_BYTES: Final = 2 << 20
HEAD_BYTES: Final = 256 * 1024
_LOOKED_AT_WHOLE_BYTES: Final = 32 << 20
DOCUMENT_LIMIT_BYTES: Final = 512 << 20
_FIRST_LINE_LIMIT_BYTES: Final = 256 << 20
"""How far the end of a first line is looked for that does not say itself what the file is."""

_DIGESTED_HEAD: Final = 1024
_DIGESTED_TAIL: Final = 256
_CLOSING_BRACE: Final = ord("}")
_ZIP: Final = b"PK\x03\x04"
_BYTE_ORDER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_QUIET_NANOSECONDS: Final = 2 * 10**9


class Batch(msgspec.Struct, kw_only=True):
    """What one reading of a recording has found, to be kept in one transaction with the new position.

    `read_from` is what the database said of the (generation, position) before. `archive` are the bytes
    read, which begin at `archive_position`, of formats whose entries are derived. `amended` are
    rejections that were told before and whose length is known only now.
    """

    source: Source
    read_from: tuple[int, int]
    decoded: list[Decoded]
    rejections: list[Rejection]
    amended: tuple[Rejection, ...] = ()
    archive: bytes | None
    masked: dict[str, int]
    archive_position: int = 0
    revisable: bool
    whole_document: bool
    more: bool


class Refused(Exception):
    """The file is not to be read; the message says why, the state says how to file it."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state = state


@contextmanager
def opened(root: Path, path: Path) -> Iterator[int]:
    """A descriptor of a regular file below `root`, following no symbolic link on the way.

    Raises Refused for anything else before it is opened: pipes and devices would notice that.
    """
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    descriptor = -1
    try:
        *folders, name = os.fsencode(path.relative_to(root)).split(b"/")
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        _check_kind(os.stat(name, dir_fd=directory, follow_symlinks=False))
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=directory)
        yield descriptor
    finally:
        os.close(directory)
        if descriptor >= 0:
            os.close(descriptor)


class Recording:
    """Reads one file piece by piece. Keep it while the file grows: it remembers what it has decoded."""

    def __init__(
        self,
        root: Path,
        path: Path,
        source: Source | None,
        *,
        workspace_names: frozenset[str],
        line_limit_bytes: int,
        masker: Masker | None = None,
    ) -> None:
        self.root = root
        self.path = path
        self.source = source or Source(path=os.fsencode(path), name=_name(root, path))
        self._workspace_names = workspace_names
        self._line_limit = line_limit_bytes
        self._masker = masker
        self._masked: Counter[str] = Counter()
        self._adapter: Adapter | None = None
        self._reader: LineReader | None = None
        self._reader_position = 0
        self._occurrences: Counter[bytes] = Counter()
        self._anonymous = 0
        self._head = b""
        self._before = b""
        self.awaits_finish = False

    def read(self, *, now: int, at_rest: bool = False) -> Batch | None:
        """What is new since the last reading, at most about two mebibytes of lines; None when nothing is.

        `at_rest` says that nobody writes to the file any more. Raises Refused or OSError.
        """
        with opened(self.root, self.path) as descriptor:
            status = os.fstat(descriptor)
            _check_kind(status)
            source = self._continued(descriptor, status)
            at_rest = at_rest or now - status.st_ctime_ns > _QUIET_NANOSECONDS
            if self._adapter is None and source.position:
                self._adapter = adapter_named(source.format)
            if self._adapter is None:
                self._adapter = self._recognise(descriptor, status.st_size, at_rest=at_rest)
                source.format = self._adapter.name
            if self._adapter.line_based:
                return self._read_lines(descriptor, source, self._adapter, at_rest=at_rest)
            return self._read_document(descriptor, source, self._adapter, at_rest=at_rest)

    def finish(self) -> Batch | None:
        """What can be said of a recording that was read to its end and is at rest, such as its outcome."""
        self.awaits_finish = False
        self._masked.clear()
        if self._reader is None or self._adapter is None:
            return None
        decoded, rejections = self._decode(self._reader.finish(), self._adapter)
        source = msgspec.structs.replace(self.source)
        if source.state == "reading":
            source.state = "complete"
        return self._batch(source, decoded, rejections, self._adapter)

    def committed(self, source: Source) -> None:
        """The batch is on disk: go on from there."""
        self.source = source

    def forget(self) -> None:
        """The batch is not on disk: whoever reads this file next starts from what the database says."""
        self._reader = None
        self._adapter = None

    def _continued(self, descriptor: int, status: os.stat_result) -> Source:
        """The source as this reading starts: of the same generation, or at the start of a new one."""
        source = msgspec.structs.replace(
            self.source,
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            modified=status.st_ctime_ns,
            reason=None,
        )
        self._head = os.pread(descriptor, source.head_length, 0)
        self._before = _bytes_before(descriptor, source.position)
        if source.position and not self._only_grew(source, status.st_mtime_ns):
            self._begin_again(source)
        return source

    def _only_grew(self, source: Source, written: int) -> bool:
        """Whether what was read is still there. A file of the same length that was written to may differ
        anywhere."""
        if source.size < source.position:
            return False
        if _digest(self._head) != source.head_digest or _digest(self._before) != source.tail_digest:
            return False
        known = self.source
        rewritten = known.inode != source.inode or written > known.modified
        return source.size > source.position or not rewritten

    def _begin_again(self, source: Source) -> None:
        """From here on the source speaks of other content: of its next generation."""
        self._reader = self._adapter = None
        self._head = self._before = b""
        source.generation += 1
        source.state = "reading"
        source.position = source.lines = source.skipped = source.head_length = source.anonymous = 0
        source.accepted = source.duplicate = source.conflicting = source.rejected = 0
        source.head_digest = source.tail_digest = source.unknown_types = None

    def _remember_digests(self, source: Source, data: bytes) -> None:
        """Of the bytes that were read, not of the file: it may be another one by now."""
        head = (self._head + data[:_DIGESTED_HEAD])[:_DIGESTED_HEAD]
        source.head_length, source.head_digest = len(head), _digest(head)
        source.tail_digest = _digest((self._before + data[-_DIGESTED_TAIL:])[-_DIGESTED_TAIL:])

    def _recognise(self, descriptor: int, size: int, *, at_rest: bool) -> Adapter:
        if size == 0:
            raise Refused("waiting", "the file is empty")
        head = os.pread(descriptor, HEAD_BYTES, 0)
        if _is_utf_16(head):
            raise Refused("unrecognised", "the text is UTF-16; save it as UTF-8")
        adapter = recognise(head, whole=len(head) == size)
        if adapter is None and len(head) < size and b"\n" not in head:
            adapter = self._recognise_behind_first_line(descriptor, size)
        if adapter is None and at_rest and len(head) < size <= _LOOKED_AT_WHOLE_BYTES:
            adapter = recognise(_read_all(descriptor, size), whole=True)  # what tells it may stand at its end
        if adapter is not None:
            return adapter
        if b"\n" not in head and not at_rest:
            raise Refused("waiting", "no whole line yet")
        if len(head) < size <= _LOOKED_AT_WHOLE_BYTES and not at_rest:
            raise Refused("waiting", "its beginning does not say what it is; it is looked at whole at rest")
        raise Refused("unrecognised", "no known format of recordings; the file is left as it is")

    def _recognise_behind_first_line(self, descriptor: int, size: int) -> Adapter | None:
        position = HEAD_BYTES
        looked_at = 0
        while position < size and looked_at < _FIRST_LINE_LIMIT_BYTES:
            chunk = os.pread(descriptor, CHUNK_BYTES, position)
            newline = chunk.find(b"\n")
            if newline >= 0:
                start = position + newline + 1
                head = os.pread(descriptor, HEAD_BYTES, start)
                return recognise(head, whole=start + len(head) == size)
            looked_at += len(chunk)
            position = _behind_hole(descriptor, position + len(chunk), size) if chunk else size
        return None

    def _read_document(
        self, descriptor: int, source: Source, adapter: DocumentAdapter, *, at_rest: bool
    ) -> Batch | None:
        if source.position == source.size:
            return None
        if source.position:
            self._begin_again(source)
            self._adapter = adapter
        if source.size > DOCUMENT_LIMIT_BYTES:
            raise Refused("failed", f"the document is larger than {DOCUMENT_LIMIT_BYTES >> 20} MiB")
        document = _read_all(descriptor, source.size)
        if not at_rest and not _is_whole(document):
            raise Refused("waiting", "the document is not whole yet")
        self._occurrences.clear()
        self._masked.clear()
        packed = document.startswith(_ZIP)
        shown = document if packed else self._mask(document)
        records = adapter.read_document(shown)
        decoded, rejections = self._decode(
            map(self._masked_record, records) if packed else records, adapter, data=shown
        )
        source.position = source.size = len(document)
        source.lines = document.count(b"\n")
        source.state = "complete"
        self._remember_digests(source, document)
        # a packed document cannot be masked, so it is not kept where masking is wanted
        archive = None if packed and self._masker else shown
        return self._batch(source, decoded, rejections, adapter, archive=archive)

    def _read_lines(
        self, descriptor: int, source: Source, adapter: LineAdapter, *, at_rest: bool
    ) -> Batch | None:
        reader = self._primed_reader(descriptor, source, adapter)
        chunk, end = self._next_lines(descriptor, source, at_rest=at_rest)
        if not chunk:
            return self._nothing_new(source, adapter)
        if source.skipped or (not end and len(chunk) > self._line_limit):
            return self._skip_line(descriptor, source, adapter, chunk)
        if not end:
            return self._wait(source, adapter)
        data, position = chunk[:end], source.position
        self._masked.clear()
        lines = self._lines_of(data)
        decoded, rejections = self._decode_lines(reader, lines, source, adapter)
        source.lines += len(lines) - 1
        source.anonymous = self._anonymous
        self._remember_digests(source, data)
        self._go_on_at(source, position + end, adapter)
        archive = b"\n".join([line for line, _ in lines]) if self._masked else data
        batch = self._batch(source, decoded, rejections, adapter, archive=archive)
        batch.archive_position = position
        return batch

    def _go_on_at(self, source: Source, position: int, adapter: Adapter) -> None:
        source.position = self._reader_position = position
        self.awaits_finish = not adapter.keeps_bytes
        source.state = "complete" if position == source.size and adapter.keeps_bytes else "reading"

    def _nothing_new(self, source: Source, adapter: Adapter) -> Batch | None:
        if source.state == "complete":
            return None
        known = source.state
        self._go_on_at(source, source.position, adapter)
        return None if known == source.state else self._batch(source, [], [], adapter)

    def _next_lines(self, descriptor: int, source: Source, *, at_rest: bool) -> tuple[bytes, int]:
        """The next bytes, and how many of them are whole lines: 0 when a line is not whole or too long."""
        left = source.size - source.position  # what is appended meanwhile is for the next reading
        chunk = os.pread(descriptor, min(CHUNK_BYTES, left), source.position)
        end = chunk.rfind(b"\n") + 1
        while not end and chunk and len(chunk) <= self._line_limit and not source.skipped:
            rest = min(CHUNK_BYTES, left - len(chunk))
            more = os.pread(descriptor, rest, source.position + len(chunk))
            if not more:
                break
            end = len(chunk) + more.rfind(b"\n") + 1 if b"\n" in more else 0
            chunk += more
        at_end = source.position + len(chunk) >= source.size
        if (
            at_end
            and end < len(chunk)
            and not source.skipped
            and _is_whole_line(chunk[end:], at_rest=at_rest)
        ):
            end = len(chunk)
        return chunk, end

    def _wait(self, source: Source, adapter: Adapter) -> Batch | None:
        self.awaits_finish = not adapter.keeps_bytes
        if self.source.state == "waiting" and self.source.size == source.size:
            return None
        source.state, source.reason = "waiting", "the last line is not whole yet"
        return self._batch(source, [], [], adapter)

    def _primed_reader(self, descriptor: int, source: Source, adapter: LineAdapter) -> LineReader:
        """The reader at the source's position; a fresh one first reads again what was read before."""
        if self._reader is not None and self._reader_position == source.position:
            return self._reader
        self._reader = adapter.line_reader()
        self._reader_position = source.position
        self._occurrences.clear()
        self._anonymous = 0
        if not adapter.keeps_bytes or source.anonymous:
            for position, data in _lines_before(descriptor, source.position, self._line_limit):
                past = msgspec.structs.replace(source, position=position, lines=0)
                self._decode_lines(self._reader, self._lines_of(data), past, adapter)
        return self._reader

    def _lines_of(self, data: bytes) -> list[tuple[bytes, int]]:
        """The lines of whole lines, masked, each with its length on disk."""
        lines = data.split(b"\n")
        if self._masker is None or not self._masker.finds(data):
            return [(line, len(line)) for line in lines]
        return [(self._mask(line), len(line)) for line in lines]

    def _mask(self, data: bytes) -> bytes:
        """The bytes without the secrets in them, which are counted."""
        if self._masker is None:
            return data
        masked, counts = self._masker.mask(data)
        self._masked.update(counts)
        return masked

    def _masked_record(self, record: Record | RejectedLine) -> Record | RejectedLine:
        if isinstance(record, RejectedLine):
            return record
        return Record(self._mask(record.raw), record.offset, record.length)

    def _decode_lines(
        self, reader: LineReader, lines: Iterable[tuple[bytes, int]], source: Source, adapter: LineAdapter
    ) -> tuple[list[Decoded], list[Rejection]]:
        decoded: list[Decoded] = []
        rejections: list[Rejection] = []
        position, number = source.position, source.lines
        for line, length in lines:
            number += 1
            if length > self._line_limit:
                told = length - line.endswith(b"\r")
                rejections.append(Rejection(number, position, told, self._too_long(), line[:KEPT_BYTES]))
            elif line:
                entry = self._plain_entry(line, position) if adapter.keeps_bytes else None
                if entry is not None:
                    decoded.append(entry)
                    position += length + 1
                    continue
                records = reader.read_line(line, position)
                some, bad = self._decode(records, adapter, data=line, begin=position, number=number)
                decoded += some
                rejections += bad
            position += length + 1
        return decoded, rejections

    def _plain_entry(self, line: bytes, position: int) -> Decoded | None:
        """A line that is one whole entry as it stands, which most are; None leaves it to its format."""
        if not position or line[-1] != _CLOSING_BRACE:
            return None
        try:
            return decode_entry(line, self._workspace_names, self._mint)
        except Rejected:
            return None

    def _decode(
        self,
        records: Iterable[Record | RejectedLine],
        adapter: Adapter,
        *,
        data: bytes = b"",
        begin: int = 0,
        number: int | None = None,
    ) -> tuple[list[Decoded], list[Rejection]]:
        """What records say; `data` are the bytes they were read from, which begin at `begin`."""
        decoded: list[Decoded] = []
        rejections: list[Rejection] = []

        def reject(at: int, length: int, reason: str) -> None:
            raw = data[at - begin : at - begin + min(length, KEPT_BYTES)]
            rejections.append(Rejection(number, at, length, reason, raw))

        for record in records:
            if isinstance(record, RejectedLine):
                reject(record.offset, record.length, record.reason)
                continue
            try:
                decoded.append(decode_entry(record.raw, self._workspace_names, self._mint))
            except Rejected as reason:
                glued = _glued_records(record) if adapter.keeps_bytes else ()
                if not glued:
                    reject(record.offset, record.length, str(reason))
                    continue
                some, bad = self._decode(glued, adapter, data=data, begin=begin, number=number)
                decoded += some
                rejections += bad
        return decoded, rejections

    def _mint(self, raw: bytes) -> str:
        """The id of an entry that came without one: its content, and the how-manieth of that content."""
        digest = blake2b(raw, digest_size=8).digest()
        occurrence = self._occurrences[digest]
        self._occurrences[digest] += 1
        self._anonymous += 1
        return minted_id("content", raw, str(occurrence))

    def _skip_line(self, descriptor: int, source: Source, adapter: Adapter, chunk: bytes) -> Batch:
        """Pass over a line that is over the limit: it is told at once, its length as far as it is known."""
        newline = chunk.find(b"\n")
        end = source.position + (len(chunk) if newline < 0 else newline)
        if newline < 0:
            end = _behind_hole(descriptor, end, source.size)
        began = source.position - source.skipped
        self._masked.clear()
        first_bytes = self._mask(os.pread(descriptor, KEPT_BYTES, began))
        told = end - began - (os.pread(descriptor, 1, end - 1) == b"\r")
        rejection = Rejection(source.lines + 1, began, told, self._too_long(), first_bytes)
        told_before = source.skipped > 0
        source.skipped = end - began if newline < 0 else 0
        self._remember_digests(source, chunk)
        if newline >= 0:
            source.lines += 1
            end += 1
        source.tail_digest = _digest(_bytes_before(descriptor, end))
        self._go_on_at(source, end, adapter)
        batch = self._batch(source, [], [] if told_before else [rejection], adapter)
        batch.amended = (rejection,) if told_before else ()
        return batch

    def _too_long(self) -> str:
        return f"the line is longer than {self._line_limit >> 20} MiB"

    def _batch(
        self,
        source: Source,
        decoded: list[Decoded],
        rejections: list[Rejection],
        adapter: Adapter,
        *,
        archive: bytes | None = None,
    ) -> Batch:
        return Batch(
            source=source,
            read_from=(self.source.generation, self.source.position),
            decoded=decoded,
            rejections=rejections,
            archive=None if adapter.keeps_bytes else archive,
            masked=dict(self._masked),
            revisable=adapter.revisable,
            whole_document=not adapter.line_based,
            more=source.state == "reading" and source.position < source.size,
        )


def _is_utf_16(head: bytes) -> bool:
    """A byte order mark, and text of which every other byte is zero: the mark alone may be a broken line."""
    begin = head[2:66]
    return head.startswith(_BYTE_ORDER_MARKS) and 4 * begin.count(0) > len(begin)


def _name(root: Path, path: Path) -> str:
    """The path below its folder, as valid text."""
    return printable_path(os.fsencode(path.relative_to(root)))


def _bytes_before(descriptor: int, position: int) -> bytes:
    begin = max(position - _DIGESTED_TAIL, 0)
    return os.pread(descriptor, position - begin, begin)


def _lines_before(descriptor: int, stop: int, limit: int) -> Iterator[tuple[int, bytes]]:
    """The first `stop` bytes in pieces of whole lines, each with where it begins.

    Lines over the limit are left out, so that memory does not follow their length.
    """
    position, rest, too_long = 0, b"", False
    while position < stop and (piece := os.pread(descriptor, min(CHUNK_BYTES, stop - position), position)):
        position += len(piece)
        if too_long:
            _, newline, piece = piece.partition(b"\n")
            if not newline:
                continue
            too_long = False
        piece = rest + piece
        end = len(piece) if position >= stop else piece.rfind(b"\n") + 1
        if end:
            yield position - len(piece), piece[:end]
        rest = piece[end:]
        if len(rest) > limit:
            too_long, rest = True, b""


def _behind_hole(descriptor: int, position: int, size: int) -> int:
    """The next position that has data on disk: sparse files may be larger than any disk."""
    try:
        return min(os.lseek(descriptor, position, os.SEEK_DATA), size)
    except OSError as error:
        return size if error.errno == errno.ENXIO else position


def _glued_records(record: Record) -> Sequence[Record]:
    """The records of several objects on one line; none when it is not that."""
    parts = split_concatenated(record.raw) or ()
    if len(parts) < 2:
        return ()
    return [Record(record.raw[at : at + size], record.offset + at, size) for at, size in parts]


def _check_kind(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise Refused("refused", "symbolic links are not followed")
    if not stat.S_ISREG(status.st_mode):
        raise Refused("refused", "not a regular file")
    if status.st_nlink > 1 and status.st_uid not in (os.getuid(), 0):
        raise Refused("refused", "a hard link to a file of another user")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _read_all(descriptor: int, size: int) -> bytes:
    pieces: list[bytes] = []
    position = 0
    while position < size and (piece := os.pread(descriptor, size - position, position)):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)


_is_json: Final = msgspec.json.Decoder(msgspec.Raw).decode


def _is_whole(document: bytes) -> bool:
    try:
        _is_json(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return False
    return True


def _is_whole_line(line: bytes, *, at_rest: bool) -> bool:
    """Whether the bytes behind the last newline are a line: a JSON object that is whole, or, where nobody
    writes any more, plain text."""
    if at_rest and not line.lstrip().startswith(b"{"):
        return True
    return line.rstrip().endswith(b"}") and _is_whole(line)
