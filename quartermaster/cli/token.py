"""`quartermaster token`: what proves to the API who is asking."""

import secrets
import time
from pathlib import Path

import click

from quartermaster import administration
from quartermaster.administration import Minted
from quartermaster.cli import admin, output
from quartermaster.cli.options import home_option
from quartermaster.core.journal import format_instant
from quartermaster.home import choose_workspace
from quartermaster.store import access
from quartermaster.store.access import Token
from quartermaster.store.database import Connection


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

    def make(connection: Connection) -> Minted:
        return administration.create_token(
            connection,
            user,
            admin.acting(),
            workspace=None if workspace is None else choose_workspace(connection, workspace).key,
            expires=expires,
            now=time.time_ns(),
            secret_bytes=secrets.token_bytes(access.SECRET_BYTES),
        )

    with admin.opened(home) as (_, database):
        minted = database.write_blocking(make)
    output.write(minted.text)
    output.tell(f"token {minted.token.token_id} of {user}; it is not shown again")


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
    last = administration.parse_expiry(overlap, now)

    def change(connection: Connection) -> Minted:
        return administration.rotate_token(
            connection,
            token_id,
            admin.acting(),
            overlap=overlap,
            expires=expires,
            now=now,
            secret_bytes=secrets.token_bytes(access.SECRET_BYTES),
        )

    with admin.opened(home) as (_, database):
        minted = database.write_blocking(change)
    output.write(minted.text)
    new_id = minted.token.token_id
    output.tell(f"token {new_id} follows {token_id}, which ends at {format_instant(last)} at the latest")


@command.command("revoke")
@click.argument("token_id")
@home_option
def revoke(token_id: str, home: Path | None) -> None:
    """End a token and every browser session that came from it."""

    def end(connection: Connection) -> None:
        administration.revoke_token(connection, token_id, admin.acting(), now=time.time_ns())

    with admin.opened(home) as (_, database):
        database.write_blocking(end)
    output.tell(f"token {token_id} is revoked")


def _row(token: Token, now: int) -> dict[str, object]:
    return {
        "id": token.token_id,
        "user": token.user_id,
        "workspace_id": token.workspace_id,
        "state": administration.state_of(token, now),
        "created_at": format_instant(token.created_at),
        "expires_at": None if token.expires_at is None else format_instant(token.expires_at),
    }


_COLUMNS = (
    output.field("ID", "id"),
    output.field("USER", "user"),
    output.field("WORKSPACE", "workspace_id"),
    output.field("STATE", "state"),
    output.field("CREATED", "created_at"),
    output.field("EXPIRES", "expires_at"),
)
