"""Where the tools read: a home of this machine, or a daemon elsewhere whose missions are fetched at need."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from quartermaster.api.rows import mission_row, step_row
from quartermaster.cli.client import Client, path_of
from quartermaster.cli.local import Local
from quartermaster.cli.remote import Remote
from quartermaster.cli.target import Row, Target
from quartermaster.core.comparison import Profile
from quartermaster.core.journal import parse_instant
from quartermaster.core.pricing import OwnPrices
from quartermaster.core.selection import Selection
from quartermaster.errors import NotFound, QuartermasterError, Rejected, UsageError
from quartermaster.ingest import accept_entries
from quartermaster.store import examinations, missions
from quartermaster.store.database import Connection, Database
from quartermaster.store.journal import find_entry
from quartermaster.store.missions import MissionFilter
from quartermaster.store.trajectory import trajectory_window

T = TypeVar("T")

_SECONDS: Final = 120.0
_ENTRIES_FETCHED: Final = 200_000
"""How many entries of a daemon elsewhere one question may need here."""
_BATCH: Final = 1_000
_PAGE: Final = 200
_OWN_TYPES: Final = (
    "eval.run_started",
    "eval.metric",
    "eval.regression_detected",
    "eval.run_completed",
    "eval.run_failed",
)


class Terms(NamedTuple):
    """What verdicts are given under."""

    profile: Profile
    prices: OwnPrices


class Place(NamedTuple):
    """A workspace of a database that holds missions in full."""

    database: Database
    workspace: int

    def look(self, query: Callable[[Connection, int], T]) -> T:
        """What a query finds, on one state of the database; StorageBusy where it takes too long."""
        return self.database.read_blocking(lambda connection: query(connection, self.workspace), _SECONDS)


class Records(Protocol):
    """One workspace, to be read. `at_once` is how many threads may use it at the same time."""

    @property
    def target(self) -> Target: ...
    @property
    def terms(self) -> Terms: ...
    @property
    def at_once(self) -> int: ...

    def missions(self, filters: Row, limit: int, cursor: str | None) -> tuple[list[Row], str | None]:
        """One page of missions, last changed first, and the cursor of the next one."""
        ...

    def steps(self, mission_id: str, start: int, limit: int) -> list[Row]:
        """Steps from index `start` on."""
        ...

    def entry(self, entry_id: str) -> bytes:
        """One entry as it was recorded; raises NotFound."""
        ...

    def place_of(self, sides: Iterable[Selection]) -> Place:
        """Where all missions of the sides are at hand; those that are gone are not."""
        ...


class HomeRecords:
    """One workspace of a home of this machine."""

    at_once = 4

    def __init__(self, target: Local, place: Place, terms: Terms) -> None:
        self.target = target
        self.terms = terms
        self._place = place

    def missions(self, filters: Row, limit: int, cursor: str | None) -> tuple[list[Row], str | None]:
        chosen = MissionFilter(**_with_instants(filters), limit=limit, cursor=cursor)

        def find(connection: Connection, workspace: int) -> tuple[list[Row], str | None]:
            page = missions.list_missions(connection, workspace, chosen)
            findings = examinations.counts(connection, page.rows)
            rows: list[Row] = [mission_row(one, findings.get(one.key)) for one in page.rows]
            return rows, page.next_cursor

        return self._place.look(find)

    def steps(self, mission_id: str, start: int, limit: int) -> list[Row]:
        def find(connection: Connection, workspace: int) -> list[Row]:
            mission = missions.find_mission(connection, workspace, mission_id)
            if mission is None:
                raise NotFound(f"no mission {mission_id!r}")
            return [step_row(step) for step in trajectory_window(connection, mission.key, start, limit)]

        return self._place.look(find)

    def entry(self, entry_id: str) -> bytes:
        raw = self._place.look(lambda connection, workspace: find_entry(connection, workspace, entry_id))
        if raw is None:
            raise NotFound(f"no entry {entry_id!r}")
        return raw

    def place_of(self, sides: Iterable[Selection]) -> Place:
        return self._place


class DaemonRecords:
    """One workspace of a daemon elsewhere. What has to be read in full is fetched into `mirror`, an empty
    home of this process alone, so that nothing is queued or written there."""

    at_once = 1

    def __init__(self, target: Remote, client: Client, mirror: Place, terms: Terms) -> None:
        self.target = target
        self.terms = terms
        self._client = client
        self._mirror = mirror
        self._fetched: dict[str, int] = {}

    def missions(self, filters: Row, limit: int, cursor: str | None) -> tuple[list[Row], str | None]:
        page = self._client.get(path_of("missions"), limit=limit, cursor=cursor, **filters)
        return page["rows"], page.get("next_cursor")

    def steps(self, mission_id: str, start: int, limit: int) -> list[Row]:
        path = path_of("missions", mission_id, "trajectory")
        rows: list[Row] = self._client.get(path, **{"from": start, "limit": limit})["steps"]
        return rows

    def entry(self, entry_id: str) -> bytes:
        return msgspec.json.encode(self._client.get(path_of("journal", entry_id)))

    def place_of(self, sides: Iterable[Selection]) -> Place:
        wanted = sorted({mission_id for side in sides for mission_id in self._ids(side)})
        missing = {mission_id: count for mission_id in wanted if (count := self._missing(mission_id))}
        if sum(missing.values()) > _ENTRIES_FETCHED:
            raise UsageError(
                f"these missions have {sum(missing.values()):,} entries, and up to {_ENTRIES_FETCHED:,} are"
                " fetched from a daemon elsewhere; name fewer missions, or run this on its machine"
            )
        for mission_id, count in missing.items():
            self._fetch(mission_id)
            self._fetched[mission_id] = count
        return self._mirror

    def _ids(self, side: Selection) -> Iterable[str]:
        if side.baseline is not None:
            raise UsageError(
                "a frozen baseline of a daemon elsewhere cannot be read here;"
                " name missions, or run this on its machine"
            )
        if side.by_ids:
            return side.mission_ids
        filters = {name: getattr(side, name) for name in _LISTED if getattr(side, name) is not None}
        rows = self._client.pages(path_of("missions"), "rows", limit=_PAGE, **filters)
        return [row["mission_id"] for row in rows if _matches(row, side)]

    def _missing(self, mission_id: str) -> int:
        """How many entries the mission has, where they are not all here; 0 where they are."""
        own = ",".join(_OWN_TYPES)
        told = self._client.get(path_of("journal", "count"), mission_id=mission_id, exclude_entry_type=own)
        count: int = told["count"]
        return 0 if self._fetched.get(mission_id) == count else count

    def _fetch(self, mission_id: str) -> None:
        pages = self._client.pages(
            path_of("journal"),
            "entries",
            mission_id=mission_id,
            exclude_entry_type=",".join(_OWN_TYPES),
            limit=_PAGE,
        )
        while batch := list(islice(_of_mission(pages, mission_id), _BATCH)):
            accept_entries(
                self._mirror.database, self._mirror.workspace, b"\n".join(map(msgspec.json.encode, batch))
            )


_LISTED: Final = ("q", "task", "variant", "format", "since", "until")
_COMPARED: Final = ("model", "agent", "commit")


def _matches(row: Mapping[str, Any], side: Selection) -> bool:
    """Whether a mission has what a list cannot be narrowed to."""
    if any(getattr(side, name) not in (None, row.get(name)) for name in _COMPARED):
        return False
    labels = row.get("labels") or {}
    return all(str(labels.get(name)) == str(value) for name, value in side.labels.items())


def _of_mission(entries: Iterator[Row], mission_id: str) -> Iterator[Row]:
    """Entries as another home takes them: an entry may have come to its mission by its trace."""
    for entry in entries:
        yield {name: value for name, value in entry.items() if name != "workspace_id"} | {
            "mission_id": mission_id
        }


def _with_instants(filters: Row) -> dict[str, Any]:
    given = dict(filters)
    for name in ("since", "until"):
        if name in given:
            try:
                given[name] = parse_instant(given[name])
            except Rejected as error:
                raise UsageError(f"{name} is no RFC 3339 time, such as 2027-01-31T00:00:00Z") from error
    return given


def told(error: QuartermasterError) -> str:
    """An error with the way on that an agent has."""
    if isinstance(error, NotFound):
        return f"{error}. list_missions, list_runs and list_baselines show what there is."
    return str(error)
