"""Files and folders that are named: what becomes of every record, and that each is kept once."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from quartermaster.adapters.native_document import NativeDocument
from quartermaster.core.journal import format_instant
from quartermaster.errors import NotFound
from quartermaster.evaluate import assess_mission, nothing_to_check
from quartermaster.ingest import accept_entries, ingest_paths
from quartermaster.store import access, journal, missions, sources
from quartermaster.store.database import Database
from quartermaster.store.journal import JournalFilter
from quartermaster.store.sources import SourceLedger

PROJECT = Path(__file__).resolve().parents[1]
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES") or PROJECT.parent / "shared/traces")
SAMPLES = PROJECT / "data/samples"
MEBIBYTE = 1 << 20

needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="needs the recordings (QUARTERMASTER_TRACES)")


class Crew:
    """A database with one workspace, and a folder for recordings."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.workspace = self.add_workspace("crew")

    def add_workspace(self, slug: str) -> int:
        made = self.database.write_blocking(lambda c: access.create_workspace(c, slug, now=1))
        return made.key

    def write(self, name: str, *lines: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    def ingest(self, path: Path | None = None, **limits: int) -> SourceLedger:
        [ledger] = ingest_paths(self.database, self.workspace, [path or self.folder], **limits)
        return ledger

    def ingest_all(self, workspace: int | None = None) -> list[SourceLedger]:
        return ingest_paths(self.database, workspace or self.workspace, [self.folder])

    def raws(self, workspace: int | None = None) -> list[bytes]:
        found: list[bytes] = []
        cursor = None
        while True:
            filters = JournalFilter(limit=500, cursor=cursor)
            page = self.database.read_blocking(
                lambda c, filters=filters: journal.list_entries(c, workspace or self.workspace, filters)
            )
            found += page.entries
            if (cursor := page.next_cursor) is None:
                return found

    def ids(self) -> list[str]:
        return sorted(json.loads(raw)["id"] for raw in self.raws())

    def count(self) -> int:
        return self.database.read_blocking(
            lambda c: journal.count_entries(c, self.workspace, JournalFilter())
        )

    def tellings(self) -> int:
        """Entries ever kept, those included that were told again in other words later."""
        query = "select count(*) from entry_key where workspace = ?"
        return self.database.read_blocking(lambda c: c.execute(query, (self.workspace,)).fetchone()[0])

    def mission(self, mission_id: str) -> missions.Mission:
        found = self.database.read_blocking(lambda c: missions.find_mission(c, self.workspace, mission_id))
        assert found is not None
        return found


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    folder = tmp_path / "recordings"
    folder.mkdir()
    with Database(tmp_path / "quartermaster.db") as database:
        yield Crew(database, folder)


def entry(number: int, **fields: object) -> bytes:
    body = {
        "id": f"j_{number:016x}",
        "mission_id": "m1",
        "ts": f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
        "entry_type": "llm.call",
        "payload": {"total_tokens": 10},
    }
    return json.dumps({name: value for name, value in (body | fields).items() if value is not None}).encode()


def between(bad: bytes) -> tuple[bytes, bytes, bytes]:
    return entry(1), bad, entry(2)


def told(ledger: SourceLedger) -> tuple[int, int, int, int, int]:
    return ledger.accepted, ledger.duplicate, ledger.conflicting, ledger.rejected, ledger.unread


def test_a_journal_is_read_to_its_end(crew: Crew) -> None:
    ledger = crew.ingest(crew.write("a.ndjson", entry(1), entry(2), entry(3)))
    assert (ledger.format, ledger.state, told(ledger)) == ("native", "complete", (3, 0, 0, 0, 0))
    assert crew.mission("m1").total_tokens == 30


def test_an_empty_file_waits(crew: Crew) -> None:
    ledger = crew.ingest(crew.write("a.ndjson"))
    assert (ledger.state, ledger.reason, told(ledger)) == ("waiting", "the file is empty", (0, 0, 0, 0, 0))


def test_a_binary_file_is_left_as_it_is(crew: Crew) -> None:
    path = crew.folder / "a.bin"
    path.write_bytes(bytes(range(256)) * 4000)
    crew.write("b.ndjson", entry(1))
    binary, journal_file = crew.ingest_all()
    assert (binary.state, binary.accepted, binary.unread) == ("unrecognised", 0, 256 * 4000)
    assert journal_file.accepted == 1


START = b'{"entry_type":"a","ts":"2026-01-01T00:00:00Z",'
NO_JSON = "not valid JSON: invalid character"
HALF = "is half of a surrogate pair"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"\0\0\0\0", f"{NO_JSON} (byte 0)"),
        (START + b'"summary":"\xff"}', "not valid UTF-8 (byte 57)"),
        (START + b'"payload":{"text":"\xc3"}}', "not valid UTF-8 (byte 65)"),
        (START + b'"summary":"a\0b"}', f"{NO_JSON} (byte 58)"),
        (b'{"payload":' * 100_000, "JSON is nested too deeply"),
        (START + b'"payload":{"cost_usd":NaN}}', f"{NO_JSON} (byte 68)"),
        (START + b'"n":-Infinity}', f"{NO_JSON} (byte 51)"),
        (START + b'"summary":"cut \\ud83d"}', f"\\ud83d {HALF}"),
        (START + b'"summary":"\\udc00 tail"}', f"\\udc00 {HALF}"),
        (START + b'"mission_id":"\\ud800\\n"}', f"\\ud800 {HALF}"),
        (START[:30], "JSON ends too early"),
        (b"null", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"{}", "entry_type is missing or not a text"),
        (b"nonsense", f"{NO_JSON} (byte 4)"),
    ],
)
def test_a_bad_line_costs_that_line(crew: Crew, bad: bytes, reason: str) -> None:
    ledger = crew.ingest(crew.write("a.ndjson", *between(bad)))
    assert told(ledger) == (2, 0, 0, 1, 0)
    [line] = ledger.rejected_lines
    assert (line.line, line.position, line.length) == (2, len(entry(1)) + 1, len(bad))
    assert line.reason == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": "  "}, "id is blank"),
        ({"id": "x" * 10_000}, "id has more than 512 characters"),
        ({"id": 7}, "id is not a text"),
        ({"mission_id": "\t"}, "mission_id is blank"),
        ({"mission_id": "m" * 10_000}, "mission_id has more than 512 characters"),
        ({"workspace_id": "ws_0000000000000000"}, "the entry belongs to another workspace"),
        ({"workspace_id": "another-slug"}, "the entry belongs to another workspace"),
        ({"ts": None}, "ts is missing or not a text"),
        ({"ts": 1767225600}, "ts is missing or not a text"),
        ({"ts": "yesterday"}, "ts is not an RFC 3339 time"),
        ({"ts": "2026-02-30T00:00:00Z"}, "ts is not an RFC 3339 time"),
        ({"ts": "0001-01-01T00:00:00Z"}, "ts lies outside of the years 1678 to 2261"),
        ({"severity": "fatal"}, "severity is none of info, notice, warn, error"),
    ],
)
def test_an_entry_that_cannot_be_right_is_rejected_with_its_reason(
    crew: Crew, fields: dict[str, object], reason: str
) -> None:
    ledger = crew.ingest(crew.write("a.ndjson", *between(entry(3, **fields))))
    assert told(ledger) == (2, 0, 0, 1, 0)
    assert [(line.line, line.reason) for line in ledger.rejected_lines] == [(2, reason)]


