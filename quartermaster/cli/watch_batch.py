"""`quartermaster watch-batch`: is a batch that is still running getting worse than its baseline?"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from quartermaster.cli import output
from quartermaster.cli.describing import described
from quartermaster.cli.options import home_option, settings_for
from quartermaster.core.sequential import Batch, Paired
from quartermaster.errors import NotFound, UsageError

if TYPE_CHECKING:
    from quartermaster.store.missions import Mission

Run = tuple[str, bool]
"""The task of a mission that ended, and whether it succeeded."""

ALARM: Final = 1
UNDECIDED: Final = 3


@click.command("watch-batch")
@click.argument("baseline")
@click.argument("candidate")
@click.option(
    "--every",
    type=click.FloatRange(0.05, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks at the home.",
)
@click.option(
    "--give-up-after",
    type=click.FloatRange(0, 10_000_000),
    metavar="SECONDS",
    help="Stop waiting for the rest of the batch, with exit code 3.",
)
@home_option
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local.")
@output.format_option
def command(
    *,
    baseline: str,
    candidate: str,
    every: float,
    give_up_after: float | None,
    home: Path | None,
    workspace: str | None,
    form: str,
) -> int:
    """Say while the CANDIDATE batch still runs whether it gets worse than the BASELINE.

    Both are described as for `compare`: task=checkout,variant=v2. Every mission of the candidate that
    ends is held against the same task of the baseline; an alarm (exit code 1) is raised once the evidence
    reaches 20 to 1, which an unchanged agent reaches in at most 5 of 100 batches, however often one looks.
    A batch that is complete is compared with `compare`, which sees more.
    """
    from quartermaster.cli.local import open_local

    sides = described(baseline, "baseline"), described(candidate, "candidate")
    local = open_local(settings_for(home), workspace, create=False)
    try:
        runs = _arrived(local.selected(sides[0]), set())
        if not runs:
            raise NotFound("the baseline has no mission that ended and names its task")
        patience = math.inf if give_up_after is None else give_up_after
        return _watch(runs, lambda: local.selected(sides[1]), every, patience, form)
    finally:
        local.close()


def _watch(
    runs: Sequence[Run], look: "Callable[[], list[Mission]]", every: float, patience: float, form: str
) -> int:
    batch, seen = Batch(runs), set[str]()
    ends = time.monotonic() + patience
    arrived = _arrived(look(), seen)
    if _completes(runs, arrived):
        raise UsageError("the batch is complete; `quartermaster compare` judges finished sets, and sees more")
    while True:
        for task, succeeded in arrived:
            paired = batch.add(task, succeeded)
            if paired is None:
                continue
            _show(paired, batch.missing, form)
            if paired.watch.state == "alarm":
                return ALARM
        if not batch.missing:
            output.tell("the batch is complete and raised no alarm; `quartermaster compare` judges it")
            return 0
        if time.monotonic() >= ends:
            output.tell(f"{batch.missing:,} runs of the batch are still missing")
            return UNDECIDED
        time.sleep(every)
        arrived = _arrived(look(), seen)


def _completes(runs: Sequence[Run], arrived: Sequence[Run]) -> bool:
    batch = Batch(runs)
    for task, succeeded in arrived:
        batch.add(task, succeeded)
    return not batch.missing


def _arrived(missions: "list[Mission]", seen: set[str]) -> list[Run]:
    """Missions that ended since the last look and name their task, in the order in which they ended."""
    new = [one for one in missions if one.outcome is not None and one.task and one.mission_id not in seen]
    seen.update(one.mission_id for one in new)
    new.sort(key=lambda one: (one.ended_at or 0, one.mission_id))
    return [(one.task, one.outcome == "succeeded") for one in new if one.task]


def _show(paired: Paired, missing: int, form: str) -> None:
    watch = paired.watch
    if form in ("json", "ndjson"):
        output.print_rows("ndjson", [{**msgspec.to_builtins(paired), "missing": missing}], ())
    else:
        before, after = (
            "succeeded" if one else "failed"
            for one in (paired.baseline_succeeded, paired.candidate_succeeded)
        )
        evidence = f"{math.exp(watch.log_evidence):.3g} of {math.exp(watch.alarm_at):.0f}"
        output.write(
            f"{output.printable(paired.task)}: {before} -> {after}; {watch.worse} worse, "
            f"{watch.better} better, evidence {evidence}, "
            f"{missing:,} to come: {watch.state}"
        )
    sys.stdout.flush()
