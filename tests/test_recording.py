"""One file on disk, read piece by piece: the same is read, however it is cut and whoever reads on."""

import json
import os
import random
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quartermaster.evaluate import assess_mission, nothing_to_check
from quartermaster.ingest import Reading
from quartermaster.recording import Recording, Refused, opened
from quartermaster.store import access, journal, missions, sources
from quartermaster.store.database import Database
from quartermaster.store.journal import JournalFilter
from quartermaster.store.missions import Mission

PROJECT = Path(__file__).resolve().parents[1]
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES") or PROJECT.parent / "shared/traces")
SAMPLES = PROJECT / "data/samples"
LINE_LIMIT = 2_000

needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="needs the recordings (QUARTERMASTER_TRACES)")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database(tmp_path_factory.mktemp("home") / "quartermaster.db") as database:
        yield database


_slugs = count()


class Shelf:
    """A workspace of its own with one file, which is read by one reading after the other."""

    def __init__(self, database: Database, folder: Path, *, line_limit_bytes: int = LINE_LIMIT) -> None:
        number = next(_slugs)
        self.database = database
        self.path = folder / f"recording-{number}"
        self.limit = line_limit_bytes
        self.workspace = database.write_blocking(
            lambda c: access.create_workspace(c, f"shelf-{number}", now=1)
        ).key

    def read(self, *, at_rest: bool = False) -> None:
        """As a new process would: nothing is known but what the database says."""
        reading = Reading(self.database, line_limit_bytes=self.limit, at_rest=at_rest)
        recording = reading.open(self.workspace, frozenset(), self.path.parent, self.path)
        while reading.read_some(self.workspace, [recording]) != [(recording, False)]:
            pass
        if recording.awaits_finish:
            assert reading.finish(self.workspace, [recording]) == []

    def read_in_pieces(self, data: bytes, cuts: Sequence[int]) -> None:
        begin = 0
        for end in sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)}):
            with self.path.open("ab") as file:
                file.write(data[begin:end])
            begin = end
            self.read(at_rest=end == len(data))

    def raws(self) -> list[bytes]:
        filters = JournalFilter(limit=500)
        return sorted(
            self.database.read_blocking(lambda c: journal.list_entries(c, self.workspace, filters)).entries
        )

    def ledger(self) -> tuple[object, ...]:
        [ledger] = self.database.read_blocking(lambda c: sources.list_sources(c, self.workspace))
        ranges = [(one.line, one.position, one.length, one.reason) for one in ledger.rejected_lines]
        return ledger.state, ledger.accepted, ledger.duplicate, ledger.conflicting, ledger.unread, ranges

    def missions(self) -> list[tuple[object, ...]]:
        page = self.database.read_blocking(
            lambda c: missions.list_missions(c, self.workspace, missions.MissionFilter())
        )
        return sorted(self._told(one) for one in page.rows)

    def _told(self, one: Mission) -> tuple[object, ...]:
        assessed = self.database.read_blocking(
            lambda c: assess_mission(c, self.workspace, one.mission_id, 0, check=nothing_to_check)
        )
        return one.mission_id, one.title, one.outcome, one.reward, one.total_tokens, one.cost, str(assessed)


def entry(number: int, **fields: object) -> bytes:
    body: dict[str, Any] = {
        "id": f"j_{number:016x}",
        "mission_id": f"m{number % 3}",
        "ts": f"2026-01-01T00:00:{number % 60:02d}Z",
        "entry_type": "llm.call",
        "summary": "Überfahrt 🚢",
        "payload": {"total_tokens": number},
    }
    return json.dumps(body | fields, ensure_ascii=False).encode()


numbers = st.integers(0, 9)
lines = st.one_of(
    numbers.map(entry),
    numbers.map(lambda number: entry(number, id=None)),
    numbers.map(lambda number: entry(number, payload={"other": True})),
    st.tuples(numbers, numbers).map(lambda pair: entry(pair[0]) + entry(pair[1], id=None)),
    numbers.map(lambda number: entry(number, summary="x" * LINE_LIMIT * (number + 1))),
    st.sampled_from(
        [b"", b"  ", b"nonsense", b'{"id":', b'{"id":7}', b"\xff\xfe", b"\0", b"z" * 3 * LINE_LIMIT]
    ),
)
ends = st.sampled_from([b"\n", b"\n", b"\r\n"])
journals = st.lists(st.tuples(lines, ends), min_size=1, max_size=12).map(
    lambda parts: entry(0) + b"\n" + b"".join(line + end for line, end in parts)
)


