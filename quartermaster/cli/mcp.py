"""`quartermaster mcp`: tools for agents, over the Model Context Protocol."""

import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import click

from quartermaster.cli.options import home_option, settings_for
from quartermaster.config import Settings, own_prices, profile_of
from quartermaster.errors import NotInstalled, UsageError

if TYPE_CHECKING:
    from quartermaster.mcp_tools.records import Place, Records, Terms
    from quartermaster.mcp_tools.server import Admits

_HOST: Final = "127.0.0.1"
_PORT: Final = 7118


@click.command("mcp")
@click.option("--http", "over_http", is_flag=True, help="Serve over HTTP instead of stdin and stdout.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_PORT,
    show_default=True,
    help="Of --http, on 127.0.0.1; 0: a free one.",
)
@home_option
@click.option("--url", metavar="URL", help="A daemon elsewhere (QUARTERMASTER_URL).")
@click.option("--token", metavar="TOKEN", help="The token for it (QUARTERMASTER_TOKEN).")
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local.")
def command(
    *,
    over_http: bool,
    port: int,
    home: Path | None,
    url: str | None,
    token: str | None,
    workspace: str | None,
) -> None:
    """Serve agents over the Model Context Protocol: tools that list, show, compare and explain.

    No tool changes anything. A client such as Claude Code starts this command and speaks to it over stdin
    and stdout. With --http it is served at http://127.0.0.1:7118/mcp, to tokens of the workspace.
    """
    if home is not None and url is not None:
        raise UsageError("--home and --url exclude each other: one names this machine, the other a daemon")
    if home is None:
        url = url or os.environ.get("QUARTERMASTER_URL") or None
    token = token or os.environ.get("QUARTERMASTER_TOKEN") or None
    if over_http and url is not None and token is None:
        raise UsageError("--http with --url needs --token: clients show the same one")
    try:
        from quartermaster.mcp_tools import server
    except ImportError as error:
        raise NotInstalled("agents are served by the SDK of MCP: pip install 'quartermaster[mcp]'") from error
    import anyio

    from quartermaster import logs

    logs.configure("auto", level=logging.WARNING)
    settings = settings_for(home)
    with ExitStack() as stack:
        if url is None:
            records, admits = _of_home(stack, settings, workspace)
        else:
            records, admits = _of_daemon(stack, settings, url, token, workspace)
        speaking = server.server_of(records)
        if over_http:
            anyio.run(server.serve_http, speaking, _HOST, port, admits)
            return
        if sys.stdin.isatty():
            click.echo("speaking MCP on stdin and stdout; a client starts this command", err=True)
        anyio.run(server.serve_stdio, speaking)


def _of_home(stack: ExitStack, settings: Settings, workspace: str | None) -> tuple["Records", "Admits"]:
    from quartermaster.cli.local import Local
    from quartermaster.home import Home, choose_workspace, holder, open_home
    from quartermaster.mcp_tools.records import HomeRecords, Place
    from quartermaster.mcp_tools.server import members_of

    home = Home(settings.home)
    database = open_home(home, create=False, beside_daemon=holder(home) is not None).database
    stack.callback(database.close)
    chosen = database.look_up(lambda connection: choose_workspace(connection, workspace))
    place = Place(database, chosen.key)
    return HomeRecords(Local(settings, database, chosen), place, _terms(settings)), members_of(place)


def _of_daemon(
    stack: ExitStack, settings: Settings, url: str, token: str | None, workspace: str | None
) -> tuple["Records", "Admits"]:
    from quartermaster.cli.client import Client
    from quartermaster.cli.remote import Remote
    from quartermaster.mcp_tools.records import DaemonRecords
    from quartermaster.mcp_tools.server import holder_of

    client = Client(url, token, workspace)
    stack.callback(client.close)
    target = Remote(url, token, workspace)
    stack.callback(target.close)
    records = DaemonRecords(target, client, _mirror(stack), _terms(settings))
    return records, holder_of(token or "")


def _mirror(stack: ExitStack) -> "Place":
    """An empty home that goes with this process."""
    from quartermaster.home import Home, choose_workspace, open_home
    from quartermaster.mcp_tools.records import Place

    folder = stack.enter_context(TemporaryDirectory(prefix="quartermaster-"))
    database = open_home(Home(Path(folder)), create=True).database
    stack.callback(database.close)
    return Place(database, database.look_up(lambda connection: choose_workspace(connection, None)).key)


def _terms(settings: Settings) -> "Terms":
    from quartermaster.mcp_tools.records import Terms

    return Terms(profile_of(settings), own_prices(settings))