def test_an_entry_may_name_its_workspace_by_id_or_slug(crew: Crew) -> None:
    [crew_workspace] = crew.database.read_blocking(access.list_workspaces)
    names = (crew_workspace.workspace_id, crew_workspace.slug, "")
    lines = [entry(number, workspace_id=name) for number, name in enumerate(names)]
    assert told(crew.ingest(crew.write("a.ndjson", *lines))) == (3, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "ts",
    [
        "2026-01-01T00:00:01.000Z",
        "2026-01-01T00:00:01.5Z",
        "2026-01-01T00:00:01Z",
        "2026-01-01 00:00:01",
        "2026-01-01T00:00:01.123456789Z",
        "2026-01-01T02:00:01+02:00",
    ],
)
def test_every_form_of_a_time_is_accepted(crew: Crew, ts: str) -> None:
    assert told(crew.ingest(crew.write("a.ndjson", entry(1, ts=ts)))) == (1, 0, 0, 0, 0)
    assert crew.mission("m1").started_at is not None


@pytest.mark.parametrize("identifier", [None, ""])
def test_an_entry_without_an_id_gets_one(crew: Crew, identifier: str | None) -> None:
    assert told(crew.ingest(crew.write("a.ndjson", entry(1, id=identifier)))) == (1, 0, 0, 0, 0)


