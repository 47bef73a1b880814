"""Waiting for work, and saying so on a terminal when it takes longer than two seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from quartermaster.cli.target import Row

if TYPE_CHECKING:
    from rich.status import Status

_SILENCE_SECONDS: Final = 2.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_ENDED: Final = ("completed", "failed")


class Progress:
    """A line on stderr that appears after two seconds and is gone when the work is."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()
        self._since = time.monotonic()
        self._status: Status | None = None

    def __call__(self, message: str) -> None:
        if not self._shows or time.monotonic() - self._since < _SILENCE_SECONDS:
            return
        if self._status is None:
            self._status = _start_status(message)
        self._status.update(message)

    def end(self) -> None:
        if self._status is not None:
            self._status.stop()


def _start_status(message: str) -> "Status":
    from rich.console import Console

    status = Console(stderr=True, markup=False).status(message)
    status.start()
    return status


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress line for the time of a piece of work."""
    shown = Progress()
    try:
        yield shown
    finally:
        shown.end()


def wait_for_run(run: Callable[[str], Row], run_id: str) -> Row:
    """The row of a run once it has ended. It always does: every run has a deadline."""
    pause = _FIRST_PAUSE
    with progress() as tell:
        while True:
            row = run(run_id)
            if row["status"] in _ENDED:
                return row
            tell(f"run {run_id} is {row['status']}")
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
