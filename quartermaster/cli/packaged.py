"""Data that the package brings along: inside of it where it is installed, beside it in a checkout."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from quartermaster.errors import NotFound


@contextmanager
def packaged(name: str) -> Iterator[Path]:
    """The folder of that name: `samples` or `tables`."""
    inside = files("quartermaster") / name
    if inside.is_dir():
        with as_file(inside) as folder:
            yield folder
        return
    checkout = Path(__file__).resolve().parents[2] / "data" / name
    if not checkout.is_dir():
        raise NotFound(f"the {name} are missing; install Quartermaster again")
    yield checkout