def test_numbers_beyond_64_bits_are_kept_and_count_for_nothing(crew: Crew) -> None:
    bad = (
        START + b'"id":"a","mission_id":"m1","entry_type":"llm.call","payload":{"total_tokens":%s},"note":%s}'
    )
    huge = bad % (b"9" * 30, b"-" + b"9" * 400)
    assert told(crew.ingest(crew.write("a.ndjson", huge))) == (1, 0, 0, 0, 0)
    assert crew.raws() == [huge]
    assert crew.mission("m1").total_tokens is None


def test_a_number_beyond_any_type_in_an_unread_field_stops_neither_fact_nor_comparison(crew: Crew) -> None:
    raw = START + b'"id":"e1","mission_id":"m1","entry_type":"mission.created","note":1e400%s}'
    ledger = crew.ingest(crew.write("a.ndjson", raw % b"", raw % b" ", entry(1)))
    assert ledger.state == "complete"
    assert told(ledger) == (2, 0, 1, 0, 0)


def test_claims_of_absurd_totals_do_not_stop_the_file(crew: Crew) -> None:
    most = 2**62 - 1
    lines = [entry(number, payload={"total_tokens": most, "cost_usd": 4_000_000}) for number in range(5)]
    path = crew.write("a.ndjson", *lines[:3])
    assert told(crew.ingest(path)) == (3, 0, 0, 0, 0)
    with path.open("ab") as file:
        file.write(b"\n".join(lines[3:]) + b"\n")
    ledger = crew.ingest(path)
    assert (ledger.state, told(ledger)) == ("complete", (5, 0, 0, 0, 0))


def test_of_duplicate_keys_the_last_one_counts(crew: Crew) -> None:
    raw = b'{"id":"a","id":"b","mission_id":"m1","entry_type":"llm.call","ts":"2026-01-01T00:00:00Z"}'
    assert told(crew.ingest(crew.write("a.ndjson", raw))) == (1, 0, 0, 0, 0)
    assert crew.database.read_blocking(lambda c: journal.find_entry(c, crew.workspace, "b")) == raw


def test_the_same_id_with_another_body_is_a_conflict_and_the_first_stays(crew: Crew) -> None:
    first, other = entry(1), entry(1, payload={"total_tokens": 99})
    ledger = crew.ingest(crew.write("a.ndjson", first, other, first))
    assert told(ledger) == (1, 1, 1, 0, 0)
    assert crew.raws() == [first]


def test_the_same_fact_in_another_spelling_is_a_duplicate(crew: Crew) -> None:
    spaced = json.dumps(json.loads(entry(1)), indent=None, separators=(" , ", " : ")).encode()
    assert told(crew.ingest(crew.write("a.ndjson", entry(1), spaced))) == (1, 1, 0, 0, 0)


def test_lines_with_carriage_returns_blank_lines_and_a_byte_order_mark_are_read(crew: Crew) -> None:
    path = crew.folder / "a.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + entry(1) + b"\r\n\r\n  \n" + entry(2) + b"\r\n")
    assert told(crew.ingest(path)) == (2, 0, 0, 0, 0)
    assert crew.raws() == [entry(2), entry(1)]


def test_utf_16_is_named_as_such(crew: Crew) -> None:
    path = crew.folder / "a.ndjson"
    path.write_bytes(entry(1).decode().encode("utf-16"))
    ledger = crew.ingest(path)
    assert (ledger.state, ledger.reason) == ("unrecognised", "the text is UTF-16; save it as UTF-8")


def test_a_broken_line_that_looks_like_the_mark_of_utf_16_costs_that_line(crew: Crew) -> None:
    ledger = crew.ingest(crew.write("a.ndjson", b"\xff\xfe", entry(1), entry(2)))
    assert told(ledger) == (2, 0, 0, 1, 0)
    assert crew.raws() == [entry(2), entry(1)]


@pytest.mark.parametrize("broken", [b"[" * 3_000, b"[1, 2]", b"[", b"]"])
def test_a_broken_first_line_that_begins_like_a_list_costs_that_line(crew: Crew, broken: bytes) -> None:
    path = crew.write("a.ndjson", broken)
    crew.ingest(path)
    path.write_bytes(path.read_bytes() + entry(1) + b"\n" + entry(2) + b"\n")
    ledger = crew.ingest(path)
    assert (ledger.accepted, ledger.rejected) == (2, 1)
    assert crew.raws() == [entry(2), entry(1)]


