"""A typed client of a daemon's HTTP API, for programs: `Client`, and `AsyncClient` for asyncio and trio.

What is asked and what an answer means is told once, in `_Asked`; the two clients only carry it.
"""

import os
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import anyio
import anyio.to_thread
import httpx
import msgspec

from quartermaster.cli.client import path_of, refusal
from quartermaster.cli.delivery import deliver
from quartermaster.core.report import REPORTS, Report
from quartermaster.core.tokens import is_token
from quartermaster.errors import DaemonUnreachable, RunFailed, UsageError

T = TypeVar("T")
Side = Sequence[str] | Mapping[str, Any]
"""Ids of missions, what is known of them, or `{"baseline": NAME}`."""

_TIMEOUT_SECONDS: Final = 30.0
_SILENCE_SECONDS: Final = 60.0
"""A stream says every 15 seconds that it is alive."""
_PATIENCE_SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_PAGE: Final = 200
_BUSY: Final = (429, 503)
_ENDED: Final = ("completed", "failed")
_NDJSON: Final = "application/x-ndjson"


class MissionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One mission in a list. What cannot be said is None; times are RFC 3339 in UTC."""

    mission_id: str
    task: str | None = None
    variant: str | None = None
    trial: int | None = None
    outcome: str | None = None
    outcome_origin: str | None = None
    reward: float | None = None
    format: str | None = None
    title: str | None = None
    agent: str | None = None
    model: str | None = None
    version: str | None = None
    commit: str | None = None
    parent_mission_id: str | None = None
    labels: dict[str, Any] | None = None
    started_at: str | None = None
    ended_at: str | None = None
    entries: int = 0
    model_calls: int = 0
    total_tokens: int | None = None
    total_cost_usd: float | None = None
    known_cost_usd: float | None = None


class MissionDetail(MissionRow, frozen=True, kw_only=True):
    """One mission with what was found out about it alone."""

    steps: int
    goal_reached: bool
    signature: str
    metrics: tuple[dict[str, Any], ...] = ()
    failure_modes: tuple[dict[str, Any], ...] = ()
    failures: tuple[dict[str, Any], ...] = ()

    def value_of(self, metric: str) -> Any:
        """The value of a metric; None where it cannot be said."""
        return next((one.get("value") for one in self.metrics if one["name"] == metric), None)


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a trajectory. `success` is None where no outcome is known."""

    index: int
    entry_id: str
    ts: str
    entry_type: str
    severity: str
    tool: str | None = None
    success: bool | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    duration_ms: int | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `document` is its report as it was sent, `report` the same with types."""

    id: str
    kind: str
    status: str
    seed: int = 0
    total_tokens: int = 0
    total_cost_usd: float = 0.0
    regressed: bool = False
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    mission_id: str | None = None
    baseline_mission_id: str | None = None
    candidate_mission_id: str | None = None
    result: str | None = None
    reason: str | None = None
    signature: str | None = None
    document: dict[str, Any] | None = msgspec.field(default=None, name="report")

    @property
    def ended(self) -> bool:
        return self.status in _ENDED

    @property
    def report(self) -> Report | None:
        """None while there is none. Raises UsageError for a kind that this version does not know."""
        if self.document is None:
            return None
        kind = str(self.document.get("kind"))
        if kind not in REPORTS:
            raise UsageError(f"a report of kind {kind!r} is newer than this client; upgrade quartermaster")
        return msgspec.convert(self.document, REPORTS[kind])


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A run has another status. `event` is where a stream may be taken up again."""

    id: str
    status: str
    at: str
    event: str = ""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of entries that were sent; a rejected one is named by its line, from 1 on."""

    accepted: int
    duplicate: int
    rejected: tuple[dict[str, Any], ...] = ()


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file."""

    path: str
    state: str
    format: str | None = None
    reason: str | None = None
    accepted: int = 0
    duplicate: int = 0
    conflicting: int = 0
    rejected: int = 0


class _Queued(msgspec.Struct, frozen=True):
    run_id: str