@given(journals, st.lists(st.integers(0, 10_000), max_size=6), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_journal_read_in_pieces_gives_what_reading_it_whole_gives(
    database: Database, tmp_path: Path, data: bytes, cuts: list[int], ended: bool
) -> None:
    data = data if ended else data.removesuffix(b"\n")
    whole, pieces = Shelf(database, tmp_path), Shelf(database, tmp_path)
    whole.read_in_pieces(data, [])
    pieces.read_in_pieces(data, cuts)
    assert pieces.raws() == whole.raws()
    assert pieces.ledger() == whole.ledger()
    assert pieces.missions() == whole.missions()


@pytest.mark.parametrize("ending", [b"\r", b"\r\n"])
def test_a_carriage_return_that_comes_later_is_no_part_of_a_long_line(
    database: Database, tmp_path: Path, ending: bytes
) -> None:
    line = entry(1, summary="x" * 2 * LINE_LIMIT)
    first = entry(0) + b"\n"
    pieces = Shelf(database, tmp_path)
    pieces.read_in_pieces(first + line + ending, [len(first + line)])
    whole = Shelf(database, tmp_path)
    whole.read_in_pieces(first + line + ending, [])
    reason = "the line is longer than 0 MiB"
    assert pieces.ledger() == whole.ledger()
    assert whole.ledger()[-1] == [(2, len(first), len(line), reason)]


def recordings_of(format_name: str) -> list[Path]:
    folders = (SAMPLES / format_name, TRACES / format_name)
    return sorted(path for folder in folders if folder.is_dir() for path in folder.glob("*.json*"))


@pytest.mark.parametrize(
    "path", recordings_of("claude_code") + recordings_of("tau_bench"), ids=lambda path: path.name
)
def test_a_recording_read_in_pieces_tells_the_same_missions(
    database: Database, tmp_path: Path, path: Path
) -> None:
    data = path.read_bytes()
    cuts = random.Random(path.name).choices(range(len(data)), k=12)
    limit = 16 << 20
    whole = Shelf(database, tmp_path, line_limit_bytes=limit)
    pieces = Shelf(database, tmp_path, line_limit_bytes=limit)
    whole.read_in_pieces(data, [])
    pieces.read_in_pieces(data, cuts)
    assert pieces.missions() == whole.missions() != []


def test_what_was_read_and_not_kept_is_read_again(database: Database, tmp_path: Path) -> None:
    shelf = Shelf(database, tmp_path)
    shelf.path.write_bytes(b"".join(entry(number, id=None) + b"\n" for number in (1, 1, 2)))
    lost = Recording(
        tmp_path, shelf.path, None, workspace_names=frozenset(), line_limit_bytes=LINE_LIMIT
    ).read(now=0)
    assert lost is not None
    assert len(lost.decoded) == 3
    shelf.read()
    assert shelf.ledger() == ("complete", 3, 0, 0, 0, [])


def test_a_file_that_vanishes_while_it_is_read_keeps_what_was_read(
    database: Database, tmp_path: Path
) -> None:
    shelf = Shelf(database, tmp_path)
    shelf.path.write_bytes(b"".join(entry(number) + b"\n" for number in range(20_000)))
    reading = Reading(database, line_limit_bytes=LINE_LIMIT)
    unread = reading.open(shelf.workspace, frozenset(), tmp_path, shelf.path)
    assert reading.read_some(shelf.workspace, [unread]) == [(unread, True)]
    shelf.path.unlink()
    assert reading.read_some(shelf.workspace, [unread]) == [(unread, False)]
    [ledger] = database.read_blocking(lambda c: sources.list_sources(c, shelf.workspace))
    assert (ledger.state, ledger.reason) == ("vanished", "the file was removed")
    assert 0 < ledger.accepted < 20_000
    assert ledger.unread > 0


def test_a_file_that_is_removed_when_it_was_read_stays_read(database: Database, tmp_path: Path) -> None:
    shelf = Shelf(database, tmp_path)
    shelf.path.write_bytes(entry(1) + b"\n")
    shelf.read()
    shelf.path.unlink()
    shelf.read()
    assert shelf.ledger() == ("complete", 1, 0, 0, 0, [])


def recording(path: Path) -> Recording:
    return Recording(path.parent, path, None, workspace_names=frozenset(), line_limit_bytes=LINE_LIMIT)


def test_what_is_written_while_a_file_is_read_is_left_for_the_next_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(entry(1) + b"\n")
    reader = recording(path)
    batch = reader.read(now=0)
    assert batch is not None
    assert (batch.source.position, batch.source.size, batch.source.state) == (
        path.stat().st_size,
        path.stat().st_size,
        "complete",
    )


def test_a_file_that_was_replaced_between_two_readings_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(entry(1) + b"\n")
    reader = recording(path)
    batch = reader.read(now=0)
    assert batch is not None
    reader.committed(batch.source)
    assert reader.read(now=0) is None
    path.unlink()
    path.write_bytes(entry(2) + b"\n" + entry(1) + b"\n")
    again = reader.read(now=0)
    assert again is not None
    assert (again.source.generation, len(again.decoded)) == (1, 2)


def test_a_file_of_the_same_length_is_not_taken_for_the_one_that_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"".join(entry(number) + b"\n" for number in range(10, 40)))
    reader = recording(path)
    batch = reader.read(now=0)
    assert batch is not None
    reader.committed(batch.source)
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes().replace(entry(25), entry(55), 1))
    copy.rename(path)
    again = reader.read(now=0)
    assert again is not None
    assert again.source.generation == 1


def test_a_touched_link_count_or_permission_is_no_reason_to_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(entry(1) + b"\n")
    reader = recording(path)
    batch = reader.read(now=0)
    assert batch is not None
    reader.committed(batch.source)
    path.chmod(0o600)
    os.link(path, tmp_path / "b.ndjson")
    assert reader.read(now=0) is None


def test_a_fifo_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="not a regular file"), opened(tmp_path, tmp_path / "pipe"):
        pass
    with pytest.raises(OSError, match="No such device"):  # nobody has opened it for reading
        os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK)


def test_a_link_in_the_middle_of_a_path_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.ndjson").write_bytes(entry(1))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(NotADirectoryError), opened(inbox, inbox / "link" / "a.ndjson"):
        pass


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("file", "missing", "../c/file"):
        try:
            with opened(tmp_path, deep / name):
                pass
        except OSError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_document_whose_marks_stand_behind_a_long_history_is_recognised(
    database: Database, tmp_path: Path
) -> None:
    [sample] = [path for path in (SAMPLES / "who_and_when").iterdir() if path.is_file()]
    fields = json.loads(sample.read_text())
    history = fields.pop("history")
    shelf = Shelf(database, tmp_path)
    shelf.path.write_text(
        json.dumps({"history": history * (300_000 // len(json.dumps(history)) + 1), **fields})
    )
    shelf.read(at_rest=True)
    assert shelf.ledger()[0] == "complete"
