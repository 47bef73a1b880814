"""What every request meets first: whom it names, where it comes from, and what every answer carries."""

import re
import secrets
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import structlog
from litestar.types import ASGIApp, Message, Receive, Send

from quartermaster.api.answers import Answer
from quartermaster.api.problems import MEDIA_TYPE, Problem
from quartermaster.api.proxies import Proxies

FIELDS: Final = "quartermaster.fields"
"""Where a scope keeps its header fields by name, for everyone behind the edge."""

ENCODED_SLASH: Final = "\x1f"
"""Stands for a slash inside of an id in a path, where the client has encoded it."""

Headers = list[tuple[bytes, bytes]]
Fixed = tuple[tuple[bytes, bytes], ...]

_NOT_CACHED: Final[Fixed] = ((b"cache-control", b"no-store"),)
_EVERYWHERE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
PROTECTION: Final[Fixed] = (
    *_EVERYWHERE,
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox"),
)
"""What every answer carries that is no page."""
_PROTECTION_OF_PAGES: Final[Fixed] = (
    *_EVERYWHERE,
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        b" font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        b" require-trusted-types-for 'script'; trusted-types 'none'",
    ),
)
_ONCE: Final = (
    b"authorization",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"host",
    b"idempotency-key",
    b"last-event-id",
    b"origin",
    b"sec-fetch-site",
    b"x-workspace-id",
)
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_PORTS_LEFT_OUT: Final = (80, 443)
_EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


def accepted_hosts(host: str, port: int, allowed_hosts: Iterable[str]) -> frozenset[bytes]:
    """Every value of the Host header that may name this server, in lower case."""
    names = [*_LOOPBACK] if host in _EVERY_ADDRESS else [*_LOOPBACK, f"[{host}]" if ":" in host else host]
    forms = {f"{name}:{port}" for name in names}
    if port in _PORTS_LEFT_OUT:
        forms.update(names)
    return frozenset(form.lower().encode() for form in (*forms, *allowed_hosts))


class Edge:
    """Wraps the whole application: refuses what no honest client sends, protects what goes out."""

    def __init__(self, application: ASGIApp, hosts: frozenset[bytes], proxies: Proxies) -> None:
        self._application = application
        self._hosts = hosts
        self._proxies = proxies

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        fields = dict(scope["headers"])
        request_id = _request_id(fields)
        numbered = (b"x-request-id", request_id)

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*_protected([*message["headers"]]), numbered]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        try:
            if len(fields) != len(scope["headers"]):
                _refuse_repeated(scope["headers"], fields)
            self._refuse_foreign_host(fields)
            if self._proxies:
                self._proxies.unmask(scope)
            if scope["method"] not in _HARMLESS or _has_effects(scope["path"]):
                _refuse_foreign_page(fields)
        except Problem as problem:
            refusal = Answer(problem.status, problem.body(), media_type=MEDIA_TYPE, headers=problem.headers)
            await refusal(scope, receive, protected)
            return
        if scope["method"] == "HEAD" and not _has_effects(scope["path"]):
            # The server sends no body, because it looks at its own scope. A stream has no head alone.
            scope = {**scope, "method": "GET"}
        scope[FIELDS] = fields
        raw_path = scope["raw_path"].partition(b"?")[0]
        if b"%2" in raw_path:
            scope["path"] = _path_with_encoded_slashes(raw_path)
        await self._application(scope, receive, protected)

    def _refuse_foreign_host(self, fields: dict[bytes, bytes]) -> None:
        """A page whose name was made to point here (DNS rebinding) still says its own name."""
        if fields.get(b"host", b"").lower() not in self._hosts:
            raise Problem(
                400,
                "unknown host",
                "The Host header names another server; if it is this one, add it to http.allowed_hosts.",
            )


def _refuse_repeated(headers: Iterable[tuple[bytes, bytes]], fields: dict[bytes, bytes]) -> None:
    names = [name for name, _ in headers]
    for name in _ONCE:
        if names.count(name) < 2:
            continue
        if name == b"authorization":
            fields[name] = b""
            continue
        raise Problem(400, "repeated header", f"The header {name.decode()} may be sent once.")


def _refuse_foreign_page(fields: dict[bytes, bytes]) -> None:
    """What a browser sends for a page of another site or port must have no effect."""
    site = fields.get(b"sec-fetch-site")
    if site is not None:
        foreign = site not in (b"same-origin", b"none")
    else:
        origin = fields.get(b"origin")
        foreign = origin is not None and _authority(origin) != fields[b"host"].lower()
    if foreign:
        raise Problem(
            403, "cross-site request", "Requests of pages of other sites are refused; call the API directly."
        )


def _authority(origin: bytes) -> bytes | None:
    try:
        return urlsplit(origin.decode("ascii")).netloc.lower().encode()
    except ValueError:
        return None


def _protected(headers: Headers) -> Headers:
    """Header fields of an answer with those that every answer has. What may be cached says so itself."""
    extra, caching = PROTECTION, _NOT_CACHED
    for name, value in headers:
        if name == b"content-type" and value.startswith(b"text/html"):
            extra = _PROTECTION_OF_PAGES
        elif name == b"cache-control":
            caching = ()
    return [*headers, *extra, *caching]


def _has_effects(path: str) -> bool:
    return path == "/login" or path.endswith("/stream")


def _request_id(fields: dict[bytes, bytes]) -> bytes:
    given = fields.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return secrets.token_hex(8).encode()


def _path_with_encoded_slashes(raw_path: bytes) -> str:
    segments = raw_path.decode("ascii", "replace").split("/")
    return "/".join(unquote(segment).replace("/", ENCODED_SLASH) for segment in segments)


def fields_of(scope: Any) -> dict[bytes, bytes]:
    """Header fields of a request, by lower-case name."""
    fields: dict[bytes, bytes] = scope[FIELDS]
    return fields
