"""Rows as the frames of other packages, where these are installed."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from quartermaster.errors import NotInstalled

Rows = Sequence[Mapping[str, Any]]
"""All rows have the same keys."""


class Framed:
    """Something that has rows."""

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a row, all with the same keys."""
        raise NotImplementedError

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`."""
        return _package("pandas").DataFrame(self.rows())

    def to_polars(self) -> Any:
        """A `polars.DataFrame`; types are taken from all rows."""
        return _package("polars").DataFrame(self.rows(), infer_schema_length=None)

    def to_arrow(self) -> Any:
        """A `pyarrow.Table`."""
        return _package("pyarrow").Table.from_pylist(self.rows())


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise NotInstalled(f"{name} is not installed; `pip install {name}` brings it") from error
