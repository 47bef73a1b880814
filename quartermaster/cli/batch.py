"""`quartermaster batch`: any number of recordings evaluated into Parquet, here or on a cluster."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from quartermaster.cli import completing, output
from quartermaster.cli.options import settings_for

if TYPE_CHECKING:
    from quartermaster.batch.driver import Progress, Summary

LOCAL: Final = "processes"
NOTHING_UNDERSTOOD: Final = 2
INCOMPLETE: Final = 3
_LINE_SECONDS: Final = 10.0

Tell = Callable[["Progress"], None]


@click.command("batch")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...", shell_complete=completing.files)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The tables.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 1024), metavar="N", help="Processes here; default: one a processor."
)
@click.option(
    "--engine",
    default=LOCAL,
    show_default=True,
    metavar="ENGINE",
    help="Or a cluster: dask://HOST:PORT, ray, ray://HOST:PORT.",
)
@click.option(
    "--workspace",
    "workspaces",
    multiple=True,
    metavar="ID",
    help="Take entries too that name this workspace as theirs (repeatable).",
)
@click.option("--strict", is_flag=True, help="Exit with 3 where a recording was not read whole.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def command(
    *,
    sources: tuple[str, ...],
    out: Path,
    jobs: int | None,
    engine: str,
    workspaces: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> int:
    """Evaluate any number of recordings into Parquet tables, without a home or a daemon.

    SRC are files, folders, archives, globs, or URLs that fsspec reads (s3://, gs://). DIR gets
    missions.parquet (a row a mission with every metric), findings.parquet, files.parquet and
    rejected.parquet. What was done is kept there: the same command goes on after a crash or Ctrl-C,
    does only what is new or changed, and does nothing where nothing is.
    """
    from quartermaster.batch.driver import run_batch
    from quartermaster.batch.evaluation import Rules
    from quartermaster.batch.sources import find
    from quartermaster.batch.tables import require_pyarrow
    from quartermaster.config import own_prices

    require_pyarrow()
    settings = settings_for(None)
    rules = Rules(
        prices=own_prices(settings),
        masked=settings.ingest_mask_secrets,
        secret_patterns=tuple(settings.ingest_secret_patterns),
        line_limit_bytes=settings.ingest_line_limit_bytes,
        workspaces=workspaces,
    )
    found = find(sources, leave_out=out)
    with _progress() as tell:
        summary = run_batch(found, out, rules, _starter(engine, jobs, rules), tell)
    if as_json:
        output.write(msgspec.json.encode(summary).decode())
    else:
        output.write(_told(summary))
    if not summary.missions:
        output.tell("no recorded mission was found; files.parquet says what became of each file")
        return NOTHING_UNDERSTOOD
    return INCOMPLETE if strict and not summary.complete else 0


def _starter(engine: str, jobs: int | None, rules: Any) -> Callable[[Path], Any]:
    from quartermaster.batch.engines import check_name, cluster

    if engine != LOCAL:
        check_name(engine)
        return lambda _: cluster(engine, rules)
    from quartermaster.batch.processes import Processes

    count = jobs or os.cpu_count() or 1
    return lambda scratch: Processes(count, rules, str(scratch))


def _told(summary: "Summary") -> str:
    files = ", ".join(f"{count:,} {state}" for state, count in summary.files.items()) or "none"
    lines = [
        f"{summary.missions:,} missions, {summary.findings:,} findings in {summary.out}",
        f"recordings: {files}; {summary.evaluated:,} files evaluated, {summary.reused:,} known from before",
    ]
    if summary.merged:
        lines.append(f"{summary.merged:,} missions were put together from several recordings")
    if summary.rejected or summary.homeless:
        lines.append(f"{summary.rejected:,} lines rejected, {summary.homeless:,} entries name no mission")
    lines += [f"given up: {name}" for name in summary.poisoned]
    return "\n".join(map(output.printable, lines))


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(progress: "Progress") -> None:
            if progress.phase not in tasks:
                tasks[progress.phase] = bar.add_task(progress.phase, total=progress.of)
            bar.update(tasks[progress.phase], completed=progress.done, total=progress.of)

        yield tell


def _lines() -> Tell:
    last = time.monotonic()

    def tell(progress: "Progress") -> None:
        nonlocal last
        if time.monotonic() - last < _LINE_SECONDS:
            return
        last = time.monotonic()
        died = f", {progress.lost:,} lost with their process and tried again" if progress.lost else ""
        output.tell(f"{progress.phase}: {progress.done:,} of {progress.of:,}{died}")

    return tell