def test_two_objects_glued_on_one_line_are_two_entries(crew: Crew) -> None:
    lines = (entry(5), entry(1) + entry(2), entry(3) + b'{"id":7}' + entry(4))
    ledger = crew.ingest(crew.write("a.ndjson", *lines))
    assert told(ledger) == (5, 0, 0, 1, 0)
    [line] = ledger.rejected_lines
    assert (line.line, line.length) == (3, 8)
    assert line.position == len(entry(1) * 4) + 2


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("place", ["first", "middle", "last without newline"])
@pytest.mark.parametrize("shape", ["an entry", "noise"])
def test_a_line_of_50_mb_costs_that_line_and_no_memory(crew: Crew, place: str, shape: str) -> None:
    path = crew.folder / "a.ndjson"
    start = entry(9)[:-1] + b', "x":"' if shape == "an entry" else b"noise "
    before = [] if place == "first" else [entry(1)]
    after = [] if place.startswith("last") else [entry(2)]
    grown = peak_memory()
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in before)
        file.write(start)
        for _ in range(50):
            file.write(b"y" * MEBIBYTE)
        file.write(b'"}')
        file.writelines(b"\n" + line for line in after)
    ledger = crew.ingest(path)
    assert told(ledger) == (len(before) + len(after), 0, 0, 1, 0)
    [line] = ledger.rejected_lines
    length = len(start) + 50 * MEBIBYTE + 2
    assert (line.line, line.position, line.length) == (
        len(before) + 1,
        sum(map(len, before)) + len(before),
        length,
    )
    assert line.reason == "the line is longer than 16 MiB"
    assert peak_memory() - grown < 40 * MEBIBYTE


def test_the_first_bytes_of_a_line_over_the_limit_are_kept(crew: Crew) -> None:
    path = crew.write("a.ndjson", entry(1), b"BEGIN" + b"y" * 5 * MEBIBYTE, entry(2))
    assert told(crew.ingest(path, line_limit_bytes=MEBIBYTE)) == (2, 0, 0, 1, 0)
    kept = crew.database.read_blocking(lambda c: c.execute("select raw from rejected_line").fetchone()[0])
    assert zstandard.ZstdDecompressor().decompress(kept).startswith(b"BEGINyyy")


def test_a_line_over_the_limit_may_still_grow(crew: Crew) -> None:
    path = crew.folder / "a.ndjson"
    path.write_bytes(entry(1) + b"\n" + b"y" * 3 * MEBIBYTE)
    assert told(crew.ingest(path, line_limit_bytes=MEBIBYTE)) == (1, 0, 0, 1, 0)
    with path.open("ab") as file:
        file.write(b"y" * MEBIBYTE + b"\n" + entry(2) + b"\n")
    ledger = crew.ingest(path, line_limit_bytes=MEBIBYTE)
    assert told(ledger) == (2, 0, 0, 1, 0)
    assert [line.length for line in ledger.rejected_lines] == [4 * MEBIBYTE]


def test_a_sparse_file_larger_than_the_disk_is_passed_over_quickly(crew: Crew) -> None:
    path = crew.write("a.ndjson", entry(1))
    os.truncate(path, 1 << 40)
    with path.open("ab") as file:
        file.write(b"\n" + entry(2) + b"\n")
    (crew.folder / "b.ndjson").touch()
    os.truncate(crew.folder / "b.ndjson", 1 << 40)
    began = time.monotonic()
    written, empty = crew.ingest_all()
    assert told(written) == (2, 0, 0, 1, 0)
    assert empty.state == "unrecognised"
    assert time.monotonic() - began < 20


def test_a_file_that_may_not_be_opened_is_filed_with_the_reason(crew: Crew) -> None:
    crew.write("a.ndjson", entry(1)).chmod(0)
    if os.access(crew.folder / "a.ndjson", os.R_OK):
        pytest.skip("this user may read everything")
    ledger = crew.ingest()
    assert (ledger.state, ledger.reason) == ("failed", "the file may not be read; change its permissions")


