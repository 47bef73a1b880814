"""A door for telemetry that is open as long as one command runs, for a home without a daemon."""

import hmac
import secrets
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

from quartermaster.api import otlp
from quartermaster.core.secrets import Masker
from quartermaster.errors import StorageError
from quartermaster.store.database import Database

_SIGNALS: Final = {"/v1/traces": "spans", "/v1/logs": "logs"}
_PROTOBUF: Final = "application/x-protobuf"
_BODY_LIMIT: Final = 64 << 20


class Door(NamedTuple):
    """Where telemetry may be sent, the token for it, and into which workspace where that is a choice."""

    url: str
    token: str
    workspace: str | None = None


class _Refused(Exception):
    """A request that is not taken, with the status of its answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@contextmanager
def receiving(database: Database, workspace: int, masker: Masker | None) -> Iterator[Door]:
    """Take telemetry on a port of this machine; every answered request is kept."""
    token = secrets.token_urlsafe(24)

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            try:
                status, body, kind = 200, *self._taken()
            except _Refused as refused:
                status, body, kind = refused.status, str(refused).encode(), "text/plain"
            except StorageError:
                status, body, kind = 503, b"the database is busy; send the same again", "text/plain"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _taken(self) -> tuple[bytes, str]:
            given = self.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {token}".encode()):
                raise _Refused(401, "the token is missing or wrong")
            if self.path not in _SIGNALS:
                raise _Refused(404, "spans go to /v1/traces and log records to /v1/logs")
            signal = otlp.SIGNALS[_SIGNALS[self.path]]
            body = self._body()
            in_protobuf = self.headers.get_content_type() == _PROTOBUF
            try:
                handed_in = (signal.read_protobuf if in_protobuf else signal.read_json)(body)
            except otlp.Unreadable as error:
                raise _Refused(400, str(error)) from None
            if handed_in.accepted:
                signal.accept(database, workspace, handed_in.accepted, masker)
            if in_protobuf:
                return signal.answer_protobuf(handed_in), _PROTOBUF
            return otlp.answer_json(handed_in, signal.rejected_name), "application/json"

        def _body(self) -> bytes:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit():
                raise _Refused(411, "the length of the body is missing")
            if int(length) > _BODY_LIMIT:
                raise _Refused(413, f"a body has at most {_BODY_LIMIT:,} bytes")
            body = self.rfile.read(int(length))
            return _unpacked(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def log_message(self, *_: object) -> None:
            """The terminal belongs to the command that runs."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # leaving waits for the requests that are being answered
        serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        try:
            yield Door(f"http://127.0.0.1:{server.server_port}", token)
        finally:
            server.shutdown()


def _unpacked(body: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    try:
        plain = decoder.decompress(body, _BODY_LIMIT + 1)
    except zlib.error:
        raise _Refused(400, "the body is no gzip content") from None
    if len(plain) > _BODY_LIMIT:
        raise _Refused(413, f"a body has at most {_BODY_LIMIT:,} bytes")
    return plain
