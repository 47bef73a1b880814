"""`quartermaster token`: what proves to the API who is asking."""

import re
import secrets
import time
from pathlib import Path
from typing import Final

import click

from quartermaster.cli import admin, output
from quartermaster.cli.options import home_option
from quartermaster.core.journal import format_instant, parse_instant
from quartermaster.errors import Rejected, UsageError
from quartermaster.home import choose_workspace
from quartermaster.store import access, audit
from quartermaster.store.access import Token
from quartermaster.store.database import Connection

_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_NANOSECONDS: Final = 1_000_000_000


@click.group("token")
def command() -> None:
    """Create, list, rotate and revoke tokens."""


@command.command("create")
@click.option("--user", required=True, help="Whom it stands for; a member of a workspace.")
@click.option("--workspace", metavar="WORKSPACE", help="Bind it to one workspace (id or slug).")
@click.option("--expires", metavar="TIME", help="Such as 90d, 12h or 2027-01-31T00:00:00Z; default: never.")
@home_option
def create(user: str, workspace: str | None, expires: str | None, home: Path | None) -> None:
    """Print a new token, once and alone, on stdout."""
    now = time.time_ns()
    expires_at = None if expires is None else parse_expiry(expires, now)

    def make(connection: Connection) -> tuple[str, str]:
        bound = None if workspace is None else choose_workspace(connection, workspace).key
        secret = secrets.token_bytes(access.SECRET_BYTES)
        made = access.create_token(
            connection, user, workspace=bound, expires_at=expires_at, now=now, secret_bytes=secret
        )
        audit.note_for_user(
            connection,
            user,
            bound,
            "token.created",
            admin.operator(),
            now=now,
            token=made[1],
            expires=expires,
        )
        return made

    with admin.opened(home) as (_, database):
        text, token_id = database.write_blocking(make)
    output.write(text)
    output.tell(f"token {token_id} of {user}; it is not shown again")


@command.command("list")
@home_option
@output.format_option
def list_(home: Path | None, form: str) -> None:
    """List every token, the newest first; secrets are not kept and not shown."""
    now = time.time_ns()
    with admin.opened(home) as (_, database):
        tokens = database.read_blocking(access.list_tokens)
    output.print_rows(form, [_row(token, now) for token in tokens], _COLUMNS)


@command.command("rotate")
@click.argument("token_id")
@click.option("--overlap", metavar="TIME", default="24h", show_default=True, help="The old one's last time.")
@click.option("--expires", metavar="TIME", help="When the new one ends; default: never.")
@home_option
def rotate(token_id: str, overlap: str, expires: str | None, home: Path | None) -> None:
    """Print a token that takes the place of another one, which ends after a while."""
    now = time.time_ns()
    expires_at = None if expires is None else parse_expiry(expires, now)
    last = parse_expiry(overlap, now)

    def change(connection: Connection) -> tuple[str, str]:
        old = access.find_token(connection, token_id)
        secret = secrets.token_bytes(access.SECRET_BYTES)
        made = access.rotate_token(
            connection,
            token_id,
            overlap=max(0, last - now),
            expires_at=expires_at,
            now=now,
            secret_bytes=secret,
        )
        _note(connection, old, "token.rotated", now, successor=made[1])
        return made

    with admin.opened(home) as (_, database):
        text, new_id = database.write_blocking(change)
    output.write(text)
    output.tell(f"token {new_id} follows {token_id}, which ends at {format_instant(last)} at the latest")


@command.command("revoke")
@click.argument("token_id")
@home_option
def revoke(token_id: str, home: Path | None) -> None:
    """End a token and every browser session that came from it."""
    now = time.time_ns()

    def end(connection: Connection) -> None:
        access.revoke_token(connection, token_id, now)
        _note(connection, access.find_token(connection, token_id), "token.revoked", now)

    with admin.opened(home) as (_, database):
        database.write_blocking(end)
    output.tell(f"token {token_id} is revoked")


def _note(connection: Connection, token: Token, action: str, now: int, **facts: object) -> None:
    bound = None if token.workspace_id is None else access.find_workspace(connection, token.workspace_id)
    audit.note_for_user(
        connection,
        token.user_id,
        None if bound is None else bound.key,
        action,
        admin.operator(),
        now=now,
        token=token.token_id,
        **facts,
    )


def parse_expiry(text: str, now: int) -> int:
    """The instant that `90d`, `12h` or an RFC 3339 time means."""
    match = re.fullmatch(r"([1-9]\d{0,5})([mhdw])", text, re.ASCII)
    if match is not None:
        return now + int(match[1]) * _SECONDS[match[2]] * _NANOSECONDS
    try:
        return parse_instant(text)
    except Rejected as error:
        raise UsageError(f"{text!r} is no time; use one like 90d, 12h or 2027-01-31T00:00:00Z") from error


def _row(token: Token, now: int) -> dict[str, object]:
    return {
        "id": token.token_id,
        "user": token.user_id,
        "workspace_id": token.workspace_id,
        "state": _state(token, now),
        "created_at": format_instant(token.created_at),
        "expires_at": None if token.expires_at is None else format_instant(token.expires_at),
    }


def _state(token: Token, now: int) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "valid"


_COLUMNS = (
    output.field("ID", "id"),
    output.field("USER", "user"),
    output.field("WORKSPACE", "workspace_id"),
    output.field("STATE", "state"),
    output.field("CREATED", "created_at"),
    output.field("EXPIRES", "expires_at"),
)
