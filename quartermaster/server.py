"""The HTTP server: uvicorn inside of our own task group, with deadlines for those who send slowly."""

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final

import httptools
import uvicorn
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from quartermaster.api.edge import PROTECTION

HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 30.0
"""For a body, and one more second for every MiB of it that has come."""
LINGER_SECONDS: Final = 2.0
"""For the rest of a body after its answer, so that the client gets to read it."""
STALLED_SECONDS: Final = 30.0
"""How long a client may leave what is sent to it unread."""
IDLE_SECONDS: Final = 5
"""How long a connection is kept for the next request."""
HEAD_LIMIT: Final = 64 * 1024
CONNECTION_LIMIT: Final = 512
ADDRESS_LIMIT: Final = 64
"""Connections of one client address."""
PIPELINE_LIMIT: Final = 32
"""Requests that may be sent on a connection before the first of them is answered."""
YIELD_SECONDS: Final = 1.0
"""A connection that has waited so long for its head makes room for another, where room is short."""
GRACE_SECONDS: Final = 1

_MEBIBYTE: Final = 2**20
_LOG_SECONDS: Final = 60.0
_HEAD, _BODY, _REST = 1, 2, 3


class Connections(ServerState):
    """Who is connected: how many in all, and how many of each address."""

    def __init__(self, is_proxy: Callable[[str], bool]) -> None:
        super().__init__()
        self._is_proxy = is_proxy
        self._of_address: Counter[str] = Counter()

    def enter(self, address: str) -> None:
        self._of_address[address] += 1

    def leave(self, address: str) -> None:
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    def make_room(self, newcomer: "PatientProtocol") -> bool:
        """Whether the newcomer may stay. Where it is crowded, whoever has waited longest has to go."""
        if self._of_address[newcomer.address] > ADDRESS_LIMIT and not self._is_proxy(newcomer.address):
            return self._let_go(newcomer.address)
        return len(self.connections) <= CONNECTION_LIMIT or self._let_go(None)

    def _let_go(self, address: str | None) -> bool:
        waiting = [
            one
            for one in self.connections
            if isinstance(one, PatientProtocol) and (address is None or one.address == address)
        ]
        longest = max(waiting, key=PatientProtocol.waited)
        if longest.waited() < YIELD_SECONDS:
            return False
        longest.transport.abort()
        return True


