"""What was done to a workspace, by whom: entries of its own journal, which nobody else can write.

They belong to no mission and are no step. What administers a workspace calls `note` in its transaction.
"""

import secrets
from typing import Final

import msgspec

from quartermaster.core.journal import AUDIT, format_instant, minted_id
from quartermaster.core.secrets import Masker
from quartermaster.store import journal
from quartermaster.store.database import Connection

OPERATOR: Final = "operator"
"""Type of an actor who works on the home folder: an account of this machine."""
USER: Final = "user"
"""Type of an actor who came over the API."""


class Actor(msgspec.Struct, frozen=True):
    """Who does something: an account of this machine, or a user of the API."""

    actor_type: str
    actor_id: str


def note(
    connection: Connection, workspace: int, action: str, actor: Actor, *, now: int, **facts: object
) -> None:
    """Write into a workspace's journal that `audit.<action>` was done, with the facts that are not None.

    Facts are ids, names and numbers, never a secret; one that somebody has typed is masked all the same.
    """
    told = {name: value for name, value in facts.items() if value is not None}
    entry: dict[str, object] = {
        "id": minted_id("audit", secrets.token_bytes(16)),
        "ts": format_instant(now),
        "entry_type": AUDIT + action,
        "severity": "notice",
        "actor_type": actor.actor_type,
        "actor_id": actor.actor_id,
        "summary": _summary(action, told),
        "payload": told,
    }
    masked, _ = Masker().mask(msgspec.json.encode(entry))
    journal.append(connection, workspace, [masked], now=now)


def note_for_user(
    connection: Connection,
    user_id: str,
    workspace: int | None,
    action: str,
    actor: Actor,
    *,
    now: int,
    **facts: object,
) -> None:
    """The same for what concerns a user in one workspace, or (None) in every one of theirs."""
    rows = connection.execute(
        "select membership.workspace from membership join user on user.id = membership.user"
        " where user.user_id = ? and membership.workspace = coalesce(?, membership.workspace)",
        (user_id, workspace),
    ).fetchall()
    for (one,) in rows:
        note(connection, one, action, actor, now=now, user=user_id, **facts)


def _summary(action: str, facts: dict[str, object]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in facts.items())
    return f"{action}: {said}" if said else action
