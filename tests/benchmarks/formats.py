"""How fast recordings are read: `python tests/benchmarks/formats.py [--only NAME] [--markdown]`.

Real recordings, repeated with new ids until they are large: each format decoded alone (adapter, entry and
step, per second of processor time, medians of 5), then a session of 500 MB and one of 100 MB whose ids
repeat, both through `quartermaster ingest` in a process of its own. Takes a few minutes and 2 GiB of disk.
"""

import argparse
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from quartermaster.adapters import Adapter, Record, adapters, recognise
from quartermaster.core.journal import read_entry
from quartermaster.core.trajectory import step_of
from quartermaster.recording import HEAD_BYTES

MB = 1_000_000
MIB = 2**20
LARGE = 4 * MB
REPEAT = 5
SESSION, REPEATED = "session", "repeated"

_PROJECT = Path(__file__).resolve().parents[2]
_TRACES = Path(os.environ.get("QUARTERMASTER_TRACES", _PROJECT.parent / "shared" / "traces"))
_SAMPLES = _PROJECT / "data" / "samples"
_BEGIN_WITH_A_HEADER = ("codex_cli", "copilot_cli")
_is_id = re.compile(r"(?:(?:^|_)id|Id|ID|uuid|Uuid|^cause)$").search
_is_shared = re.compile(r"session|conversation|thread|model|mission|workspace|agent|provider", re.I).search
"""Ids that all copies have in common: they are parts of one recording."""


@dataclass(frozen=True)
class Grown:
    """A recording that was made large; `size` counts the bytes of an archive unpacked."""

    data: bytes
    size: int
    copies: int


@dataclass(frozen=True)
class Ingested:
    """One `quartermaster ingest`, from its start to its end."""

    wall: float
    cpu: float
    peak_rss: int
    ledger: dict[str, Any]


def renewed(value: Any, copy: int) -> Any:
    """The same JSON with other ids of the same shape; copy 0 is the original."""
    if copy == 0:
        return value
    if isinstance(value, list):
        return [renewed(one, copy) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _new_id(one, copy) if _is_id(key) and not _is_shared(key) else renewed(one, copy)
        for key, one in value.items()
    }


def _new_id(value: Any, copy: int) -> Any:
    if type(value) is int:
        return value + copy * 10_000
    if not isinstance(value, str) or not value:
        return renewed(value, copy)
    if len(value) < 12:
        return f"{value}-{copy}"
    return f"{value[:-6]}{copy:04x}{value[-2:]}"


def _copies_of_lines(lines: list[bytes], *, header: bool) -> Iterator[bytes]:
    """Line after line without end, each copy with new ids; a header is told once."""
    values = [msgspec.json.decode(line) for line in lines]
    if header:
        yield lines[0] + b"\n"
        del values[0]
    for copy in count():
        for value in values:
            yield msgspec.json.encode(renewed(value, copy)) + b"\n"


