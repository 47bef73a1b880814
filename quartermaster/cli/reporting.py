"""Where a report goes: to the terminal, into files, into the pages of a build.

A file is whole or as it was before: written beside its place and moved there.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from quartermaster.cli import NO_ROOM, output
from quartermaster.core.report import Report, render_markdown
from quartermaster.core.reports import FORMS, github, pull_request
from quartermaster.core.reports.cases import Context
from quartermaster.core.reports.terminal import lay_out
from quartermaster.errors import StorageFull, UsageError

F = TypeVar("F", bound=Callable[..., Any])

TABLE: Final = "table"
NDJSON: Final = "ndjson"
CHOICES: Final = (TABLE, NDJSON, *FORMS)
_SUMMARY: Final = "GITHUB_STEP_SUMMARY"


class Wanted(NamedTuple):
    """What the command line asks for. `github` None: as the environment says."""

    form: str
    output: Path | None
    files: tuple[tuple[str, Path], ...]
    github: bool | None

    @property
    def shows_steps(self) -> bool:
        return "html" in (self.form, *(kind for kind, _ in self.files))

    @property
    def on_github(self) -> bool:
        return os.environ.get("GITHUB_ACTIONS") == "true" if self.github is None else self.github


def report_options(function: F) -> F:
    """Adds `--format`, `--output`, `--report` and `--github`; the command gets them as `wanted`."""

    def with_wanted(
        *,
        form: str,
        output_file: Path | None,
        reports: Sequence[tuple[str, Path]],
        github: bool | None,
        **rest: Any,
    ) -> Any:
        return function(wanted=Wanted(form, output_file, tuple(reports), github), **rest)

    with_wanted.__dict__.update(function.__dict__)
    with_wanted.__doc__ = function.__doc__
    for option in reversed(_OPTIONS):
        with_wanted = option(with_wanted)
    return with_wanted  # type: ignore[return-value]


def _kind_and_file(_: click.Context, __: click.Parameter, given: Sequence[str]) -> list[tuple[str, Path]]:
    return [_one_report(text) for text in given]


def _one_report(text: str) -> tuple[str, Path]:
    kind, equals, file = text.partition("=")
    if not equals or not file or kind not in FORMS:
        raise UsageError(f"--report {text!r} is not of the form KIND=FILE; kinds are {', '.join(FORMS)}")
    return kind, Path(file)


_OPTIONS: Final = (
    click.option(
        "--format",
        "form",
        type=click.Choice(CHOICES),
        default=TABLE,
        show_default=True,
        help="How to print.",
    ),
    click.option(
        "--output",
        "output_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write there what would be printed.",
    ),
    click.option(
        "--report",
        "reports",
        multiple=True,
        metavar="KIND=FILE",
        callback=_kind_and_file,
        help=f"Also write a report; may be repeated. Kinds: {', '.join(FORMS)}.",
    ),
    click.option(
        "--github/--no-github",
        default=None,
        help="Annotations and step summary of GitHub Actions. Default: where GITHUB_ACTIONS is true.",
    ),
)


def deliver(report: Report, context: Context, wanted: Wanted) -> None:
    """Files first, so that a closed pipe costs none of them; then what is printed."""
    for kind, file in wanted.files:
        write_file(file, FORMS[kind].render(report, context))
    if wanted.output is not None:
        write_file(wanted.output, _shown(report, context, wanted.form, width=None, colour=False))
    if wanted.on_github:
        _tell_github(report, context, annotate=wanted.form != "github")
    if wanted.output is None:
        colour, width = _terminal(os.environ)
        output.write(_shown(report, context, wanted.form, width=width, colour=colour).rstrip("\n"))


def _shown(report: Report, context: Context, form: str, *, width: int | None, colour: bool) -> str:
    if form == TABLE:
        return lay_out(render_markdown(report), width=width, colour=colour) + "\n"
    return FORMS["json" if form == NDJSON else form].render(report, context)


def _terminal(environment: Mapping[str, str]) -> tuple[bool, int | None]:
    """Whether to colour, and how wide; text that is read by a program is not wrapped."""
    shown = sys.stdout.isatty()
    colour = shown and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return colour, max(shutil.get_terminal_size().columns, 20) if shown else None


def _tell_github(report: Report, context: Context, *, annotate: bool) -> None:
    """A build's page that cannot be written to changes no verdict."""
    if annotate:
        sys.stderr.write(github.render(report, context))
    summary = os.environ.get(_SUMMARY)
    if not summary:
        return
    try:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(pull_request.render(report, context))
    except OSError as error:
        output.tell(f"the step summary {summary} cannot be written: {error.strerror}")


def write_file(path: Path, text: str) -> None:
    """The whole text or nothing. Raises UsageError, or StorageFull, where it cannot be written."""
    data = text.encode("utf-8", "replace")
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                device.write(data)
        else:
            _replace(path, data)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        if error.errno in NO_ROOM:
            raise StorageFull(f"{message}; free some space and run again") from error
        raise UsageError(message) from error


def _replace(path: Path, data: bytes) -> None:
    place = path.resolve()
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(place)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
