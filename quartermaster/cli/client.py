"""A client of the HTTP API for the command line. The standard library's, because it starts fast."""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from quartermaster.core.tokens import is_token
from quartermaster.errors import (
    DaemonUnreachable,
    NotAllowed,
    NotFound,
    QuartermasterError,
    StorageBusy,
    UsageError,
)

_TIMEOUT_SECONDS: Final = 30.0
_PATIENCE_SECONDS: Final = 15.0
_BUSY: Final = (429, 503)


class Client:
    """Asks one daemon, as one principal, about one workspace (None: the one that the token stands for)."""

    def __init__(self, url: str, token: str | None, workspace: str | None) -> None:
        parts = urlsplit(url if "://" in url or url.startswith("unix:") else f"http://{url}")
        if parts.scheme not in ("http", "https", "unix") or not (parts.hostname or parts.scheme == "unix"):
            raise UsageError(f"{url!r} is no address of a daemon; one looks like http://127.0.0.1:7117")
        self._connection: http.client.HTTPConnection
        if parts.scheme == "unix":
            self._url, self._root = url, ""
            self._connection = _UnixConnection(parts.path)
        else:
            self._url, self._root = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
            self._connection = _connection(parts.scheme, parts.hostname or "", parts.port)
        self._headers = {"Accept": "application/json"}
        if token:
            if not is_token(token):
                raise UsageError("this is no token, or it has a typing mistake; one begins with qm_")
            self._headers["Authorization"] = f"Bearer {token}"
        if workspace:
            self._headers["X-Workspace-ID"] = workspace

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """The JSON object at a path; parameters that are None are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", path + ("?" + urlencode(given) if given else ""), None)

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> dict[str, Any]:
        """The answer to a body."""
        return self._ask("POST", path, body, {"Content-Type": content_type})

    def pages(self, path: str, rows: str, **query: object) -> Iterator[dict[str, Any]]:
        """Every row of a list that is cut into pages."""
        cursor: str | None = None
        while True:
            page = self.get(path, cursor=cursor, **query)
            yield from page[rows]
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def close(self) -> None:
        self._connection.close()

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        patience = time.monotonic() + _PATIENCE_SECONDS
        while True:
            status, retry_after, answer = self._exchange(method, path, body, headers or {})
            if status not in _BUSY or time.monotonic() + retry_after > patience:
                return self._understood(status, answer)
            time.sleep(retry_after)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, float, bytes]:
        try:
            self._connection.request(method, self._root + path, body, {**self._headers, **headers})
            response = self._connection.getresponse()
            return response.status, _seconds(response.getheader("Retry-After")), response.read()
        except (OSError, http.client.HTTPException, ssl.SSLError) as error:
            self._connection.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DaemonUnreachable(
                f"no daemon answers at {self._url} ({reason}); is `quartermaster serve` running?"
            ) from error

    def _understood(self, status: int, answer: bytes) -> dict[str, Any]:
        try:
            document = msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise DaemonUnreachable(f"what answers at {self._url} is no Quartermaster (status {status})")
        if status < 300:
            return document
        raise refusal(status, document)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def path_of(*parts: str) -> str:
    """A path below the API's root, every part escaped."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS)
    return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)


def _seconds(text: str | None) -> float:
    return min(float(text), 10.0) if text and text.isdigit() else 1.0


def refusal(status: int, problem: dict[str, Any]) -> QuartermasterError:
    """The error that an answer stands for."""
    said = [str(problem[key]) for key in ("error", "detail") if problem.get(key)]
    message = "; ".join(dict.fromkeys(said)) or f"the daemon answered with status {status}"
    if status in (401, 403):
        return NotAllowed(message)
    if status == 404:
        return NotFound(message)
    if status in _BUSY:
        return StorageBusy(message)
    if status < 500:
        return UsageError(message)
    return QuartermasterError(message)
