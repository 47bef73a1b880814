"""`quartermaster selftest`: the error rates of the installed rules, measured here and now."""

import os
import time
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from quartermaster.cli import output
from quartermaster.cli.output import Column, field
from quartermaster.cli.packaged import packaged
from quartermaster.cli.target import Row
from quartermaster.cli.waiting import progress
from quartermaster.errors import UsageError

FAILED: Final = 1
_PARTS: Final = ("stats", "loops", "changes", "alignment", "speed")
_LABELS: Final = "labels"
"""A part that needs recordings which do not come with the program."""
_QUICK: Final = 200
_FULL: Final = 2_000
_MOST_PROCESSES: Final = 8


@click.command("selftest")
@click.argument("part", type=click.Choice([*_PARTS, _LABELS, "all"]), default="all")
@click.option("--full", is_flag=True, help=f"{_FULL:,} resamples instead of {_QUICK}; minutes, not seconds.")
@click.option("--resamples", type=click.IntRange(20, 1_000_000), metavar="N", help="So many resamples.")
@click.option("--seed", type=int, default=1, show_default=True, help="What the draws depend on.")
@click.option(
    "--workers", type=click.IntRange(1, 64), metavar="N", help="Processes; default: one a processor."
)
@click.option(
    "--recordings",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Recordings with labels of people (agentrx, who_and_when, tau_bench): what `labels` measures.",
)
@output.format_option
def command(
    *,
    part: str,
    full: bool,
    resamples: int | None,
    seed: int,
    workers: int | None,
    recordings: Path | None,
    form: str,
) -> int:
    """Measure the error rates of the installed rules and hold them against their bars.

    Exit code 1 where a figure misses its bar by more than three Monte-Carlo errors. The same seed and
    number of resamples give the same figures; seconds and megabytes are this machine's.
    """
    from quartermaster.selftest import Extent, Sources, measure

    extent = Extent(resamples=resamples or (_FULL if full else _QUICK), full=full, seed=seed)
    processes = workers or min(_MOST_PROCESSES, os.cpu_count() or 1)
    if part == _LABELS and recordings is None:
        raise UsageError("`selftest labels` needs --recordings DIR, a folder of labelled recordings")
    parts = [*_PARTS, *([_LABELS] if recordings else [])] if part == "all" else [part]
    began = time.monotonic()
    rows: list[Row] = []
    with packaged("tables") as tables, packaged("samples") as samples, progress() as tell:
        tell(f"measuring with {extent.resamples:,} resamples")
        for figure in measure(parts, extent, Sources(tables, samples, recordings), processes):
            rows.append({**msgspec.to_builtins(figure), "verdict": figure.verdict})
            tell(f"{len(rows)} figures, the last: {figure.what}")
    output.print_rows(form, rows, COLUMNS)
    failed = sum(row["verdict"] == "fail" for row in rows)
    output.tell(
        f"{len(rows)} figures, {failed} failed, in {time.monotonic() - began:.0f} s; "
        f"{extent.resamples:,} resamples, seed {seed}"
    )
    return FAILED if failed else 0


def _value(row: Row) -> str:
    return "unknown" if row["value"] is None else _shown(row["value"], row["unit"])


def _shown(value: float, unit: str) -> str:
    match unit:
        case "share":
            return f"{100 * value:.2f} %"
        case "seconds":
            return f"{value:.2f} s"
        case "megabytes":
            return f"{value:.0f} MB"
        case _:
            return f"{value:g}"


def _bar(row: Row) -> str:
    bar: Any = row["bar"]
    if bar is None:
        return ""
    least, most = (None if bar[end] is None else _shown(bar[end], row["unit"]) for end in ("least", "most"))
    if least and most:
        return f"{least} to {most}"
    return f"at least {least}" if least else f"at most {most}"


def _error(row: Row) -> str:
    return f"{100 * row['error']:.2f} %" if row["error"] else ""


COLUMNS: Final = (
    field("PART", "part"),
    field("WHAT", "what"),
    Column("FIGURE", _value, right=True),
    Column("BAR", _bar, right=True),
    Column("MONTE-CARLO ERROR", _error, right=True),
    field("OF", "of", right=True),
    field("VERDICT", "verdict"),
)
