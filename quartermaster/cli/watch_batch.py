"""`quartermaster watch-batch`: is a batch that is still running getting worse than its baseline?"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import click
import msgspec

from quartermaster.cli import completing, output
from quartermaster.cli.describing import described
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target
from quartermaster.core.journal import parse_instant
from quartermaster.core.selection import LARGEST, Selection
from quartermaster.core.sequential import Batch, Paired
from quartermaster.errors import NotFound, UsageError

Run = tuple[str, bool]
"""The task of a mission that ended, and whether it succeeded."""

_FILTERS: Final = ("task", "variant", "format", "q", "since", "until")
ALARM: Final = 1
UNDECIDED: Final = 3


@click.command("watch-batch")
@click.argument("baseline", shell_complete=completing.sides)
@click.argument("candidate", shell_complete=completing.sides)
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
@target_options()
@output.format_option
def command(
    *,
    target: Target,
    baseline: str,
    candidate: str,
    every: float,
    give_up_after: float | None,
    form: str,
) -> int:
    """Say while the CANDIDATE batch still runs whether it gets worse than the BASELINE.

    Both are described as for `compare`: task=checkout,variant=v2. Every mission of the candidate that
    ends is held against the same task of the baseline; an alarm (exit code 1) is raised once the evidence
    reaches 20 to 1, which an unchanged agent reaches in at most 5 of 100 batches, however often one looks.
    A batch that is complete is compared with `compare`, which sees more.
    """
    before, after = described(baseline, "baseline"), described(candidate, "candidate")
    runs = _arrived(_selected(target, before), set())
    if not runs:
        raise NotFound("the baseline has no mission that ended and names its task")
    patience = math.inf if give_up_after is None else give_up_after
    return _watch(runs, lambda: _selected(target, after), every, patience, form)


def _selected(target: Target, selection: Selection) -> list[Row]:
    """The missions of one side as they are known at this moment."""
    if selection.baseline is not None:
        raise UsageError("a batch is held against missions, not against a frozen baseline; describe them")
    asked = {name: value for name in _FILTERS if (value := getattr(selection, name)) is not None}
    found = [row for row in target.missions(asked, LARGEST + 1) if _is_of(row, selection)]
    if len(found) > LARGEST:
        raise UsageError(f"more than {LARGEST:,} missions match; describe them more closely")
    missing = set(selection.mission_ids) - {row["mission_id"] for row in found}
    if missing:
        raise NotFound(f"no mission {min(missing)!r}; `quartermaster missions` lists them")
    return found


def _is_of(row: Row, selection: Selection) -> bool:
    """What the list of missions has no filter for."""
    if selection.by_ids and row["mission_id"] not in selection.mission_ids:
        return False
    if any(getattr(selection, name) not in (None, row[name]) for name in ("agent", "model", "commit")):
        return False
    labels = row["labels"] or {}
    return all(_plain(labels.get(name)) == _plain(value) for name, value in selection.labels.items())


def _plain(value: object) -> str | None:
    """A label as it is written on a command line."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _watch(
    runs: Sequence[Run], look: Callable[[], list[Row]], every: float, patience: float, form: str
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


def _arrived(missions: Sequence[Row], seen: set[str]) -> list[Run]:
    """Missions that ended since the last look and name their task, in the order in which they ended."""
    ended = [one for one in missions if one["outcome"] is not None and one["task"]]
    new = [one for one in ended if one["mission_id"] not in seen]
    seen.update(one["mission_id"] for one in new)
    new.sort(key=_end)
    return [(one["task"], one["outcome"] == "succeeded") for one in new]


def _end(row: Row) -> tuple[int, str]:
    return parse_instant(row["ended_at"]) if row["ended_at"] else 0, row["mission_id"]


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