def test_a_file_that_cannot_be_opened_now_is_read_when_it_can(crew: Crew) -> None:
    crew.ingest(crew.write("a.ndjson", entry(1)))
    path = crew.write("b.ndjson", entry(2))
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        ledger = crew.ingest(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    assert (ledger.state, ledger.reason) == ("failed", "the file cannot be read: Too many open files")
    ledger = crew.ingest(path)
    assert (ledger.state, ledger.reason, told(ledger)) == ("complete", None, (1, 0, 0, 0, 0))


def test_links_pipes_and_sockets_are_refused_and_the_rest_is_read(crew: Crew, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.ndjson").write_bytes(entry(1) + b"\n")
    (crew.folder / "a.ndjson").symlink_to(outside / "secret.ndjson")
    (crew.folder / "b").symlink_to(outside)
    (crew.folder / "c.ndjson").symlink_to("c.ndjson")
    os.mkfifo(crew.folder / "d.ndjson")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(crew.folder / "e.ndjson"))
        crew.write("f.ndjson", entry(2))
        ledgers = crew.ingest_all()
    shown = [(Path(ledger.path).name, ledger.state, ledger.reason) for ledger in ledgers]
    link, other = "symbolic links are not followed", "not a regular file"
    assert shown == [
        ("a.ndjson", "refused", link),
        ("b", "refused", link),
        ("c.ndjson", "refused", link),
        ("d.ndjson", "refused", other),
        ("e.ndjson", "refused", other),
        ("f.ndjson", "complete", None),
    ]
    assert crew.raws() == [entry(2)]


def test_a_link_that_is_named_itself_is_followed(crew: Crew, tmp_path: Path) -> None:
    target = crew.write("a.ndjson", entry(1))
    link = tmp_path / "link"
    link.symlink_to(target)
    assert crew.ingest(link).path == str(target)


def test_a_path_that_does_not_exist_is_an_error_of_the_user(crew: Crew) -> None:
    with pytest.raises(NotFound, match="no file or folder"):
        crew.ingest(crew.folder / "missing")


@pytest.mark.parametrize("name", [b"caf\xe9.ndjson", b"two\nlines.ndjson", b"\x1b[31mred.ndjson", b"a" * 255])
def test_a_file_may_have_any_name(crew: Crew, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(crew.folder) + b"/" + name))
    path.write_bytes(entry(1) + b"\n")
    ledger = crew.ingest()
    assert told(ledger) == (1, 0, 0, 0, 0)
    ledger.path.encode()


def test_10_000_files_at_once_are_read_each_once(crew: Crew) -> None:
    for number in range(10_000):
        (crew.folder / f"{number}.ndjson").write_bytes(entry(number) + b"\n")
    began = time.process_time()
    ledgers = crew.ingest_all()
    print(f"10,000 files in {time.process_time() - began:.1f} s of CPU")
    assert sum(ledger.accepted for ledger in ledgers) == crew.count() == 10_000


def test_what_was_delivered_is_not_delivered_again(crew: Crew) -> None:
    lines = [entry(number) for number in range(20)] + [entry(number, id=None) for number in (50, 50, 51)]
    path = crew.write("a.ndjson", *lines)
    assert told(crew.ingest(path)) == (23, 0, 0, 0, 0)
    before = crew.mission("m1")
    assert told(crew.ingest(path)) == (23, 0, 0, 0, 0)
    shutil.copy(path, crew.folder / "copy.ndjson")
    os.link(path, crew.folder / "hard.ndjson")
    _, copied, linked = crew.ingest_all()
    assert told(copied) == told(linked) == (0, 23, 0, 0, 0)
    after = crew.mission("m1")
    assert (after.entries, after.total_tokens, after.revision) == (23, 230, before.revision)


def test_entries_without_an_id_count_as_often_as_they_stand_in_the_file(crew: Crew) -> None:
    path = crew.folder / "a.ndjson"
    for times in range(1, 6):
        with path.open("ab") as file:
            file.write(entry(1, id=None) + b"\n")
        assert told(crew.ingest(path)) == (times, 0, 0, 0, 0)
    shutil.copy(path, crew.folder / "b.ndjson")
    assert told(crew.ingest(crew.folder / "b.ndjson")) == (0, 5, 0, 0, 0)
    body = path.read_bytes()
    assert accept_entries(crew.database, crew.workspace, body).duplicate == 5


def test_repeated_entries_without_id_and_mission_all_move_to_the_mission_of_their_trace(crew: Crew) -> None:
    homeless = entry(1, id=None, mission_id=None, trace_id="t1")
    path = crew.write("a.ndjson", homeless, homeless, homeless)
    crew.ingest(path)
    with path.open("ab") as file:
        file.write(entry(2, trace_id="t1") + b"\n")
    assert told(crew.ingest(path)) == (4, 0, 0, 0, 0)
    assert (crew.mission("m1").entries, crew.mission("m1").total_tokens) == (4, 40)
    shutil.copy(path, crew.folder / "b.ndjson")
    assert told(crew.ingest(crew.folder / "b.ndjson")) == (0, 4, 0, 0, 0)


