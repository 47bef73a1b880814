"""`quartermaster export`: missions in the formats of other programs."""

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click
import msgspec

from quartermaster.cli import completing, output
from quartermaster.cli.describing import described
from quartermaster.cli.options import filter_options, home_option, settings_for
from quartermaster.core.journal import parse_instant
from quartermaster.errors import NotFound, Rejected, StorageError, UsageError
from quartermaster.exports.tables import COLUMNS, TABLES, Table, rows_of, written
from quartermaster.store import missions
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission, MissionFilter

_STDOUT: Final = Path("-")
_FORMATS: Final = ("ndjson", "csv", "parquet", "otlp", "xes")


@click.command("export")
@click.argument("selection", required=False, shell_complete=completing.missions)
@click.option("--format", "form", type=click.Choice(_FORMATS), default="ndjson", show_default=True)
@click.option(
    "--table", type=click.Choice(TABLES), default="missions", show_default=True, help="Of CSV and Parquet."
)
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path),
    default="-",
    metavar="FILE",
    help="Default: stdout.",
)
@filter_options
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local.")
@home_option
def command(
    *,
    selection: str | None,
    form: str,
    table: Table,
    target: Path,
    filters: dict[str, str],
    workspace: str | None,
    home: Path | None,
) -> None:
    """Write missions of this home for other programs: all, ids, `task=...,variant=...`, or by filters.

    ndjson is lossless: an ingest elsewhere makes the same missions of it. csv and parquet hold one table,
    otlp lines that an OpenTelemetry Collector reads, xes an event log for process mining.
    """
    if selection is not None and filters:
        raise UsageError("name a selection or filters, not both")
    if form == "parquet":
        _require_pyarrow(target)
    from quartermaster.home import Home, choose_workspace, holder, open_home

    folder = Home(settings_for(home).home)
    with open_home(folder, create=False, beside_daemon=holder(folder) is not None).database as database:
        chosen = database.look_up(lambda connection: choose_workspace(connection, workspace)).key

        def write(connection: Connection) -> int:
            found = _Counted(_found(connection, chosen, selection, filters))
            with _file(target) as file:
                _WRITERS[form](file, connection, chosen, found, table)
            return found.count

        count = database.read_blocking(write, float("inf"))
    if target != _STDOUT:
        output.tell(f"{count:,} missions in {target}")


class _Counted:
    """Missions, counted as they go by."""

    def __init__(self, found: Iterator[Mission]) -> None:
        self._found = found
        self.count = 0

    def __iter__(self) -> Iterator[Mission]:
        for mission in self._found:
            self.count += 1
            yield mission


def _found(
    connection: Connection, workspace: int, selection: str | None, filters: dict[str, Any]
) -> Iterator[Mission]:
    if selection is not None:
        wanted = described(selection, "selection")
        if wanted.baseline is not None:
            raise UsageError("a baseline is frozen; export the missions that it was made of")
        yield from missions.select_missions(connection, workspace, wanted)
        return
    for name in ("since", "until"):
        if name in filters:
            filters[name] = _instant(name, filters[name])
    chosen = MissionFilter(**filters, limit=missions.LIST_LIMIT)
    while True:
        page = missions.list_missions(connection, workspace, chosen)
        yield from page.rows
        if page.next_cursor is None:
            return
        chosen = msgspec.structs.replace(chosen, cursor=page.next_cursor)


def _instant(name: str, text: str) -> int:
    try:
        return parse_instant(text)
    except Rejected as error:
        raise UsageError(f"--{name} is no RFC 3339 time, such as 2027-01-31T00:00:00Z") from error


@contextmanager
def _file(target: Path) -> Iterator[IO[bytes]]:
    """The file that takes the place of the target once it is whole; stdout as it is."""
    if target == _STDOUT:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if target.is_dir() or not target.parent.is_dir():
        raise NotFound(
            f"there is no folder {target.parent}" if not target.is_dir() else f"{target} is a folder"
        )
    try:
        if target.exists() and not target.is_file():  # a device or a pipe: written to, never replaced
            with target.open("wb") as file:
                yield file
        else:
            with _whole(target.resolve()) as file:
                yield file
    except OSError as error:
        raise StorageError(
            f"{target} could not be written: {error.strerror}; make room or name another file"
        ) from error


@contextmanager
def _whole(target: Path) -> Iterator[IO[bytes]]:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


_Write = Callable[[IO[bytes], Connection, int, Iterable[Mission], Table], None]


def _write_native(
    file: IO[bytes], connection: Connection, _: int, found: Iterable[Mission], table: Table
) -> None:
    from quartermaster.exports.native import native_lines

    file.writelines(native_lines(connection, found))


def _write_otlp(
    file: IO[bytes], connection: Connection, _: int, found: Iterable[Mission], table: Table
) -> None:
    from quartermaster.exports.otlp import otlp_lines

    file.writelines(otlp_lines(connection, found))


def _write_xes(
    file: IO[bytes], connection: Connection, _: int, found: Iterable[Mission], table: Table
) -> None:
    from quartermaster.exports.xes import xes_lines

    file.writelines(xes_lines(connection, found))


def _write_csv(
    file: IO[bytes], connection: Connection, workspace: int, found: Iterable[Mission], table: Table
) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="", write_through=True)
    columns = COLUMNS[table]
    rows = csv.writer(text)
    rows.writerow(columns)
    for row in rows_of(table, connection, workspace, found):
        rows.writerow(written(value, kind) for value, kind in zip(row, columns.values(), strict=True))
    text.detach()


def _write_parquet(
    file: IO[bytes], connection: Connection, workspace: int, found: Iterable[Mission], table: Table
) -> None:
    from quartermaster.exports.parquet import ParquetTable

    with ParquetTable(COLUMNS[table], file) as parquet:
        parquet.add(rows_of(table, connection, workspace, found))


_WRITERS: Final[dict[str, _Write]] = {
    "ndjson": _write_native,
    "csv": _write_csv,
    "parquet": _write_parquet,
    "otlp": _write_otlp,
    "xes": _write_xes,
}


def _require_pyarrow(target: Path) -> None:
    from importlib.util import find_spec

    if target == _STDOUT:
        raise UsageError("Parquet is written into a file; name one with --output")
    if find_spec("pyarrow") is None:
        raise UsageError("Parquet needs pyarrow: pip install 'quartermaster[export]'; CSV needs nothing")
