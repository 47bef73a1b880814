"""Tables as Parquet files. pyarrow is loaded by the first one that is written."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Literal

Kind = Literal["text", "integer", "number", "truth", "time"]
"""What a column holds: UTF-8, 64 bits, a double, a truth value, or nanoseconds since 1970 in UTC."""

_ROWS_A_GROUP: Final = 10_000


class ParquetTable:
    """One table in a file of its own; None is null. `count` is how many rows it was given.

    Rows lie in memory until 10,000 are there. Needs pyarrow, and raises OSError where the disk does.
    """

    def __init__(
        self, columns: Mapping[str, Kind], file: Path | IO[bytes], *, metadata: dict[str, str] | None = None
    ) -> None:
        import pyarrow  # type: ignore[import-untyped]  # noqa: PLC0415 - only Parquet needs it
        from pyarrow import parquet  # noqa: PLC0415

        types: dict[Kind, Any] = {
            "text": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "truth": pyarrow.bool_(),
            "time": pyarrow.timestamp("ns", tz="UTC"),
        }
        fields = [(name, types[kind]) for name, kind in columns.items()]
        self._pyarrow = pyarrow
        self._kinds = tuple(columns.values())
        self._schema = pyarrow.schema(fields, metadata=metadata)
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Sequence[Any]] = []
        self.count = 0

    def __enter__(self) -> "ParquetTable":
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is not None:
            self._rows.clear()
        self.close()

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Rows in their final order, each in the order of the columns."""
        for row in rows:
            self._rows.append(row)
            self.count += 1
            if len(self._rows) == _ROWS_A_GROUP:
                self._flush()

    def close(self) -> None:
        """Writes what is left and the end of the file."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        arrays = [
            self._pyarrow.array([_as(kind, value) for value in values], type=field.type)
            for values, kind, field in zip(
                zip(*self._rows, strict=True), self._kinds, self._schema, strict=True
            )
        ]
        self._writer.write_table(self._pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()


def _as(kind: Kind, value: Any) -> Any:
    return float(value) if kind == "number" and value is not None else value