def test_a_file_belongs_to_each_workspace_that_it_is_given_to(crew: Crew) -> None:
    crew.write("a.ndjson", entry(1), entry(2))
    other = crew.add_workspace("other")
    assert [told(ledger) for ledger in crew.ingest_all()] == [(2, 0, 0, 0, 0)]
    assert [told(ledger) for ledger in crew.ingest_all(other)] == [(2, 0, 0, 0, 0)]
    assert crew.raws() == crew.raws(other) == [entry(2), entry(1)]


def test_a_mended_line_is_no_longer_shown_as_rejected(crew: Crew) -> None:
    broken = entry(2)[:-1] + b"]"
    path = crew.write(
        "a.ndjson", *[entry(number) for number in range(10, 40)], broken, *map(entry, range(40, 60))
    )
    assert told(crew.ingest(path)) == (50, 0, 0, 1, 0)
    path.write_bytes(path.read_bytes().replace(broken, entry(2)))
    ledger = crew.ingest(path)
    assert told(ledger) == (1, 50, 0, 0, 0)
    assert ledger.rejected_lines == ()


def test_a_file_that_was_rewritten_in_its_middle_alone_is_read_again(crew: Crew) -> None:
    lines = [entry(number) for number in range(30)]
    path = crew.write("a.ndjson", *lines)
    crew.ingest(path)
    lines[15] = entry(77, ts="2026-01-01T00:00:15Z")
    with path.open("r+b") as file:
        file.write(b"\n".join(lines))
    crew.ingest(path)
    assert crew.count() == 31


