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
from quartermaster.store import access
from quartermaster.store.access import Token
from quartermaster.store.database import Connection

_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_NANOSECONDS: Final = 1_000_000_000


@click.group("token")
def command() -> None:
    """Create, list and revoke tokens."""


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
        return access.create_token(
            connection, user, workspace=bound, expires_at=expires_at, now=now, secret_bytes=secret
        )

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


@command.command("revoke")
@click.argument("token_id")
@home_option
def revoke(token_id: str, home: Path | None) -> None:
    """End a token and every browser session that came from it."""
    with admin.opened(home) as (_, database):
        database.write_blocking(lambda connection: access.revoke_token(connection, token_id, time.time_ns()))
    output.tell(f"token {token_id} is revoked")


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
