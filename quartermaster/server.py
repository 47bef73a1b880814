"""The HTTP server: uvicorn inside of our own task group, with deadlines for those who send slowly."""

import asyncio
import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final

import uvicorn
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from quartermaster.errors import ConfigurationError

HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 30.0
"""For a body, and one more second for every MiB of it that has come."""
STALLED_SECONDS: Final = 30.0
"""How long a client may leave what is sent to it unread."""
HEAD_LIMIT: Final = 64 * 1024
CONNECTION_LIMIT: Final = 512
GRACE_SECONDS: Final = 1

_MEBIBYTE: Final = 2**20
_HEAD, _BODY = 1, 2


class PatientProtocol(HttpToolsProtocol):
    """One connection. Reading a head or a body has an absolute deadline, however the bytes drip in."""

    _reading: int | None = _HEAD
    _since = 0.0
    _received = 0
    _head_size = 0
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTION_LIMIT:
            self._refuse(b"503 Service Unavailable", b"too many connections", b"retry-after: 1\r\n")
            return
        self._since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self._timer)
        self._end(self._stalled)
        super().connection_lost(exc)

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
            self._timer = self.loop.call_later(
                HEAD_SECONDS if self._reading is _HEAD else BODY_SECONDS, self._check
            )

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
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._reading = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", b"malformed request")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._end(self._stalled)
        super().resume_writing()

    def _check(self) -> None:
        """Close when the deadline has passed; look again later when it has moved meanwhile."""
        self._timer = None
        if self._reading is None or self.transport.is_closing():
            return
        allowed = HEAD_SECONDS if self._reading is _HEAD else BODY_SECONDS + self._received / _MEBIBYTE
        left = self._since + allowed - self.loop.time()
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
            b"HTTP/1.1 %b\r\n%bcontent-type: application/problem+json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (status, field, len(body), body)
        )
        self.transport.close()

    @staticmethod
    def _end(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


class Server(uvicorn.Server):
    """A server that leaves signals to us and says when it listens. Stop it with `should_exit`."""

    def __init__(self, application: Any) -> None:
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
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._task_status: TaskStatus[None] = TASK_STATUS_IGNORED

    async def run_on(
        self, sockets: list[socket.socket], *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `should_exit`; started once it accepts."""
        self._task_status = task_status
        await self.serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._task_status.started()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def bind(host: str, port: int, *, behind_proxy: bool) -> socket.socket:
    """A listening socket; ConfigurationError says why there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationError(f"host {host!r} is not an address of this machine") from error
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] is not socket.AF_INET)
    if not behind_proxy and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise ConfigurationError(
            f"host {host!r} is reachable from other machines, and tokens would travel unencrypted;"
            " put a TLS proxy in front and pass --behind-proxy, or keep 127.0.0.1"
        )
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(_why_not_bound(host, port, error)) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The address under which a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another with --port, or 0 for a free one"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this process has; choose one above 1023 with --port"
    return f"{host}:{port} cannot be listened on: {error.strerror}"
