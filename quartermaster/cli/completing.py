"""Values that a shell offers when the tab key is pressed: words that are known, and names from the home.

What is looked up comes from the home of this machine alone: no key press makes a request to a daemon.
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from quartermaster.store.database import Connection

Items = list[CompletionItem[str]]
Completer = Callable[[click.Context, click.Parameter, str], Items]

LIMIT: Final = 20
OUTCOMES: Final = ("succeeded", "failed", "aborted", "timed_out", "limit_reached")
ROLES: Final = ("OWNER", "ADMIN", "MANAGER", "MEMBER", "VIEWER")

_HARMLESS: Final = re.compile(r"[\w.,:=@%+/-]+", re.ASCII)
"""Ids are a stranger's words, and bash completes a line with them as they are: a `$(...)` would run."""


def words(*known: str) -> Completer:
    """Completes one of a few words."""

    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
        return _starting(known, incomplete)

    return complete


def trace_formats(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Names of formats that are read."""
    from quartermaster.adapters import adapters

    return _starting((adapter.name for adapter in adapters()), incomplete)


def failure_modes(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Names of detectors, each with its id."""
    from quartermaster.core.failure_modes import DETECTORS

    return [
        CompletionItem(name, help=detector.id)
        for name, detector in DETECTORS.items()
        if name.startswith(incomplete)
    ]


def missions(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Ids of missions of the home, and `latest`."""
    from quartermaster.store.missions import mission_ids_starting

    found = _of_home(context, lambda db, workspace: mission_ids_starting(db, workspace, incomplete, LIMIT))
    return _starting(["latest", *found], incomplete)


def runs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Ids of runs of the home, and `latest`."""
    from quartermaster.store.runs import run_ids_starting

    found = _of_home(context, lambda db, workspace: run_ids_starting(db, workspace, incomplete, LIMIT))
    return _starting(["latest", *found], incomplete)


def baselines(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Names of baselines of the home."""
    from quartermaster.store.baselines import list_baselines

    found = _of_home(context, lambda db, workspace: [one.name for one in list_baselines(db, workspace)])
    return _starting(found, incomplete)


def workspaces(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Slugs of the workspaces of the home."""
    from quartermaster.store.access import list_workspaces

    found = _of_home(context, lambda db, _workspace: [one.slug for one in list_workspaces(db)])
    return _starting(found, incomplete)


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Files and folders, by the shell itself."""
    return [CompletionItem(incomplete, type="file")]


def sides(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Recordings; once something is typed, also missions of the home."""
    known = missions(context, parameter, incomplete) if incomplete else []
    return [*files(context, parameter, incomplete), *known]


def _starting(known: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(one) for one in known if one.startswith(incomplete) and _HARMLESS.fullmatch(one)]


def _of_home(context: click.Context, look_up: Callable[["Connection", int], list[str]]) -> list[str]:
    """What the home knows; nothing where there is none or a daemon elsewhere is meant. A home that cannot
    be read offers nothing: the place for complaints is the command, not the line that is being typed."""
    given = context.params
    if given.get("url") or (given.get("home") is None and os.environ.get("QUARTERMASTER_URL")):
        return []
    from quartermaster.config import load_settings
    from quartermaster.home import Home, choose_workspace
    from quartermaster.store.database import closing_connection

    try:
        settings = load_settings(
            home=given.get("home"), flags={}, environment=os.environ, directory=Path.cwd()
        )
        database = Home(settings.home).database
        if not database.is_file():
            return []
        with closing_connection(database, writable=False) as connection:
            return look_up(connection, choose_workspace(connection, given.get("workspace")).key)
    except Exception:
        return []
