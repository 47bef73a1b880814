"""`quartermaster serve`: the daemon."""

import gc
from pathlib import Path

import click

from quartermaster.cli.options import home_option, settings_for


@click.command("serve")
@home_option
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 7117]")
@click.option("--inbox", multiple=True, metavar="DIR", help="Watch this folder too; may be given again.")
@click.option("--behind-proxy", is_flag=True, default=None, help="Allow a host that other machines reach.")
def command(
    home: Path | None, host: str | None, port: int | None, inbox: tuple[str, ...], behind_proxy: bool | None
) -> int:
    """Run the daemon: watch the inboxes, serve the API, evaluate."""
    settings = settings_for(
        home,
        host=host,
        port=port,
        inbox=[{"path": folder} for folder in inbox] or None,
        behind_proxy=behind_proxy,
    )
    gc.disable()  # until the daemon runs: a start makes what is kept, and searching it for garbage takes long
    from quartermaster import daemon

    return daemon.run(settings)
