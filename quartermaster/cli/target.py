"""What a command works on: the home folder of this machine, or a daemon at an address."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from quartermaster.errors import NotFound, UsageError

Row = Mapping[str, Any]

LATEST: Final = "latest"
_CANDIDATES: Final = 4


class Target(Protocol):
    """Missions, journal, runs and ingest of one workspace. Rows are what the API shows."""

    def missions(self, filters: Row, limit: int) -> Iterator[Row]:
        """Missions, last changed first."""
        ...

    def mission(self, mission_id: str) -> Row:
        """One mission with its metrics, failure modes, signatures and sources."""
        ...

    def difference(self, baseline_id: str, candidate_id: str, window: Row) -> Row:
        """Two missions step by step; `window` has `from` and `limit` of its lines, and where the candidate
        is held against the baseline `match`, `arguments`, `ignore_tool` and `ignore_argument`."""
        ...

    def similar(self, mission_id: str, filters: Row) -> Row:
        """Missions of the same shape or nearly the same, and how they ended."""
        ...

    def has_mission(self, mission_id: str) -> bool: ...

    def mission_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of missions that begin with a prefix."""
        ...

    def sources(self, filters: Row, limit: int) -> Iterator[Row]:
        """Files that were offered, last changed first."""
        ...

    def entries(self, filters: Row, limit: int) -> Iterator[Row]:
        """Journal entries, newest first."""
        ...

    def evaluate(self, kind: str, body: Row, *, wait: bool) -> Row:
        """Queue a run; its row, when `wait` after it has ended."""
        ...

    def runs(self, limit: int) -> Iterator[Row]:
        """Runs, newest first."""
        ...

    def run(self, run_id: str) -> Row:
        """One run with its report beside it."""
        ...

    def has_run(self, run_id: str) -> bool: ...

    def run_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of runs that begin with a prefix."""
        ...

    def trends(self, filters: Row) -> Row:
        """Series of metrics over missions, with their changes."""
        ...

    def baselines(self) -> list[Row]:
        """The version that holds of every baseline."""
        ...

    def baseline(self, name: str) -> Row:
        """One baseline with its missions and its history."""
        ...

    def freeze(self, body: Row) -> Row:
        """Freeze missions as a new baseline."""
        ...

    def accept(self, name: str, body: Row) -> Row:
        """Accept missions for a baseline."""
        ...

    def ingest(self, paths: Sequence[Path], on_progress: Callable[[str], None]) -> list[Row]:
        """Read recordings; what became of each file."""
        ...

    def close(self) -> None: ...


def find_mission_id(target: Target, text: str) -> str:
    """The mission that an id, a unique prefix of one, or `latest` names."""
    if text == LATEST:
        return _only_first((str(row["mission_id"]) for row in target.missions({}, 1)), "mission")
    if target.has_mission(text):
        return text
    return _only_candidate(text, target.mission_ids(text, _CANDIDATES), "mission")


def find_run_id(target: Target, text: str) -> str:
    """The run that an id, a unique prefix of one, or `latest` names."""
    if text == LATEST:
        return _only_first((str(row["id"]) for row in target.runs(1)), "run")
    if target.has_run(text):
        return text
    return _only_candidate(text, target.run_ids(text, _CANDIDATES), "run")


def _only_first(ids: Iterator[str], noun: str) -> str:
    for first in ids:
        return first
    raise NotFound(f"there is no {noun} yet")


def _only_candidate(text: str, candidates: Sequence[str], noun: str) -> str:
    if not text or not candidates:
        command = "missions" if noun == "mission" else "eval runs"
        raise NotFound(f"no {noun} {text!r}; `quartermaster {command}` lists them")
    if len(candidates) > 1:
        shown = ", ".join(candidates[: _CANDIDATES - 1]) + (", ..." if len(candidates) == _CANDIDATES else "")
        raise UsageError(f"{text!r} is the beginning of several {noun}s: {shown}")
    return candidates[0]
