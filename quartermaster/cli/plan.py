"""`quartermaster plan`: how many tasks, run how often, show a change of a given size."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from quartermaster.cli import output
from quartermaster.cli.describing import described
from quartermaster.cli.options import settings_for, this_machine_options
from quartermaster.cli.output import Column, field
from quartermaster.cli.target import Row
from quartermaster.core.trials import Trial

_LABELS: Final = {"mission_success": "success", "work_steps": "steps", "total_cost_usd": "cost"}


@click.command("plan")
@click.argument("selection", required=False)
@click.option("--tasks", type=click.IntRange(1, 1_000_000), metavar="N", help="Plan for so many tasks.")
@this_machine_options
@output.format_option
def command(
    *, selection: str | None, tasks: int | None, home: Path | None, workspace: str | None, form: str
) -> None:
    """Say what changes a suite can see, and how many runs a change needs to be seen.

    The variance is that of the home's own missions whose task was run more than once by one variant:
    all of them, or those that SELECTION describes (task=checkout,variant=v2). With none, success is
    planned with a variance of 0.15, and of steps and cost nothing is said.
    """
    from quartermaster.cli.local import open_local

    chosen = None if selection is None else described(selection, "selection")
    local = open_local(settings_for(home), workspace, create=False)
    try:
        history = local.history(chosen)
    finally:
        local.close()
    report = plan_for([(one.variant, one.trial) for one in history], tasks)
    output.print_document(form, report, lambda: as_text(report, form))


def plan_for(history: Sequence[tuple[str | None, Trial]], tasks: int | None) -> Row:
    """The plan of missions as a document; `tasks` defaults to those that the history has."""
    from quartermaster.core.plan import plan_of

    groups: dict[tuple[str | None, str], list[Trial]] = {}
    for variant, trial in history:
        if trial.task is not None and trial.terminal and not trial.infrastructure:
            groups.setdefault((variant, trial.task), []).append(trial)
    known = len({task for _, task in groups})
    made: Row = msgspec.to_builtins(
        plan_of(
            [[float(trial.succeeded) for trial in runs] for runs in groups.values()],
            _values(groups.values(), "work_steps"),
            _values(groups.values(), "total_cost_usd"),
            missions=len(history),
            tasks=tasks or known or None,
        )
    )
    return made


def _values(groups: Iterable[Sequence[Trial]], name: str) -> list[list[float]]:
    return [
        [value for trial in runs if (value := trial.values.get(name)) is not None and value > 0]
        for runs in groups
    ]


def as_text(report: Row, form: str) -> str:
    """The plan for people: where the variance is from, what is seen, what is needed."""
    return "\n".join((*_variances(report), "", _resolution(report, form), "", *_needed(report, form)))


def _variances(report: Row) -> Iterator[str]:
    for one in report["variances"]:
        label = _LABELS[one["metric"]]
        if one["w"] is None:
            yield f"{label}: no task was run twice, nothing can be planned"
        elif not one["tasks"]:
            yield f"{label}: no task was run twice; planned with a variance of {one['w']:.3g}"
        else:
            yield f"{label}: variance between runs of one task {one['w']:.3g}, from {one['tasks']:,} tasks"


def _resolution(report: Row, form: str) -> str:
    tables: dict[str, list[Row]] = report["resolution"]
    rows = [
        {
            "size": f"{cells[0]['tasks']}x{cells[0]['trials']}",
            **{metric: cell["smallest"] for metric, cell in zip(tables, cells, strict=True)},
        }
        for cells in zip(*tables.values(), strict=True)
    ]
    columns = [field("TASKS x TRIALS", "size"), *(_smallest(metric) for metric in tables)]
    return output.table(form, rows, columns)


def _smallest(metric: str) -> Column:
    heading = (
        "SMALLEST DROP OF SUCCESS" if metric == "mission_success" else f"RISE OF {_LABELS[metric].upper()}"
    )
    return Column(heading, lambda row: _effect(metric, row[metric]), right=True)


def _effect(metric: str, effect: float) -> str:
    if metric == "mission_success":
        return f"{100 * effect:.1f} pp" if effect < 1 else "none"
    return f"+{100 * effect:.0f} %"


def _needed(report: Row, form: str) -> Iterator[str]:
    columns = [
        Column("TO SEE", lambda row: f"{_LABELS[row['metric']]} {_change(row)}"),
        field("RUNS PER ARM", "runs", right=True),
    ]
    tasks: Any = report["tasks"]
    if tasks:
        columns.append(field(f"EACH OF {tasks:,} TASKS, TIMES", "trials", right=True))
    yield output.table(form, report["needed"], columns)
    yield ""
    yield "One-sided 5 %, seen in 80 of 100 comparisons; runs are of tasks that both arms have."


def _change(row: Row) -> str:
    return (
        f"-{100 * row['effect']:.0f} pp"
        if row["metric"] == "mission_success"
        else _effect(row["metric"], row["effect"])
    )
