"""What the commands that manage a home have in common: they work on its database directly."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quartermaster.administration import Acting
from quartermaster.cli.options import settings_for
from quartermaster.home import Home, holder, open_home
from quartermaster.store.audit import OPERATOR, Actor
from quartermaster.store.database import Database


@contextmanager
def opened(home: Path | None) -> Iterator[tuple[Home, Database]]:
    """The home and its database, made where there is none yet."""
    folder = Home(settings_for(home).home)
    database = open_home(folder, create=True, beside_daemon=holder(folder) is not None).database
    with database:
        yield folder, database


def acting() -> Acting:
    """Whoever works on the home, who may do everything."""
    return Acting(operator())


def operator() -> Actor:
    """The account of this machine that works on the home, as the audit entries name it."""
    try:
        return Actor(OPERATOR, getpass.getuser())
    except (KeyError, OSError):  # an account without a name
        return Actor(OPERATOR, f"uid {os.getuid()}")
