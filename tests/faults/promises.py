"""What the clients of a daemon hold against it: everything they wrote, and everything it said yes to."""

import threading
from pathlib import Path
from typing import Any, NamedTuple


class Violation(NamedTuple):
    """A promise that was not kept: the kind for programs, the particulars for people."""

    kind: str
    what: str


class Promises:
    """The clients' own books. Numbers are in the payload of each entry, so that content is checked too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.lines: dict[Path, list[str]] = {}
        """Ids of the whole lines of each file, in order."""
        self.numbers: dict[str, int] = {}
        """The number of every entry that was written to a file or sent, by id."""
        self.acknowledged: set[str] = set()
        """Ids of the entries that were sent and answered with a 200."""
        self.runs: dict[str, dict[str, Any]] = {}
        """What each acknowledged run was asked to do."""
        self.broken: list[Violation] = []
        """Answers that were wrong by themselves."""

    def wrote(self, path: Path, entry_id: str, number: int) -> None:
        with self._lock:
            self.lines.setdefault(path, []).append(entry_id)
            self.numbers[entry_id] = number

    def offers(self, entries: dict[str, int]) -> None:
        """Called before the entries are sent: from now on each may be there, at most once."""
        with self._lock:
            self.numbers.update(entries)

    def acknowledges(self, entries: dict[str, int]) -> None:
        with self._lock:
            self.acknowledged.update(entries)

    def acknowledges_run(self, run_id: str, asked: dict[str, Any]) -> None:
        with self._lock:
            self.runs[run_id] = asked

    def breaks(self, kind: str, what: str) -> None:
        with self._lock:
            self.broken.append(Violation(kind, what))

    @property
    def expected(self) -> set[str]:
        """Ids of the entries that have to be there."""
        return self.acknowledged.union(*self.lines.values())
