"""`quartermaster serve`: the daemon."""

import gc
from functools import partial
from pathlib import Path

import click

from quartermaster.checkup import Finding
from quartermaster.cli.options import home_option, settings_for
from quartermaster.config import Settings
from quartermaster.imports import without


@click.command("serve")
@home_option
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 7117]")
@click.option("--inbox", multiple=True, metavar="DIR", help="Watch this folder too; may be given again.")
@click.option("--behind-proxy", is_flag=True, default=None, help="A TLS proxy is in front; allows any host.")
@click.option("--tls-cert", metavar="FILE", help="Speak TLS with this certificate (PEM); allows any host.")
@click.option("--tls-key", metavar="FILE", help="The key of the certificate (PEM).")
@click.option("--socket", metavar="PATH", help="Listen on this Unix socket instead.")
def command(
    *,
    home: Path | None,
    host: str | None,
    port: int | None,
    inbox: tuple[str, ...],
    behind_proxy: bool | None,
    tls_cert: str | None,
    tls_key: str | None,
    socket: str | None,
) -> int:
    """Run the daemon: watch the inboxes, serve the API, evaluate."""
    settings = settings_for(
        home,
        host=host,
        port=port,
        inbox=[{"path": folder} for folder in inbox] or None,
        behind_proxy=behind_proxy,
        tls_cert=tls_cert,
        tls_key=tls_key,
        socket=socket,
    )
    gc.disable()  # until the daemon runs: a start makes what is kept, and searching it for garbage takes long
    with without("rich"):  # structlog would load it for tracebacks that are not printed here
        from quartermaster import daemon

    return daemon.run(settings, partial(_checkup, settings))


def _checkup(settings: Settings) -> list[Finding]:
    from quartermaster.cli import doctor

    return doctor.look_inside(settings)
