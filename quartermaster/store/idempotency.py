"""Answers that are given again when a client repeats a request under its own key."""

from typing import Final

import msgspec

from quartermaster.store.database import Connection

KEPT_FOR: Final = 24 * 3600 * 10**9
"""Nanoseconds after which a key may be used for something else."""


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The first answer under a key. `request` is the digest of what was asked."""

    request: bytes
    status: int
    body: bytes
    location: str | None


def find_answer(connection: Connection, workspace: int, user: int, key: str, now: int) -> StoredAnswer | None:
    """The answer that a user got under this key within the last day."""
    row = connection.execute(
        "select request, status, response, location from idempotency"
        " where workspace = ? and user = ? and key = ? and created_at > ?",
        (workspace, user, key, now - KEPT_FOR),
    ).fetchone()
    if row is None:
        return None
    return StoredAnswer(request=row[0], status=row[1], body=row[2], location=row[3])


def keep_answer(
    connection: Connection, workspace: int, user: int, key: str, answer: StoredAnswer, *, now: int
) -> None:
    """Keep an answer; an expired one under the same key makes way."""
    connection.execute(
        "insert or replace into idempotency (workspace, user, key, request, status, response, location,"
        " created_at) values (?, ?, ?, ?, ?, ?, ?, ?)",
        (workspace, user, key, answer.request, answer.status, answer.body, answer.location, now),
    )


def forget_expired(connection: Connection, now: int) -> None:
    """Delete the answers that are kept no longer."""
    connection.execute("delete from idempotency where created_at <= ?", (now - KEPT_FOR,))