def grown_lines(data: bytes, *, header: bool) -> Grown:
    """A line-based recording, repeated."""
    lines = data.splitlines()
    if not data.startswith(b"{"):
        copies = LARGE // len(data) + 1
        return Grown(data * copies, len(data) * copies, copies)
    told: list[bytes] = []
    size = 0
    for line in _copies_of_lines(lines, header=header):
        told.append(line)
        size += len(line)
        if size > LARGE:
            break
    return Grown(b"".join(told), size, len(told) // len(lines))


def grown_document(data: bytes) -> Grown:
    """A document whose long lists are repeated, on one line or on many as it was."""
    copies = LARGE // len(data) + 1
    document = msgspec.json.encode(_longer(msgspec.json.decode(data), len(data), copies))
    if b"\n" in data.strip():
        document = msgspec.json.format(document, indent=2)
    return Grown(document, len(document), copies)


def _longer(value: Any, size: int, copies: int) -> Any:
    if isinstance(value, list):
        return [renewed(one, copy) for copy in range(copies) for one in value]
    sizes = {key: len(msgspec.json.encode(one)) for key, one in value.items()}
    large = {key for key in value if sizes[key] * 10 > size and isinstance(value[key], list | dict)}
    return {key: _longer(one, sizes[key], copies) if key in large else one for key, one in value.items()}


def grown_archive(data: bytes) -> Grown:
    """An archive with more samples."""
    archive = io.BytesIO()
    size = 0
    with (
        zipfile.ZipFile(io.BytesIO(data)) as known,
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        copies = LARGE // sum(one.file_size for one in known.infolist()) + 1
        for name in known.namelist():
            member = known.read(name)
            for copy in range(copies if name.startswith("samples/") else 1):
                text = msgspec.json.encode(renewed(msgspec.json.decode(member), copy)) if copy else member
                made.writestr(name.replace(".json", f"-{copy}.json") if copy else name, text)
                size += len(text)
    return Grown(archive.getvalue(), size, copies)


def grown_markup(data: bytes) -> Grown:
    """A test report whose first suite repeats its cases."""
    begin, end = data.index(b"<testcase"), data.index(b"</testsuite>")
    copies = LARGE // (end - begin) + 1
    document = data[:begin] + data[begin:end] * copies + data[end:]
    return Grown(document, len(document), copies)


def grown(adapter: Adapter, data: bytes) -> Grown:
    """A recording of over 1 MB made from a small one."""
    if data.startswith(b"PK"):
        return grown_archive(data)
    if adapter.line_based:
        return grown_lines(data, header=adapter.name in _BEGIN_WITH_A_HEADER)
    return grown_markup(data) if data.lstrip().startswith(b"<") else grown_document(data)


@cache
def largest_recordings() -> dict[str, tuple[Adapter, Path]]:
    """The largest recording of each format; archives are a format of their own. Samples fill the gaps."""
    found: dict[str, tuple[Adapter, Path]] = {}
    for folder in (_SAMPLES, _TRACES):
        paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
        for path in sorted(paths, key=lambda path: path.stat().st_size):
            data = path.read_bytes()
            adapter = recognise(data[:HEAD_BYTES], whole=len(data) <= HEAD_BYTES)
            if adapter:
                found[adapter.name + (".eval" if data.startswith(b"PK") else "")] = adapter, path
    missing = {adapter.name for adapter in adapters()} - found.keys()
    if missing:
        sys.exit(f"no recording of {', '.join(sorted(missing))}")
    return dict(sorted(found.items()))


def decode(adapter: Adapter, data: bytes) -> tuple[int, int]:
    """Read a recording as an ingest does, keeping nothing; the counts of entries and rejections."""
    entries = rejected = 0
    for record in _records(adapter, data):
        if not isinstance(record, Record):
            rejected += 1
            continue
        step_of(read_entry(record.raw))
        entries += 1
    return entries, rejected


def _records(adapter: Adapter, data: bytes) -> Iterator[object]:
    if not adapter.line_based:
        yield from adapter.read_document(data)
        return
    reader = adapter.line_reader()
    offset = 0
    for line in data.split(b"\n"):
        if line:
            yield from reader.read_line(line, offset)
        offset += len(line) + 1
    yield from reader.finish()


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure_format(name: str, adapter: Adapter, path: Path) -> tuple[str, ...]:
    """A row of the table of formats."""
    made = grown(adapter, path.read_bytes())
    head = made.data[:HEAD_BYTES]
    recognised = recognise(head, whole=len(head) == len(made.data))
    # None: what tells who_and_when from others stands behind its messages, too far from the first bytes
    assert recognised in (adapter, None), f"{name}: the grown recording looks like another format"
    assert made.size > MB, f"{name}: the recording has only grown to {made.size} bytes"
    print(f"{name} ...", file=sys.stderr, flush=True)
    entries, rejected = decode(adapter, made.data)
    seconds = statistics.median(_cpu_seconds(lambda: decode(adapter, made.data)) for _ in range(REPEAT))
    rate = made.size / MB / seconds
    size = f"{made.size / MB:.1f}"
    return (
        name,
        size,
        f"{made.copies:,}",
        f"{entries:,}",
        f"{rejected:,}",
        f"{rate:.0f}",
        f"{entries / seconds:,.0f}",
    )


def largest_session() -> bytes:
    """The largest Claude Code session."""
    return largest_recordings()["claude_code"][1].read_bytes()


def write_session(path: Path, size: int) -> None:
    """A session of that many bytes in which no id repeats."""
    written = 0
    with path.open("wb") as file:
        for line in _copies_of_lines(largest_session().splitlines(), header=False):
            written += file.write(line)
            if written >= size:
                return


def write_repeated(path: Path, size: int) -> None:
    """The session over and over, its ids unchanged."""
    data = largest_session()
    with path.open("wb") as file:
        for _ in range(size // len(data) + 1):
            file.write(data)


def ingested(recording: Path, folder: Path) -> Ingested:
    """What an ingest into a new home takes."""
    command = [
        sys.executable,
        "-m",
        "quartermaster",
        "ingest",
        str(recording),
        "--home",
        str(folder / "home"),
    ]
    began = time.monotonic()
    with (folder / "ledger").open("wb") as ledger:
        process = subprocess.Popen([*command, "--format", "json"], stdout=ledger, stderr=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    peak = pid = ended = 0
    while not pid:
        peak = max(peak, _high_water(status.read_text()))
        time.sleep(0.01)
        pid, ended, usage = os.wait4(process.pid, os.WNOHANG)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(ended)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    [row] = msgspec.json.decode((folder / "ledger").read_bytes())
    return Ingested(wall, usage.ru_utime + usage.ru_stime, peak, row)


def _high_water(status: str) -> int:
    """The most bytes that were ever resident, as the kernel counted them; 0 of a process that has ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


SESSIONS: dict[str, tuple[Callable[[Path, int], None], int, str]] = {
    SESSION: (write_session, 500 * MB, "250 MiB"),
    REPEATED: (write_repeated, 100 * MB, "6 s"),
}


def measure_session(name: str) -> tuple[str, ...]:
    """A row of the table of sessions."""
    write, size, bar = SESSIONS[name]
    with tempfile.TemporaryDirectory(prefix="quartermaster-formats-") as folder:
        recording = Path(folder) / f"{name}.jsonl"
        write(recording, size)
        taken = ingested(recording, Path(folder))
    rate = f"{size / MB / taken.cpu:.0f}"
    rss = f"{taken.peak_rss / MIB:.0f}"
    counts = (f"{taken.ledger[key]:,}" for key in ("accepted", "duplicate", "rejected"))
    return (name, f"{size / MB:.0f}", *counts, f"{taken.wall:.1f}", f"{taken.cpu:.1f}", rate, rss, bar)


FORMAT_TITLES = ("format", "MB", "copies", "entries", "rejected", "MB/s", "entries/s")
SESSION_TITLES = (
    "session", "MB", "accepted", "duplicate", "rejected", "wall s", "CPU s", "MB/CPU s", "RSS MiB", "at most",
)  # fmt: skip


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]], *, markdown: bool) -> str:
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    lines = [
        [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        for row in (titles, *rows)
    ]
    if not markdown:
        return "\n".join("  ".join(line) for line in lines)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def main() -> None:
    """Measure what was asked for and print the tables."""
    if not _TRACES.is_dir():
        sys.exit("no development traces beside the project; set QUARTERMASTER_TRACES")
    recordings = largest_recordings()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--only", action="append", choices=[*recordings, *SESSIONS], help="may be given again"
    )
    parser.add_argument("--markdown", action="store_true", help="tables for a README")
    arguments = parser.parse_args()
    wanted = arguments.only or [*recordings, *SESSIONS]
    formats = [measure_format(name, *recordings[name]) for name in wanted if name in recordings]
    if formats:
        print(_table(FORMAT_TITLES, formats, markdown=arguments.markdown), end="\n\n", flush=True)
    sessions = [measure_session(name) for name in wanted if name in SESSIONS]
    if sessions:
        print(_table(SESSION_TITLES, sessions, markdown=arguments.markdown))


if __name__ == "__main__":
    main()