def grown(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def replaced(path: Path, data: bytes) -> None:
    new = path.with_suffix(".tmp")
    new.write_bytes(path.read_bytes() + data)
    new.rename(path)


def rotated(path: Path, data: bytes) -> None:
    path.rename(path.with_suffix(".1"))
    path.write_bytes(data)


def copied_and_truncated(path: Path, data: bytes) -> None:
    shutil.copy(path, path.with_suffix(".1"))
    os.truncate(path, 0)
    grown(path, data)


def recreated(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def put_before(path: Path, data: bytes) -> None:
    path.write_bytes(data + path.read_bytes())


@pytest.mark.parametrize("change", [grown, replaced, rotated, copied_and_truncated, recreated, put_before])
def test_however_a_file_goes_on_each_entry_is_kept_once(
    crew: Crew, change: Callable[[Path, bytes], None]
) -> None:
    path = crew.write("a.ndjson", *[entry(number) for number in range(30)])
    crew.ingest(path)
    for step in range(1, 4):
        numbers = range(30 * step, 30 * step + 30)
        change(path, b"".join(entry(number) + b"\n" for number in numbers))
        crew.ingest_all()
        assert crew.ids() == [f"j_{number:016x}" for number in range(30 * step + 30)]


@pytest.mark.parametrize("is_seen_cut", [True, False])
@pytest.mark.parametrize("kept", [0, 1, 700, 2_000])
def test_a_file_may_be_cut_and_grow_again(crew: Crew, kept: int, is_seen_cut: bool) -> None:
    path = crew.write("a.ndjson", *[entry(number) for number in range(30)])
    crew.ingest(path)
    os.truncate(path, kept)
    if is_seen_cut:
        crew.ingest(path)
    grown(path, b"\n" + b"".join(entry(number) + b"\n" for number in range(30, 90)))
    crew.ingest(path)
    assert crew.count() == 90


def test_a_file_cut_back_to_its_last_whole_line_waits_for_nothing(crew: Crew) -> None:
    path = crew.write("a.ndjson", entry(1))
    crew.ingest(path)
    grown(path, entry(2)[:20])
    assert crew.ingest(path).state == "waiting"
    os.truncate(path, len(entry(1)) + 1)
    ledger = crew.ingest(path)
    assert (ledger.state, ledger.unread) == ("complete", 0)


def test_the_rest_of_half_a_line_completes_it_even_inside_of_a_character(crew: Crew) -> None:
    whole = entry(1)[:-1] + ', "summary": "Überfahrt 🚢"}\n'.encode()
    path = crew.folder / "a.ndjson"
    path.write_bytes(entry(2) + b"\n")
    crew.ingest(path)
    for cut in (10, whole.index(b"\xf0\x9f") + 2, len(whole) - 1):
        with path.open("r+b") as file:
            file.truncate(len(entry(2)) + 1)
            file.seek(0, os.SEEK_END)
            file.write(whole[:cut])
        crew.ingest(path)
    grown(path, b"\n")
    crew.ingest(path)
    assert crew.raws() == [entry(2), whole[:-1]]


def test_a_last_line_without_newline_is_read_when_it_is_whole(crew: Crew) -> None:
    path = crew.folder / "a.ndjson"
    path.write_bytes(entry(1) + b"\n" + entry(2))
    assert told(crew.ingest(path)) == (2, 0, 0, 0, 0)
    grown(path, b"\n" + entry(3))
    assert told(crew.ingest(path)) == (3, 0, 0, 0, 0)


def every_recording() -> list[Path]:
    folders = [TRACES / "claude_code", TRACES / "tau_bench"] if TRACES.is_dir() else []
    found = [path for folder in folders for path in sorted(folder.glob("*.json*"))]
    return found + sorted(path for path in SAMPLES.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", every_recording(), ids=lambda path: path.name)
def test_the_ledger_of_every_recording_adds_up(crew: Crew, path: Path) -> None:
    ledger = crew.ingest(path)
    assert (ledger.state, ledger.unread, ledger.conflicting) == ("complete", 0, 0)
    assert crew.tellings() == ledger.accepted >= crew.count() > 0
    assert ledger.missions > 0
    if ledger.format == "native":
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
        assert ledger.accepted + ledger.duplicate + ledger.rejected == len(lines)
    again = crew.ingest(path)
    assert again == ledger


def test_every_byte_of_a_journal_lies_in_an_entry_a_rejected_range_or_a_blank_line(crew: Crew) -> None:
    lines = [entry(1), b"", b"noise", b"  ", entry(2) + entry(3), entry(1), b'{"id":5}', entry(4, id=None)]
    path = crew.write("a.ndjson", *lines)
    ledger = crew.ingest(path)
    assert told(ledger) == (4, 1, 0, 2, 0)
    rejected = sum(line.length for line in ledger.rejected_lines)
    kept = sum(map(len, crew.raws())) + len(entry(1))
    assert kept + rejected + len(b"  ") + len(lines) == path.stat().st_size


def test_the_last_line_of_a_text_needs_no_newline_once_nobody_writes_to_it(crew: Crew):
    (sample,) = (SAMPLES / "codex_exec_text").iterdir()
    text = sample.read_bytes().rstrip(b"\n")
    path = crew.folder / "log.txt"
    path.write_bytes(text)
    ledger = crew.ingest(path)
    assert (ledger.state, ledger.unread, ledger.rejected) == ("complete", 0, 0)
    other = crew.add_workspace("other")
    path.write_bytes(text + b"\n")
    ingest_paths(crew.database, other, [path])
    assert sorted(crew.raws()) == sorted(crew.raws(other))


@needs_traces
def test_a_session_that_grew_is_the_session_read_at_once(tmp_path: Path) -> None:
    early, late = (next((TRACES / "claude_code").glob(f"growing_{part}__*")) for part in "ab")
    found = []
    for name, steps in (("grown", (early, late)), ("at once", (late,))):
        folder = tmp_path / name
        folder.mkdir()
        with Database(folder / "quartermaster.db") as database:
            crew = Crew(database, folder)
            path = folder / "session.jsonl"
            for step in steps:
                path.write_bytes(step.read_bytes())
                crew.ingest(path)
            found.append(_all_missions(crew))
    assert found[0] == found[1]


def _all_missions(crew: Crew) -> list[object]:
    page = crew.database.read_blocking(
        lambda c: missions.list_missions(c, crew.workspace, missions.MissionFilter())
    )
    told_of = []
    for one in sorted(page.rows, key=lambda row: row.mission_id):
        assessed = crew.database.read_blocking(
            lambda c, one=one: assess_mission(c, crew.workspace, one.mission_id, 0, check=nothing_to_check)
        )
        told_of.append(
            (one.mission_id, one.title, one.outcome, one.model_calls, one.total_tokens, one.cost, assessed)
        )
    return told_of


@needs_traces
def test_a_result_list_that_is_rewritten_with_more_records_adds_those(crew: Crew) -> None:
    records = json.loads(next((TRACES / "tau_bench").glob("gpt-4o-airline*")).read_bytes())[:8]
    path = crew.folder / "results.json"
    for count in (2, 5, 8):
        path.write_bytes(json.dumps(records[:count]).encode())
        ledger = crew.ingest(path)
        assert (ledger.state, ledger.missions) == ("complete", count)
    kept = crew.database.read_blocking(
        lambda c: c.execute("select position, length from source_bytes").fetchall()
    )
    assert kept == [(0, path.stat().st_size)]


def test_the_bytes_of_a_rewritten_session_are_archived_where_they_lie(crew: Crew) -> None:
    sample = next((SAMPLES / "claude_code").glob("*.jsonl")).read_bytes()
    path = crew.folder / "session.jsonl"
    path.write_bytes(sample)
    crew.ingest(path)
    path.write_bytes(sample.replace(b"\n", b"\n\n", 1))
    crew.ingest(path)
    kept = crew.database.read_blocking(
        lambda c: c.execute("select generation, position, length from source_bytes").fetchall()
    )
    assert kept == [(0, 0, len(sample)), (1, 0, len(sample) + 1)]


_INGEST = textwrap.dedent("""
    import sys
    from pathlib import Path
    from quartermaster.ingest import ingest_paths
    from quartermaster.store.database import Database
    with Database(Path(sys.argv[1])) as database:
        ingest_paths(database, 1, [Path(sys.argv[2])])
""")


def test_two_processes_that_read_the_same_files_keep_each_entry_once(crew: Crew) -> None:
    lines = [entry(number) for number in range(20_000)] + [entry(5, id=None)] * 50
    for number in range(10):
        crew.write(f"{number}.ndjson", *lines[number::7], *lines[::501])
    command = [sys.executable, "-c", _INGEST, str(crew.database.path), str(crew.folder)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    without_id = Counter(json.loads(raw).get("id") for raw in crew.raws())[None]
    assert crew.count() == 20_000 + without_id
    ledgers = crew.database.read_blocking(lambda c: sources.list_sources(c, crew.workspace))
    assert {ledger.state for ledger in ledgers} == {"complete"}
    assert sum(ledger.accepted for ledger in ledgers) == crew.count()
    before = crew.count()
    crew.ingest_all()
    assert crew.count() == before


def test_a_format_that_fails_on_a_file_costs_that_file_alone(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(self: NativeDocument, document: bytes) -> Iterator[object]:
        raise KeyError("a fault in a format")

    monkeypatch.setattr(NativeDocument, "read_document", stumble)
    (crew.folder / "a.json").write_bytes(b"[" + entry(1) + b"]")
    crew.write("b.ndjson", entry(2))
    broken, whole = crew.ingest_all()
    assert (broken.state, broken.reason) == ("failed", "a fault of this program; its log says more")
    assert told(whole) == (1, 0, 0, 0, 0)


def test_an_entry_that_the_database_refuses_costs_its_file_alone(crew: Crew) -> None:
    crew.database.write_blocking(
        lambda c: c.execute(
            "create trigger refuse before insert on entry_key when new.entry_id = 'poison'"
            " begin select raise(abort, 'refused'); end"
        )
    )
    for number, name in enumerate(("first", "poison", "third")):
        crew.write(f"{number}.ndjson", entry(number, id=name))
    assert [ledger.state for ledger in crew.ingest_all()] == ["complete", "failed", "complete"]
    assert crew.ids() == ["first", "third"]
    assert [ledger.state for ledger in crew.ingest_all()] == ["complete", "failed", "complete"]


def test_1_000_appends_cost_as_much_at_the_end_as_at_the_beginning(crew: Crew) -> None:
    path = crew.folder / "a.ndjson"
    spent = []
    for part in range(2):
        began = time.process_time()
        for number in range(500 * part, 500 * part + 500):
            grown(path, entry(number) + b"\n")
            crew.ingest(path)
        spent.append(time.process_time() - began)
    print(f"500 appends: {spent[0]:.2f} s, the next 500: {spent[1]:.2f} s of CPU")
    assert crew.count() == 1000
    assert spent[1] < spent[0] * 2 + 0.2


def test_a_mission_may_be_delivered_newest_first(crew: Crew) -> None:
    spent = []
    for order in (1, -1):
        lines = [
            entry(number, id=f"{order}.{number}", mission_id=f"m{order}", ts=format_instant(number * 10**9))
            for number in range(50_000)[::order]
        ]
        path = crew.write(f"{order}.ndjson", *lines)
        began = time.process_time()
        assert told(crew.ingest(path)) == (50_000, 0, 0, 0, 0)
        spent.append(time.process_time() - began)
    print(f"50,000 entries: oldest first {spent[0]:.2f} s, newest first {spent[1]:.2f} s of CPU")
    assert spent[1] < spent[0] * 3
