"""The tables of a batch as Parquet files: a row a mission, a finding, a file, a rejected line."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from quartermaster import __version__
from quartermaster.batch.evaluation import metric_columns, metric_names
from quartermaster.errors import NotInstalled
from quartermaster.exports.parquet import Kind, ParquetTable
from quartermaster.exports.tables import FACTS

Table = Literal["missions", "findings", "files", "rejected"]

_FACTS: Final[dict[str, Kind]] = {
    **FACTS,
    "goal_reached": "truth",
    "file": "text",
    "files": "integer",
    "signature": "text",
    "signature_kinds": "text",
    "signature_tools": "text",
    "signature_arguments": "text",
    "signature_outcomes": "text",
    "contract_failure_modes": "text",
    "findings": "integer",
    "findings_high": "integer",
    "findings_warn": "integer",
    "findings_info": "integer",
    "findings_by_detector": "text",
    "claims": "integer",
    "claims_contradicted": "integer",
    "root_cause_step": "integer",
    "root_cause_reason": "text",
    "unexamined": "text",
}
_READING: Final[tuple[Kind, ...]] = ("number", "integer", "integer", "text")


def _metrics() -> dict[str, Kind]:
    named = (zip(metric_columns(name), _READING, strict=True) for name in metric_names())
    return {column: kind for columns in named for column, kind in columns}


COLUMNS: Final[dict[Table, dict[str, Kind]]] = {
    "missions": _FACTS | _metrics(),
    "findings": {
        "mission_id": "text",
        "task": "text",
        "variant": "text",
        "detector": "text",
        "name": "text",
        "severity": "text",
        "confidence": "text",
        "reason": "text",
        "first_step": "integer",
        "last_step": "integer",
        "count": "integer",
        "entry_id": "text",
        "agent": "text",
        "wasted_steps": "integer",
        "wasted_tokens": "integer",
    },
    "files": {
        "file": "text",
        "state": "text",
        "reason": "text",
        "format": "text",
        "digest": "text",
        "bytes": "integer",
        "missions": "integer",
        "accepted": "integer",
        "duplicate": "integer",
        "conflicting": "integer",
        "rejected": "integer",
        "homeless": "integer",
        "masked": "integer",
    },
    "rejected": {
        "file": "text",
        "line": "integer",
        "offset": "integer",
        "length": "integer",
        "reason": "text",
    },
}
"""The columns of each table. What cannot be said is null; times are instants in UTC."""

Row = Mapping[str, Any]


def require_pyarrow() -> None:
    """Raises NotInstalled before any work is done for nothing."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # noqa: F401, PLC0415 - only this command needs it
    except ImportError as error:
        raise NotInstalled("Parquet needs pyarrow: pip install 'quartermaster[batch]'") from error


def table_in(path: Path, table: Table) -> ParquetTable:
    """The file that a table is written into."""
    return ParquetTable(COLUMNS[table], path, metadata={"quartermaster": __version__})


def in_order(table: Table, rows: Iterable[Row]) -> Iterator[list[Any]]:
    """Rows as a file takes them; what a row does not tell is null."""
    return ([row.get(name) for name in COLUMNS[table]] for row in rows)
