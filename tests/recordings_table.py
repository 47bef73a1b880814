"""Every development trace, really ingested, and what it comes to, as Markdown.

`python tests/recordings_table.py` prints a row for each file, with `--folders` one for each folder. Each file
gets a workspace of its own, so that two recordings of one session do not help each other.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import structlog
import zstandard

from quartermaster.adapters import Record, RejectedLine, recognise
from quartermaster.cli.output import markdown_table, text
from quartermaster.core.assessment import Assessment
from quartermaster.evaluate import assess_mission, nothing_to_check
from quartermaster.ingest import ingest_paths
from quartermaster.recording import HEAD_BYTES
from quartermaster.store import access, missions
from quartermaster.store.access import Workspace
from quartermaster.store.database import Connection, Database
from quartermaster.store.missions import Mission, MissionFilter
from quartermaster.store.sources import SourceLedger

PROJECT = Path(__file__).resolve().parents[1]
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES", PROJECT.parent / "shared" / "traces"))


class Judged(NamedTuple):
    """A mission and what was found out about it alone."""

    mission: Mission
    assessment: Assessment


class Taken(NamedTuple):
    """One file after its ingest: its ledger, its missions, and the bytes that were kept of it."""

    file: str
    ledger: SourceLedger
    judged: tuple[Judged, ...]
    kept: bytes | None


class Figures(NamedTuple):
    """What a recording comes to. None cannot be said; the sub-agents' share is in all of it."""

    missions: int
    entries: int
    model_calls: int
    tool_calls: int
    failed: int
    tokens: int | None
    cost: float | None
    priced: int


def recordings(traces: Path = TRACES) -> list[Path]:
    """Every file that is no note about the files."""
    notes = ("SOURCE.md", "README.md")
    return sorted(path for path in traces.rglob("*") if path.is_file() and path.name not in notes)


def take_all(database: Database, paths: Sequence[Path], traces: Path = TRACES) -> Iterator[Taken]:
    """Ingest each file by itself."""
    for number, path in enumerate(paths):
        workspace = new_workspace(database, f"w{number}")
        (ledger,) = ingest_paths(database, workspace.key, [path])
        kept = database.read_blocking(partial(_kept_bytes, path=path))
        yield Taken(str(path.relative_to(traces)), ledger, judge(database, workspace), kept)


def new_workspace(database: Database, slug: str) -> Workspace:
    return database.write_blocking(lambda connection: access.create_workspace(connection, slug, now=1))


def judge(database: Database, workspace: Workspace) -> tuple[Judged, ...]:
    """Every mission of a workspace by id, assessed as a replay would."""

    def look(connection: Connection) -> tuple[Judged, ...]:
        page = missions.list_missions(connection, workspace.key, MissionFilter(limit=missions.LIST_LIMIT))
        assert page.next_cursor is None
        return tuple(
            Judged(one, assess_mission(connection, workspace.key, one.mission_id, 0, check=nothing_to_check))
            for one in sorted(page.rows, key=lambda row: row.mission_id)
        )

    return database.read_blocking(look, 60)


def _kept_bytes(connection: Connection, path: Path) -> bytes | None:
    rows = connection.execute(
        "select data from source_bytes join source on source.id = source"
        " where path = ? order by source_bytes.position",
        (os.fsencode(path.resolve()),),
    ).fetchall()
    return b"".join(zstandard.ZstdDecompressor().decompress(row[0]) for row in rows) if rows else None


def records_in(data: bytes) -> tuple[int, int]:
    """How many entries and rejected ranges the format of these bytes finds in them."""
    head = data[:HEAD_BYTES]
    adapter = recognise(head, whole=len(head) == len(data))
    if adapter is None:
        return 0, 0
    found: list[Record | RejectedLine] = []
    if adapter.line_based:
        reader, offset = adapter.line_reader(), 0
        for line in data.split(b"\n"):
            found += reader.read_line(line, offset) if line else ()
            offset += len(line) + 1
        found += reader.finish()
    else:
        found += adapter.read_document(data)
    entries = sum(isinstance(one, Record) for one in found)
    return entries, sum(isinstance(one, RejectedLine) for one in found)


def figures(judged: Sequence[Judged]) -> Figures:
    """The sums over missions."""
    metrics = [{metric.name: metric for metric in one.assessment.metrics} for one in judged]
    tokens = [one["total_tokens"] for one in metrics if one["total_tokens"].coverage.known]
    costs = [one["total_cost_usd"] for one in metrics if one["total_cost_usd"].coverage.known]
    dollars = [cost.partial if cost.value is None else cost.value for cost in costs]
    return Figures(
        missions=len(judged),
        entries=sum(one.mission.entries for one in judged),
        model_calls=sum(one.assessment.model_calls for one in judged),
        tool_calls=sum(one.assessment.commands for one in judged),
        failed=sum(one.assessment.failed_commands for one in judged),
        tokens=sum(_number(one.value) for one in tokens) if tokens else None,
        cost=round(sum(map(float, map(_number, dollars))), 9) if costs else None,
        priced=sum(one.coverage.known for one in costs),
    )


def _number(value: Any) -> Any:
    assert isinstance(value, int | float)
    return value


def table(taken: Sequence[Taken]) -> str:
    """A row for each file."""
    return _markdown([_row(one.file, [one]) for one in taken])


def table_of_folders(taken: Sequence[Taken]) -> str:
    """A row for each folder, with how many of its files are recordings."""
    return _markdown(
        [_row(folder, list(files)) for folder, files in groupby(taken, lambda one: one.file.split("/")[0])]
    )


def _row(name: str, taken: Sequence[Taken]) -> dict[str, Any]:
    sums = figures([judged for one in taken for judged in one.judged])
    formats = {one.ledger.format for one in taken if one.ledger.format}
    return sums._asdict() | {
        "file": name,
        "format": ", ".join(sorted(formats)) or "none known",
        "recordings": f"{sum(one.ledger.format is not None for one in taken)} of {len(taken)}",
        "coverage": f"{sums.priced:,} of {sums.model_calls:,}" if sums.model_calls else "",
        "rejected": sum(one.ledger.rejected for one in taken),
    }


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    cells = [[text(row[key]) for key in _COLUMNS.values()] for row in rows]
    return markdown_table(list(_COLUMNS), cells, [key not in ("file", "format") for key in _COLUMNS.values()])


_COLUMNS = {
    "file": "file",
    "format": "format",
    "recordings": "recordings",
    "missions": "missions",
    "entries": "entries",
    "model calls": "model_calls",
    "tool calls": "tool_calls",
    "failed": "failed",
    "tokens": "tokens",
    "cost, USD": "cost",
    "cost known of": "coverage",
    "rejected": "rejected",
}


def main() -> int:
    if not TRACES.is_dir():
        sys.stderr.write("no development traces beside the project; set QUARTERMASTER_TRACES\n")
        return 2
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    draw = table_of_folders if "--folders" in sys.argv[1:] else table
    with TemporaryDirectory() as folder, Database(Path(folder) / "quartermaster.db") as database:
        print(draw(list(take_all(database, recordings()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
