"""Options that many commands share: which home or daemon, which workspace."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from quartermaster.cli import completing
from quartermaster.cli.target import Target
from quartermaster.config import Settings, load_settings
from quartermaster.errors import UsageError

Command = Callable[..., Any]


def home_option(function: Command) -> Command:
    """Adds `--home`."""
    return click.option(
        "--home", type=click.Path(path_type=Path), metavar="DIR", help="The home folder (QUARTERMASTER_HOME)."
    )(function)


def target_options(*, create: bool = False) -> Callable[[Command], Command]:
    """Adds `--home`, `--url`, `--token` and `--workspace`; the command gets the open `target`.

    `create` says that a home without a database is made one, rather than called missing.
    """

    def decorate(function: Command) -> Command:
        @wraps(function)
        def with_target(
            *, home: Path | None, url: str | None, token: str | None, workspace: str | None, **arguments: Any
        ) -> Any:
            target = open_target(home=home, url=url, token=token, workspace=workspace, create=create)
            try:
                return function(target=target, **arguments)
            finally:
                target.close()

        for option in reversed(_TARGET_OPTIONS):
            with_target = option(with_target)
        return home_option(with_target)

    return decorate


def this_machine_options(function: Command) -> Command:
    """Adds `--home` and `--workspace` to a command that reads whole missions, which no daemon hands out by
    the thousand: one at an address is refused, whether a flag or a variable names it."""

    @wraps(function)
    def with_home(*, home: Path | None, url: str | None, **arguments: Any) -> Any:
        if url is not None or (home is None and os.environ.get("QUARTERMASTER_URL")):
            name = click.get_current_context().command_path.partition(" ")[2]
            raise UsageError(
                f"`{name}` judges every mission of a history and works where they lie: run it on the machine"
                " of the daemon, or with --home"
            )
        return function(home=home, **arguments)

    hidden = click.option("--url", metavar="URL", hidden=True)
    return home_option(hidden(_WORKSPACE_OPTION(with_home)))


def filter_options(function: Command) -> Command:
    """Adds the filters of missions; the command gets those given, by the API's names, as `filters`."""

    @wraps(function)
    def with_filters(
        *,
        q: str | None,
        task: str | None,
        variant: str | None,
        outcome: str | None,
        trace_format: str | None,
        failure_mode: str | None,
        since: str | None,
        until: str | None,
        **arguments: Any,
    ) -> Any:
        named = {
            "q": q,
            "task": task,
            "variant": variant,
            "outcome": outcome,
            "format": trace_format,
            "failure_mode": failure_mode,
            "since": since,
            "until": until,
        }
        given = {name: value for name, value in named.items() if value is not None}
        return function(filters=given, **arguments)

    for option in reversed(_FILTER_OPTIONS):
        with_filters = option(with_filters)
    return with_filters


_WORKSPACE_OPTION: Final = click.option(
    "--workspace",
    metavar="WORKSPACE",
    shell_complete=completing.workspaces,
    help="Id or slug; default: the only one, else local.",
)
_TARGET_OPTIONS: Final = (
    click.option("--url", metavar="URL", help="A daemon elsewhere (QUARTERMASTER_URL)."),
    click.option("--token", metavar="TOKEN", help="The token for it (QUARTERMASTER_TOKEN)."),
    _WORKSPACE_OPTION,
)


def settings_for(home: Path | None, **flags: object) -> Settings:
    """The settings of this process as it was started."""
    return load_settings(home=home, flags=flags, environment=os.environ, directory=Path.cwd())


def open_target(
    *, home: Path | None, url: str | None, token: str | None, workspace: str | None, create: bool
) -> Target:
    """The daemon at the URL where one is given, by flag or by variable, else the home of this machine."""
    if home is not None and url is not None:
        raise UsageError("--home and --url exclude each other: one names this machine, the other a daemon")
    if home is None:
        url = url or os.environ.get("QUARTERMASTER_URL") or None
    if url is not None:
        from quartermaster.cli.remote import Remote

        return Remote(url, token or os.environ.get("QUARTERMASTER_TOKEN") or None, workspace)
    from quartermaster.cli.local import open_local

    return open_local(settings_for(home), workspace, create=create)


def _trace_format(_context: click.Context, _parameter: click.Parameter, named: str | None) -> str | None:
    from quartermaster.adapters import adapters

    known = [adapter.name for adapter in adapters()]
    if named is not None and named not in known:
        raise UsageError(f"no format is named {named!r}; there are {', '.join(known)}")
    return named


def _failure_mode(_context: click.Context, _parameter: click.Parameter, named: str | None) -> str | None:
    if named is None:
        return None
    from quartermaster.core.assessment import FAILURE_MODES
    from quartermaster.core.failure_modes import DETECTORS

    names = sorted({*DETECTORS, *FAILURE_MODES})
    if named not in names and named not in {detector.id for detector in DETECTORS.values()}:
        raise UsageError(f"no failure mode is named {named!r}; there are {', '.join(names)}")
    return named


_FILTER_OPTIONS: Final = (
    click.option("--q", metavar="TEXT", help="Part of the id, title, task or variant."),
    click.option("--task", help="What was asked."),
    click.option("--variant", help="By which agent and model."),
    click.option(
        "--outcome",
        metavar="TEXT",
        type=click.Choice(completing.OUTCOMES),
        help="succeeded, failed, aborted, timed_out or limit_reached.",
    ),
    click.option(
        "--trace-format",
        "trace_format",
        metavar="NAME",
        shell_complete=completing.trace_formats,
        callback=_trace_format,
        help="What it was recorded in.",
    ),
    click.option(
        "--failure-mode",
        metavar="NAME",
        shell_complete=completing.failure_modes,
        callback=_failure_mode,
        help="Where this was found: D01, exact_tool_loop, ...",
    ),
    click.option("--since", metavar="TIME", help="Ended at or after this RFC 3339 time."),
    click.option("--until", metavar="TIME", help="Started before this RFC 3339 time."),
)
