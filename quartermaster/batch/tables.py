"""The tables of a batch as Parquet files: a row a mission, a finding, a file, a rejected line."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from quartermaster import __version__
from quartermaster.batch.evaluation import metric_columns, metric_names
from quartermaster.errors import NotInstalled

Kind = Literal["text", "integer", "number", "truth", "time"]
Table = Literal["missions", "findings", "files", "rejected"]

_ROWS_A_GROUP: Final = 10_000

_FACTS: Final[dict[str, Kind]] = {
    "mission_id": "text",
    "format": "text",
    "title": "text",
    "task": "text",
    "variant": "text",
    "trial": "integer",
    "agent": "text",
    "model": "text",
    "version": "text",
    "commit": "text",
    "parent_mission_id": "text",
    "labels": "text",
    "outcome": "text",
    "outcome_origin": "text",
    "reward": "number",
    "started_at": "time",
    "ended_at": "time",
    "entries": "integer",
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


class Writer:
    """Writes one table into a file of its own; rows come in their final order."""

    def __init__(self, table: Table, path: Path) -> None:
        import pyarrow  # noqa: PLC0415 - only this command needs it
        from pyarrow import parquet  # noqa: PLC0415

        kinds: dict[Kind, Any] = {
            "text": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "truth": pyarrow.bool_(),
            "time": pyarrow.timestamp("ns", tz="UTC"),
        }
        self._pyarrow = pyarrow
        self._columns = COLUMNS[table]
        fields = [(name, kinds[kind]) for name, kind in self._columns.items()]
        self._schema = pyarrow.schema(fields, metadata={"quartermaster": __version__})
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self.count = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._rows.append(row)
            self.count += 1
            if len(self._rows) == _ROWS_A_GROUP:
                self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        arrays = [
            self._pyarrow.array(
                [_as(kind, row.get(name)) for row in self._rows], type=self._schema.field(name).type
            )
            for name, kind in self._columns.items()
        ]
        if self._rows:
            self._writer.write_table(self._pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()


def _as(kind: Kind, value: Any) -> Any:
    return float(value) if kind == "number" and value is not None else value
