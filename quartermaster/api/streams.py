"""Server-sent events of runs. The database tells what happened; the supervisor says that something did."""

from collections import Counter
from typing import Any, Final

import anyio
import msgspec
from litestar.types import Receive, Scope, Send

from quartermaster.api.access import Call, Doorkeeper, doorkeeper_of, services_of
from quartermaster.api.problems import Problem
from quartermaster.api.services import Services
from quartermaster.core.journal import format_instant
from quartermaster.store import runs
from quartermaster.store.runs import RunEvent

PER_PRINCIPAL: Final = 8
IN_ALL: Final = 200

_PAGE: Final = 100
_CHECK_SECONDS: Final = 2.0
"""How often the database and the caller's access are looked at without a hint."""
_PATIENCE_SECONDS: Final = 30.0
"""How long a client may refuse to read before it is let go."""
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),
]


class Streams:
    """The open streams of one application, counted so that they stay few."""

    def __init__(self) -> None:
        self._of_token: Counter[str] = Counter()

    def open(self, request: Call, last_event: int) -> "RunStream":
        """A stream behind an event; 429 when there are too many already."""
        token_id = request.auth.principal.token_id
        if self._of_token[token_id] >= PER_PRINCIPAL or self._of_token.total() >= IN_ALL:
            raise Problem(
                429,
                "too many streams",
                "Close a stream before opening another.",
                headers={"Retry-After": "5"},
            )
        return RunStream(self, request, last_event)

    def count(self) -> int:
        """How many are open."""
        return self._of_token.total()

    def enter(self, token_id: str) -> None:
        """Count a stream that has begun."""
        self._of_token[token_id] += 1

    def leave(self, token_id: str) -> None:
        """A stream has ended."""
        self._of_token[token_id] -= 1
        if not self._of_token[token_id]:
            del self._of_token[token_id]


class RunStream:
    """The answer that lasts: changes of status of one workspace's runs, in order, without gap or repeat."""

    def __init__(self, streams: Streams, request: Call, last_event: int) -> None:
        self._streams = streams
        self._services: Services = services_of(request)
        self._doorkeeper: Doorkeeper = doorkeeper_of(request)
        self._workspace = request.auth.workspace
        self._token_id = request.auth.principal.token_id
        self._scope = request.scope
        self._last_event = last_event
        self._news = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client goes, loses its access or the server stops."""
        self._streams.enter(self._token_id)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_disconnected, receive, tasks.cancel_scope)
                tasks.start_soon(self._until_stopping)
                tasks.start_soon(self._listen)
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                if await self._tell(send):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                tasks.cancel_scope.cancel()
        finally:
            self._streams.leave(self._token_id)

    async def _tell(self, send: Send) -> bool:
        """Whether the stream came to its end with a client that still reads."""
        silence = self._services.heartbeat_seconds
        last_sent = anyio.current_time()
        text = b": connected\n\n"
        while True:
            text += self._next_events()
            now = anyio.current_time()
            if not text and now - last_sent >= silence:
                text = b": heartbeat\n\n"
            if text:
                if not await _sent(send, text):
                    return False
                last_sent, text = now, b""
                continue
            if self._services.stopping.is_set() or not self._is_allowed():
                return True
            self._news = anyio.Event()
            with anyio.move_on_after(min(_CHECK_SECONDS, last_sent + silence - now)):
                await self._news.wait()

    def _next_events(self) -> bytes:
        events = self._services.database.look_up(
            lambda connection: runs.events_after(connection, self._workspace, self._last_event, _PAGE)
        )
        if events:
            self._last_event = events[-1].id
        return b"".join(map(_event_text, events))

    def _is_allowed(self) -> bool:
        return self._doorkeeper.is_valid(self._scope, self._workspace)

    async def _until_disconnected(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while True:
            message: Any = await receive()
            if message["type"] == "http.disconnect":
                scope.cancel()
                return

    async def _until_stopping(self) -> None:
        await self._services.stopping.wait()
        self._news.set()

    async def _listen(self) -> None:
        """Every hint means: look. A subscription that has ended leaves the look every other second."""
        with self._services.supervisor.subscribe(self._workspace) as subscription:
            async for _ in subscription:
                self._news.set()


async def _sent(send: Send, text: bytes) -> bool:
    with anyio.move_on_after(_PATIENCE_SECONDS):
        await send({"type": "http.response.body", "body": text, "more_body": True})
        return True
    return False


def _event_text(event: RunEvent) -> bytes:
    data = msgspec.json.encode({"id": event.run_id, "status": event.status, "at": format_instant(event.at)})
    return b"id: %d\nevent: run\ndata: %s\n\n" % (event.id, data)
