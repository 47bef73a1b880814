"""Rows as the frames of other packages, where these are installed."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from quartermaster.errors import NotInstalled

Rows = Sequence[Mapping[str, Any]]
"""All rows have the same keys."""


class HasRows(Protocol):
    """Something that can be told as rows."""

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a row, all with the same keys."""
        ...


class Framed:
    """Frames of something that has rows."""

    def to_pandas(self: HasRows) -> Any:
        """A `pandas.DataFrame`."""
        return _package("pandas").DataFrame(self.rows())

    def to_polars(self: HasRows) -> Any:
        """A `polars.DataFrame`; types are taken from all rows."""
        return _package("polars").DataFrame(self.rows(), infer_schema_length=None)

    def to_arrow(self: HasRows) -> Any:
        """A `pyarrow.Table`."""
        return _package("pyarrow").Table.from_pylist(self.rows())


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise NotInstalled(f"{name} is not installed; `pip install {name}` brings it") from error
