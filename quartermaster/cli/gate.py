"""`quartermaster gate`: the thresholds of the gate, held against the user's own history."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from quartermaster.cli import output
from quartermaster.cli.options import settings_for, this_machine_options
from quartermaster.cli.output import Column, field
from quartermaster.cli.target import Row
from quartermaster.config import profile_of
from quartermaster.errors import NotFound, UsageError

_SHARES: Final = ("steps_to_goal", "total_cost_usd", "work_steps", "total_tokens", "wall_time", "steps")
_COUNTS: Final = ("hallucinations", "guardrail_blocks")


@click.group("gate")
def command() -> None:
    """Hold the thresholds of the gate against history."""


@command.command("tune")
@click.option(
    "--resamples",
    type=click.IntRange(20, 100_000),
    default=200,
    show_default=True,
    metavar="N",
    help="How often the runs of a variant are dealt into two sets.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="What the draws depend on.")
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the tuned thresholds as a policy file. FILE must not exist.",
)
@this_machine_options
@output.format_option
def tune(
    *, resamples: int, seed: int, write: Path | None, home: Path | None, workspace: str | None, form: str
) -> None:
    """Say how often each threshold would have cried wolf, and what thresholds hold 5 %.

    Missions of one task by one variant differ by chance alone: every alarm between two of them, or
    between two sets of them, is a false one. What the tuned thresholds would no longer see is told
    beside them. At most 2,000 missions are read, the last changed first.
    """
    from quartermaster.cli.local import open_local
    from quartermaster.core.trials import Policy
    from quartermaster.core.tuning import Tuning, tune

    settings = settings_for(home)
    local = open_local(settings, workspace, create=False)
    try:
        history = local.history(None, words=True)
    finally:
        local.close()
    if not history:
        raise NotFound(
            "no task was run twice by one variant; name task and variant in `mission.created` and repeat some"
        )
    profile = profile_of(settings)
    tuning: Tuning = tune(history, profile, Policy(profile=profile), resamples=resamples, seed=seed)
    if write is not None:
        _write(write, tuning.pair_thresholds, {"mission_success": profile.tool_success_rate} | _now(tuning))
    report = {**msgspec.to_builtins(tuning), "kind": "gate tuning", "seed": seed}
    output.print_document(form, report, lambda: as_text(report, form))


def _now(tuning: Any) -> dict[str, float]:
    """What sets are judged by, tuned where the history asks for it: the widest of all variants."""
    found: dict[str, float] = {}
    for one in tuning.sets:
        for metric in one.metrics:
            threshold = metric.threshold if metric.tuned is None else metric.tuned
            found[metric.metric] = max(threshold, found.get(metric.metric, 0.0))
    return found


def _write(path: Path, pairs: Mapping[str, float], sets: Mapping[str, float]) -> None:
    """Sets keep thresholds of their own: those of pairs are wide, because one run says little."""
    if not pairs:
        raise UsageError("there are too few pairs to tune thresholds by; nothing was written")
    lines = ["# Tuned by `quartermaster gate tune` to 5 % false alarms over the missions of this home.", ""]
    lines += ["[thresholds]", *_assignments(pairs), "", "[tolerances]", *_assignments(sets), ""]
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines))
    except FileExistsError:
        raise UsageError(f"{path} exists already; name another file or remove it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    output.tell(f"wrote {path}")


def _assignments(values: Mapping[str, float]) -> Iterator[str]:
    return (f"{name} = {value:g}" for name, value in values.items())


def as_text(report: Row, form: str) -> str:
    """The tuning for people: pairs first, then the sets of each variant."""
    parts = [f"{report['missions']:,} missions whose task was run more than once."]
    pairs = report["pairs"]
    if pairs is not None:
        title = f"Pairs: {pairs['compared']:,} of one task by one variant, {pairs['tasks']:,} tasks"
        parts += ["", *_gate(title, pairs, form)]
    for one in report["sets"]:
        who = f" of {output.printable(one['variant'])}" if one["variant"] else ""
        title = f"Sets{who}: {one['tasks']:,} tasks, dealt into two arms {one['compared']:,} times"
        parts += ["", *_gate(title, one, form)]
    if not report["sets"]:
        parts += ["", "Sets: no variant has six tasks that were run more than once."]
    return "\n".join(parts)


def _gate(title: str, one: Row, form: str) -> Iterator[str]:
    yield f"## {title}" if form == "markdown" else title
    yield ""
    yield f"Any metric cries wolf in {_rate(one['any'])} of the comparisons."
    if one["any_tuned"] is not None:
        yield f"With the tuned thresholds in {_rate(one['any_tuned'])}."
    if one["held_out"] is not None:
        yield f"Tuned on one half of the tasks and judged on the other in {_rate(one['held_out'])}."
    yield ""
    yield output.table(form, one["metrics"], _METRICS)
    yield ""
    yield output.table(form, one["seen"], _SEEN)


def _rate(rate: Row) -> str:
    return f"{100 * rate['hits'] / rate['of']:.1f} %" if rate["of"] else "unknown"


def _threshold(metric: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if metric in _COUNTS:
        return f"+{value:g}"
    return f"+{100 * value:g} %" if metric in _SHARES else f"-{100 * value:g} pp"


def _cell(key: str) -> Any:
    return lambda row: _threshold(row["metric"], row[key])


_METRICS: Final = (
    field("METRIC", "metric"),
    Column("THRESHOLD", _cell("threshold"), right=True),
    Column("FALSE ALARMS", lambda row: _rate(row["false_alarms"]), right=True),
    Column("HOLDS 5 % ALONE", _cell("alone"), right=True),
    Column("TUNED, ALL HOLD 5 %", _cell("tuned"), right=True),
)
_SEEN: Final = (
    Column("IF IT GOT WORSE BY", lambda row: f"{row['metric']} {_cell('effect')(row)}"),
    Column("SEEN NOW", lambda row: _rate(row["now"]), right=True),
    Column("SEEN WHEN TUNED", lambda row: _rate(row["tuned"]) if row["tuned"] else "never", right=True),
)
