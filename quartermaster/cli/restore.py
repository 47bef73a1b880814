"""`quartermaster restore`: a backup becomes the database again."""

import time
from pathlib import Path

import click

from quartermaster.cli import output
from quartermaster.cli.options import home_option, settings_for
from quartermaster.home import RESTORE, Home, hold
from quartermaster.store import backup


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@home_option
def command(file: Path, home: Path | None) -> None:
    """Put a backup back in the place of the database, which is kept aside. The daemon has to be stopped."""
    folder = Home(settings_for(home).home)
    folder.create()
    with hold(folder, RESTORE):
        aside = backup.put_back(file, folder.database, now=time.time_ns())
    if aside is not None:
        output.tell(f"the database before it is kept as {aside}")
    if folder.token.exists():
        output.tell("tokens made after the backup are gone, and those revoked after it work again")
    else:
        output.tell("make a token for this home: quartermaster token create --user local")