@dataclass(frozen=True)
class _Asked(Generic[T]):
    """One request and the type of its answer."""

    answer: type[T]
    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, http: "httpx.Client | httpx.AsyncClient") -> httpx.Request:
        given = {name: _text(value) for name, value in self.query.items() if value is not None}
        return http.build_request(
            self.method, self.path, params=given, content=self.body, headers=dict(self.headers)
        )

    def understood(self, response: httpx.Response) -> T:
        try:
            document = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise DaemonUnreachable(
                f"what answers at {response.url.host} is no Quartermaster (status {response.status_code})"
            )
        if response.status_code >= 300:
            raise refusal(response.status_code, document)
        try:
            return msgspec.convert(document, self.answer)
        except msgspec.ValidationError as error:
            raise DaemonUnreachable(f"the daemon's answer is not understood: {error}") from error


def _mission(mission_id: str) -> _Asked[MissionDetail]:
    return _Asked(MissionDetail, "GET", path_of("missions", mission_id))


def _run(run_id: str) -> _Asked[Run]:
    return _Asked(Run, "GET", path_of("eval", "runs", run_id))


def _cancel(run_id: str) -> _Asked[_Queued]:
    return _posted(_Queued, path_of("eval", "runs", run_id, "cancel"), {})


def _replay(mission_id: str, seed: int) -> _Asked[_Queued]:
    return _posted(_Queued, path_of("eval", "replay"), {"mission_id": mission_id, "seed": seed})


def _regression(
    baseline_id: str, candidate_id: str, thresholds: Mapping[str, float] | None
) -> _Asked[_Queued]:
    body = {"baseline_mission_id": baseline_id, "candidate_mission_id": candidate_id}
    return _posted(_Queued, path_of("eval", "regression"), _with(body, thresholds=thresholds))


def _comparison(
    baseline: Side, candidate: Side, thresholds: Mapping[str, float] | None, seed: int
) -> _Asked[_Queued]:
    body = {"baseline": baseline, "candidate": candidate, "seed": seed}
    return _posted(_Queued, path_of("eval", "comparisons"), _with(body, thresholds=thresholds))


def _entries(entries: Iterable[Mapping[str, Any]]) -> _Asked[Accepted]:
    lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    return _posted(Accepted, path_of("journal"), lines, content_type=_NDJSON)