class PatientProtocol(HttpToolsProtocol):
    """One connection. Reading a head or a body has an absolute deadline, however the bytes drip in."""

    server_state: Connections
    address: str

    _reading: int | None = _HEAD
    _since = 0.0
    _received = 0
    _head_size = 0
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._since = self.loop.time()
        self.server_state.enter(self.address)
        if not self.server_state.make_room(self):
            self._refuse(b"503 Service Unavailable", b"too many connections", b"retry-after: 1\r\n")
            return
        self._timer = self.loop.call_later(HEAD_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self._timer)
        self._end(self._stalled)
        self.server_state.leave(self.address)
        super().connection_lost(exc)

    def waited(self) -> float:
        """Seconds for which a head is awaited; 0 where none is."""
        return self.loop.time() - self._since if self._reading is _HEAD else 0.0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._reading is None:
            self._end(self._timer)
            self._timer = None
            return
        self._received += len(data)
        if self._reading is _HEAD and self._received > HEAD_LIMIT:
            self.send_400_response("the head of the request is too large")
        elif self._timer is None:
            self._timer = self.loop.call_later(self._allowed(), self._check)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading, self._since, self._received, self._head_size = _HEAD, self.loop.time(), 0, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_LIMIT:
            raise ValueError("the head of the request is too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._reading, self._since, self._received = _BODY, self.loop.time(), 0
        if len(self.url) + self._head_size > HEAD_LIMIT or len(self.pipeline) >= PIPELINE_LIMIT:
            raise ValueError("the head of the request is too large, or too many requests are waiting")
        if not self.url.startswith(b"/"):
            self._require_own_name()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._reading = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._reading is _BODY:
            self._end(self._timer)
            self._reading, self._since = _REST, self.loop.time()
            self._timer = self.loop.call_later(LINGER_SECONDS, self._check)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", b"malformed request")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._end(self._stalled)
        super().resume_writing()

    def _require_own_name(self) -> None:
        """Some readers prefer an address in the request line to the Host header, so both say the same."""
        target = httptools.parse_url(self.url)
        port = b"" if target.port is None else b":%d" % target.port
        named = (target.host or b"") + port
        hosts = [value.lower() for name, value in self.headers if name == b"host"]
        if hosts != [named.lower()]:
            raise ValueError("the request line and the Host header name different servers")

    def _allowed(self) -> float:
        """Seconds for what is being read."""
        if self._reading is _BODY:
            return BODY_SECONDS + self._received / _MEBIBYTE
        return HEAD_SECONDS if self._reading is _HEAD else LINGER_SECONDS

    def _check(self) -> None:
        """Close when the deadline has passed; look again later when it has moved meanwhile."""
        self._timer = None
        if self._reading is None or self.transport.is_closing():
            return
        left = self._since + self._allowed() - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._check)
        elif self._reading is _HEAD and self._received:
            self._refuse(b"408 Request Timeout", b"the request came too slowly")
        else:
            self.transport.abort()

    def _refuse(self, status: bytes, error: bytes, field: bytes = b"") -> None:
        code, _, title = status.partition(b" ")
        body = b'{"type":"about:blank","title":"%b","status":%b,"detail":"%b","error":"%b"}' % (
            title,
            code,
            b"The connection is closed; send the request again.",
            error,
        )
        self.transport.write(
            b"HTTP/1.1 %b\r\n%b%bcontent-type: application/problem+json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, field, _PROTECTING_LINES, len(body), body)
        )
        self.transport.close()

    @staticmethod
    def _end(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


_PROTECTING_LINES: Final = b"".join(b"%b: %b\r\n" % field for field in PROTECTION)


class Server(uvicorn.Server):
    """A server that leaves signals to us and says when it listens. Stop it with `should_exit`."""

    def __init__(
        self,
        application: Any,
        *,
        tls: ssl.SSLContext | None = None,
        is_proxy: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=PatientProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self.server_state = Connections(is_proxy)
        self._tls = tls
        self._task_status: TaskStatus[None] = TASK_STATUS_IGNORED

    async def run_on(
        self, sockets: list[socket.socket], *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `should_exit`; started once it accepts."""
        self._task_status = task_status
        logger = logging.getLogger("uvicorn.error")
        once_a_minute = _OnceAMinute()
        logger.addFilter(once_a_minute)
        try:
            await self.serve(sockets)
        finally:
            logger.removeFilter(once_a_minute)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The library would give a TLS handshake a minute, and its end half of one."""
        await super().startup([])
        await self._listen(sockets or ())
        self._task_status.started()

    async def _listen(self, sockets: Iterable[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for listener in sockets:
            self.servers.append(
                await loop.create_server(
                    self._connection,
                    sock=listener,
                    backlog=self.config.backlog,
                    ssl=self._tls,
                    ssl_handshake_timeout=None if self._tls is None else HEAD_SECONDS,
                    ssl_shutdown_timeout=None if self._tls is None else GRACE_SECONDS,
                )
            )

    def _connection(self) -> PatientProtocol:
        return PatientProtocol(self.config, self.server_state, self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _OnceAMinute(logging.Filter):
    """Warnings of the parser, which any client can cause, go to the log once a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged."""
        if record.levelno > logging.WARNING:
            return True
        moment = time.monotonic()
        if moment - self._told.get(str(record.msg), -_LOG_SECONDS) < _LOG_SECONDS:
            return False
        self._told[str(record.msg)] = moment
        return True
