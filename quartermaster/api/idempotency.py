"""Idempotency-Key: a repeated request gets the first answer again, and has no second effect."""

import hashlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from quartermaster.api.access import Call, services_of
from quartermaster.api.answers import Answer
from quartermaster.api.edge import fields_of
from quartermaster.api.problems import Problem, bad_request
from quartermaster.store import idempotency
from quartermaster.store.database import Connection
from quartermaster.store.idempotency import StoredAnswer

_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")
_HOUR: Final = 3600 * 10**9


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that can be kept: JSON, and where to look for what was made."""

    status: int
    body: bytes
    location: str | None = None

    def answer(self) -> Answer:
        """As it is sent."""
        return Answer(
            self.status, self.body, headers=None if self.location is None else {"Location": self.location}
        )


class Keys:
    """Keys whose first request is being worked on in this process, and when old ones were forgotten."""

    def __init__(self) -> None:
        self._locks: dict[tuple[int, int, str], tuple[anyio.Lock, list[None]]] = {}
        self.forgotten_at = 0

    @asynccontextmanager
    async def held(self, key: tuple[int, int, str]) -> AsyncGenerator[None, None]:
        """One request at a time under one key."""
        lock, users = self._locks.setdefault(key, (anyio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                del self._locks[key]


def _key_of(request: Call) -> str | None:
    given = fields_of(request.scope).get(b"idempotency-key")
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise bad_request("invalid Idempotency-Key", "The key has 1 to 255 printable ASCII characters.")
    return given.decode()


async def change_once(request: Call, body: bytes, change: Callable[[Connection], Reply]) -> Answer:
    """Apply a change and answer it; with a key, change and answer are kept in one transaction."""
    services = services_of(request)
    key = _key_of(request)
    if key is None:
        reply = await services.database.write(change)
        return reply.answer()
    workspace, user = request.auth.workspace, request.auth.principal.user
    asked = _digest(request, body)
    now = services.now()
    forget = _is_time_to_forget(request, now)

    def change_with_key(connection: Connection) -> Reply:
        if forget:
            idempotency.forget_expired(connection, now)
        known = idempotency.find_answer(connection, workspace, user, key, now)
        if known is not None:
            return _first_reply(known, asked)
        reply = change(connection)
        idempotency.keep_answer(connection, workspace, user, key, _stored(reply, asked), now=now)
        return reply

    reply = await services.database.write(change_with_key)
    return reply.answer()


async def work_once(request: Call, body: bytes, work: Callable[[], Awaitable[Reply]]) -> Answer:
    """Do work that has transactions of its own; with a key, its answer is kept after it."""
    key = _key_of(request)
    if key is None:
        return (await work()).answer()
    services = services_of(request)
    workspace, user = request.auth.workspace, request.auth.principal.user
    asked = _digest(request, body)
    keys: Keys = request.app.state["keys"]
    async with keys.held((workspace, user, key)):
        now = services.now()
        known = services.database.look_up(
            lambda connection: idempotency.find_answer(connection, workspace, user, key, now)
        )
        if known is not None:
            return _first_reply(known, asked).answer()
        reply = await work()
        await services.database.write(
            lambda connection: idempotency.keep_answer(
                connection, workspace, user, key, _stored(reply, asked), now=now
            )
        )
        return reply.answer()


def _digest(request: Call, body: bytes) -> bytes:
    return hashlib.sha256(
        b"\0".join((request.method.encode(), request.scope["path"].encode(), body))
    ).digest()


def _first_reply(known: StoredAnswer, asked: bytes) -> Reply:
    if known.request != asked:
        raise Problem(
            409, "Idempotency-Key reused", "This key belongs to another request; use a new key for this one."
        )
    return Reply(status=known.status, body=known.body, location=known.location)


def _stored(reply: Reply, asked: bytes) -> StoredAnswer:
    return StoredAnswer(request=asked, status=reply.status, body=reply.body, location=reply.location)


def _is_time_to_forget(request: Call, now: int) -> bool:
    keys: Keys = request.app.state["keys"]
    if now - keys.forgotten_at < _HOUR:
        return False
    keys.forgotten_at = now
    return True