def _posted(answer: type[T], path: str, body: Any, *, content_type: str = "application/json") -> _Asked[T]:
    """Sent under a key of its own, so that sending it again after a pause does it once."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    headers = {"Content-Type": content_type, "Idempotency-Key": secrets.token_hex(16)}
    return _Asked(answer, "POST", path, body=content, headers=headers)


def _with(body: dict[str, Any], **more: Any) -> dict[str, Any]:
    return body | {name: value for name, value in more.items() if value is not None}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class _Listing(Generic[T]):
    """A list that comes in pages: what to ask for next, and the rows of an answer."""

    def __init__(self, path: str, key: str, row: type[T], limit: int | None, filters: Mapping[str, Any]):
        self._path, self._key, self._row, self._filters = path, key, row, filters
        self._left = limit
        self._cursor: str | None = None
        self.done = limit == 0

    def next_page(self) -> _Asked[dict[str, Any]]:
        size = _PAGE if self._left is None else min(self._left, _PAGE)
        query = {**self._filters, "limit": size, "cursor": self._cursor}
        return _Asked(dict[str, Any], "GET", self._path, query)

    def rows(self, page: dict[str, Any]) -> list[T]:
        rows = [msgspec.convert(row, self._row) for row in page[self._key]]
        if self._left is not None:
            rows = rows[: self._left]
            self._left -= len(rows)
        self._cursor = page.get("next_cursor")
        self.done = not self._cursor or self._left == 0
        return rows


class _Steps(_Listing[StepRow]):
    """The steps of a mission, whose pages are counted."""

    def __init__(self, mission_id: str) -> None:
        super().__init__(path_of("missions", mission_id, "trajectory"), "steps", StepRow, None, {})

    def next_page(self) -> _Asked[dict[str, Any]]:
        query = {"from": self._cursor or 0, "limit": 1000}
        return _Asked(dict[str, Any], "GET", self._path, query)

    def rows(self, page: dict[str, Any]) -> list[StepRow]:
        return super().rows({**page, "next_cursor": page.get("next_from")})


class _Events:
    """Server-sent events, line by line."""

    def __init__(self) -> None:
        self._event, self._data = "", ""

    def add(self, line: str) -> RunEvent | None:
        name, _, value = line.partition(":")
        if name == "id":
            self._event = value.strip()
        elif name == "data":
            self._data = value.strip()
        elif not line and self._data:
            told = msgspec.json.decode(self._data, type=RunEvent)
            self._data = ""
            return msgspec.structs.replace(told, event=self._event)
        return None


class _Pauses:
    """How long to wait before the next look, or None once it has been long enough."""

    def __init__(self, seconds: float | None) -> None:
        self._ends = None if seconds is None else time.monotonic() + seconds
        self._pause = _FIRST_PAUSE

    def after(self, wanted: float | None = None) -> float | None:
        pause = self._pause if wanted is None else wanted
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)
        return None if self._ends is not None and time.monotonic() + pause > self._ends else pause

    def after_busy(self, response: httpx.Response) -> float | None:
        if response.status_code not in _BUSY:
            return None
        asked = response.headers.get("Retry-After", "")
        return self.after(min(float(asked), 10.0) if asked.isdigit() else 1.0)


class _Address:
    """Where the daemon is, and as whom it is asked."""

    def __init__(self, url: str | None, token: str | None, workspace: str | None, timeout: float) -> None:
        self.url = url or os.environ.get("QUARTERMASTER_URL") or "http://127.0.0.1:7117"
        self.token = token or os.environ.get("QUARTERMASTER_TOKEN") or None
        self.workspace = workspace
        self.timeout = timeout
        if self.token and not is_token(self.token):
            raise UsageError("this is no token, or it has a typing mistake; one begins with qm_")
        self.socket = self.url.removeprefix("unix:") if self.url.startswith("unix:") else None
        given = self.url if "://" in self.url else f"http://{self.url}"
        self.base = "http://localhost" if self.socket else given
        if not self.base.startswith(("http://", "https://")):
            raise UsageError(f"{self.url!r} is no address of a daemon; one looks like http://127.0.0.1:7117")

    @property
    def options(self) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.workspace:
            headers["X-Workspace-ID"] = self.workspace
        return {"base_url": self.base, "headers": headers, "timeout": self.timeout, "trust_env": False}

    def unreachable(self, error: Exception) -> DaemonUnreachable:
        reason = str(error) or type(error).__name__
        return DaemonUnreachable(
            f"no daemon answers at {self.url} ({reason}); is `quartermaster serve` running?"
        )


def _ended(run: Run) -> Run:
    if run.status == "failed":
        raise RunFailed(f"the run {run.id} failed: {run.result or run.reason}")
    return run


def _still_going(run: Run, seconds: float | None) -> RunFailed:
    return RunFailed(f"the run {run.id} is still {run.status} after {seconds:g} seconds; wait for it again")


def _lines(path: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str | os.PathLike) else [Path(one) for one in path]


class Client:
    """Asks one daemon, as one principal, about one workspace (None: the one that the token stands for).

    Without `url` and `token` those of QUARTERMASTER_URL and QUARTERMASTER_TOKEN count. Errors are those of
    `quartermaster.errors`: NotAllowed, NotFound, UsageError, StorageBusy, DaemonUnreachable, RunFailed. A
    daemon that is busy is asked again for half a minute.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        workspace: str | None = None,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._address = _Address(url, token, workspace, timeout)
        transport = httpx.HTTPTransport(uds=self._address.socket) if self._address.socket else None
        self._http = httpx.Client(**self._address.options, transport=transport)

    def missions(self, *, limit: int | None = None, **filters: Any) -> Iterator[MissionRow]:
        """Missions, last changed first; filters are q, task, variant, outcome, format, since, until, …"""
        return self._all(_Listing(path_of("missions"), "rows", MissionRow, limit, filters))

    def mission(self, mission_id: str) -> MissionDetail:
        return self._send(_mission(mission_id))

    def steps(self, mission_id: str) -> Iterator[StepRow]:
        """The trajectory of a mission, in order."""
        return self._all(_Steps(mission_id))

    def journal(self, *, limit: int | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        """Entries, newest first, each as it was recorded; filters are mission_id, entry_type, q, …"""
        return self._all(_Listing(path_of("journal"), "entries", dict[str, Any], limit, filters))

    def add_entries(self, entries: Iterable[Mapping[str, Any]]) -> Accepted:
        """Send native entries; they are on the daemon's disk when this returns."""
        return self._send(_entries(entries))

    def ingest(self, paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> list[Delivered]:
        """Read recordings here, of any format, and send what they say; what became of each file."""
        return [msgspec.convert(one, Delivered) for one in deliver(self, _lines(paths), lambda _: None)]

    def runs(self, *, limit: int | None = None, **filters: Any) -> Iterator[Run]:
        """Runs, newest first; filters are kind, status, mission_id, regressed, since."""
        return self._all(_Listing(path_of("eval", "runs"), "rows", Run, limit, filters))

    def run(self, run_id: str) -> Run:
        """A run, with its report once there is one."""
        return self._send(_run(run_id))

    def cancel(self, run_id: str) -> None:
        """End a run; one that has ended stays as it is."""
        self._send(_cancel(run_id))

    def replay(
        self, mission_id: str, *, seed: int = 0, wait: bool = True, seconds: float | None = None
    ) -> Run:
        """Put a mission together again from its journal and measure it; no agent is run."""
        return self._queue(_replay(mission_id, seed), wait=wait, seconds=seconds)

    def regression(
        self,
        baseline_mission_id: str,
        candidate_mission_id: str,
        *,
        thresholds: Mapping[str, float] | None = None,
        wait: bool = True,
        seconds: float | None = None,
    ) -> Run:
        """Hold one mission against another."""
        asked = _regression(baseline_mission_id, candidate_mission_id, thresholds)
        return self._queue(asked, wait=wait, seconds=seconds)

    def comparison(
        self,
        baseline: Side,
        candidate: Side,
        *,
        thresholds: Mapping[str, float] | None = None,
        seed: int = 0,
        wait: bool = True,
        seconds: float | None = None,
    ) -> Run:
        """Compare two sets: `client.comparison({"variant": "v1"}, {"variant": "v2"})`."""
        asked = _comparison(baseline, candidate, thresholds, seed)
        return self._queue(asked, wait=wait, seconds=seconds)

    def wait(self, run_id: str, *, seconds: float | None = None) -> Run:
        """The run once it has ended; RunFailed where it failed, or is not done after so many `seconds`."""
        pauses = _Pauses(seconds)
        while not (run := self.run(run_id)).ended:
            pause = pauses.after()
            if pause is None:
                raise _still_going(run, seconds or 0.0)
            time.sleep(pause)
        return _ended(run)

    def stream(self, *, after: str | None = None) -> Iterator[RunEvent]:
        """Every change of a run's status from now on, or from behind the event `after`."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        asked = _Asked(dict[str, Any], "GET", path_of("eval", "runs", "stream"), headers=headers)
        try:
            with self._http.stream("GET", asked.path, headers=headers, timeout=_SILENCE_SECONDS) as response:
                if response.status_code != 200:
                    response.read()
                    asked.understood(response)
                events = _Events()
                for line in response.iter_lines():
                    if (event := events.add(line)) is not None:
                        yield event
        except httpx.HTTPError as error:
            raise self._address.unreachable(error) from error

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> dict[str, Any]:
        """The answer to any body, for what has no method of its own."""
        return self._send(_posted(dict[str, Any], path, body, content_type=content_type))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _queue(self, asked: _Asked[_Queued], *, wait: bool, seconds: float | None) -> Run:
        run_id = self._send(asked).run_id
        return self.wait(run_id, seconds=seconds) if wait else self.run(run_id)

    def _all(self, listing: _Listing[T]) -> Iterator[T]:
        while not listing.done:
            yield from listing.rows(self._send(listing.next_page()))

    def _send(self, asked: _Asked[T]) -> T:
        pauses = _Pauses(_PATIENCE_SECONDS)
        while True:
            try:
                response = self._http.send(asked.request(self._http))
            except httpx.HTTPError as error:
                raise self._address.unreachable(error) from error
            pause = pauses.after_busy(response)
            if pause is None:
                return asked.understood(response)
            time.sleep(pause)


class AsyncClient:
    """`Client` for programs that wait for many things at once; every method is the same, awaited."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        workspace: str | None = None,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._address = _Address(url, token, workspace, timeout)
        transport = httpx.AsyncHTTPTransport(uds=self._address.socket) if self._address.socket else None
        self._http = httpx.AsyncClient(**self._address.options, transport=transport)

    def missions(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[MissionRow]:
        """Missions, last changed first; filters are q, task, variant, outcome, format, since, until, …"""
        return self._all(_Listing(path_of("missions"), "rows", MissionRow, limit, filters))

    async def mission(self, mission_id: str) -> MissionDetail:
        return await self._send(_mission(mission_id))

    def steps(self, mission_id: str) -> AsyncIterator[StepRow]:
        """The trajectory of a mission, in order."""
        return self._all(_Steps(mission_id))

    def journal(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """Entries, newest first, each as it was recorded; filters are mission_id, entry_type, q, …"""
        return self._all(_Listing(path_of("journal"), "entries", dict[str, Any], limit, filters))

    async def add_entries(self, entries: Iterable[Mapping[str, Any]]) -> Accepted:
        """Send native entries; they are on the daemon's disk when this returns."""
        return await self._send(_entries(entries))

    async def ingest(
        self, paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]
    ) -> list[Delivered]:
        """Read recordings here, in a thread, and send what they say; what became of each file."""
        address = self._address

        def work() -> list[Delivered]:
            with Client(
                address.url, address.token, workspace=address.workspace, timeout=address.timeout
            ) as client:
                return client.ingest(paths)

        return await anyio.to_thread.run_sync(work)

    def runs(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Run]:
        """Runs, newest first; filters are kind, status, mission_id, regressed, since."""
        return self._all(_Listing(path_of("eval", "runs"), "rows", Run, limit, filters))

    async def run(self, run_id: str) -> Run:
        """A run, with its report once there is one."""
        return await self._send(_run(run_id))

    async def cancel(self, run_id: str) -> None:
        """End a run; one that has ended stays as it is."""
        await self._send(_cancel(run_id))

    async def replay(
        self, mission_id: str, *, seed: int = 0, wait: bool = True, seconds: float | None = None
    ) -> Run:
        """Put a mission together again from its journal and measure it; no agent is run."""
        return await self._queue(_replay(mission_id, seed), wait=wait, seconds=seconds)

    async def regression(
        self,
        baseline_mission_id: str,
        candidate_mission_id: str,
        *,
        thresholds: Mapping[str, float] | None = None,
        wait: bool = True,
        seconds: float | None = None,
    ) -> Run:
        """Hold one mission against another."""
        asked = _regression(baseline_mission_id, candidate_mission_id, thresholds)
        return await self._queue(asked, wait=wait, seconds=seconds)

    async def comparison(
        self,
        baseline: Side,
        candidate: Side,
        *,
        thresholds: Mapping[str, float] | None = None,
        seed: int = 0,
        wait: bool = True,
        seconds: float | None = None,
    ) -> Run:
        """Compare two sets: `await client.comparison({"variant": "v1"}, {"variant": "v2"})`."""
        asked = _comparison(baseline, candidate, thresholds, seed)
        return await self._queue(asked, wait=wait, seconds=seconds)

    async def wait(self, run_id: str, *, seconds: float | None = None) -> Run:
        """The run once it has ended; RunFailed where it failed, or is not done after so many `seconds`."""
        pauses = _Pauses(seconds)
        while not (run := await self.run(run_id)).ended:
            pause = pauses.after()
            if pause is None:
                raise _still_going(run, seconds or 0.0)
            await anyio.sleep(pause)
        return _ended(run)

    async def stream(self, *, after: str | None = None) -> AsyncIterator[RunEvent]:
        """Every change of a run's status from now on, or from behind the event `after`."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        asked = _Asked(dict[str, Any], "GET", path_of("eval", "runs", "stream"), headers=headers)
        try:
            async with self._http.stream(
                "GET", asked.path, headers=headers, timeout=_SILENCE_SECONDS
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    asked.understood(response)
                events = _Events()
                async for line in response.aiter_lines():
                    if (event := events.add(line)) is not None:
                        yield event
        except httpx.HTTPError as error:
            raise self._address.unreachable(error) from error

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _queue(self, asked: _Asked[_Queued], *, wait: bool, seconds: float | None) -> Run:
        run_id = (await self._send(asked)).run_id
        return await self.wait(run_id, seconds=seconds) if wait else await self.run(run_id)

    async def _all(self, listing: _Listing[T]) -> AsyncIterator[T]:
        while not listing.done:
            for row in listing.rows(await self._send(listing.next_page())):
                yield row

    async def _send(self, asked: _Asked[T]) -> T:
        pauses = _Pauses(_PATIENCE_SECONDS)
        while True:
            try:
                response = await self._http.send(asked.request(self._http))
            except httpx.HTTPError as error:
                raise self._address.unreachable(error) from error
            pause = pauses.after_busy(response)
            if pause is None:
                return asked.understood(response)
            await anyio.sleep(pause)
