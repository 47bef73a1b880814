"""A verdict that is computed for one answer: nothing is queued, and nothing is left behind."""

import time
from typing import Final, NamedTuple

import msgspec

from quartermaster.cli.compare import described_side
from quartermaster.cli.target import Target
from quartermaster.core.report import REPORTS, Report
from quartermaster.core.run import COMPARISON, REGRESSION, RUNNING, Asked, Failed, Run
from quartermaster.core.selection import Selection, selection_of
from quartermaster.errors import RunFailed
from quartermaster.evaluate import Stopped, outcome_of
from quartermaster.mcp_tools.records import Place, Records, Terms
from quartermaster.store.database import Connection

NOT_QUEUED: Final = "not queued"
_SECONDS: Final = 100.0


class Sides(NamedTuple):
    """What is compared. `paired` holds one mission against one mission or a frozen baseline, as thresholds
    do; otherwise two sets are tested."""

    baseline: Selection
    candidate: Selection
    paired: bool


def sides_of(target: Target, baseline: str, candidate: str) -> Sides:
    """What two sides mean: ids, `baseline:NAME`, or what is known of missions as `task=…,variant=…`."""
    before, after = (
        selection_of(described_side(target, text, side), side)
        for text, side in ((baseline, "baseline"), (candidate, "candidate"))
    )
    single = len(after.mission_ids) == 1 and "," not in candidate
    against_one = before.baseline is not None or (len(before.mission_ids) == 1 and "," not in baseline)
    return Sides(before, after, single and against_one)


def judged(records: Records, sides: Sides) -> tuple[Report, Place]:
    """The report of two sides, and where their missions can be read."""
    place = records.place_of(sides[:2])
    report = place.look(lambda connection, workspace: _report(connection, workspace, sides, records.terms))
    return report, place


def _report(connection: Connection, workspace: int, sides: Sides, terms: Terms) -> Report:
    run = _run(workspace, sides)
    outcome = outcome_of(connection, run, terms.profile, check=_Deadline(), prices=terms.prices)
    if isinstance(outcome, Failed):
        raise RunFailed(f"the comparison failed: {outcome.message}")
    kind = msgspec.json.decode(outcome.report)["kind"]
    return msgspec.json.decode(outcome.report, type=REPORTS[kind])


def _run(workspace: int, sides: Sides) -> Run:
    """The run that a daemon would queue for it."""
    asked = Asked(baseline=sides.baseline, candidate=sides.candidate)
    if sides.paired:
        asked = Asked(baseline=sides.baseline if sides.baseline.baseline else None)
    return Run(
        key=0,
        run_id=NOT_QUEUED,
        workspace=workspace,
        workspace_id="",
        kind=REGRESSION if sides.paired else COMPARISON,
        status=RUNNING,
        seed=0,
        mission_id=None,
        baseline_mission_id=sides.baseline.mission_ids[0] if sides.paired and sides.baseline.by_ids else None,
        candidate_mission_id=sides.candidate.mission_ids[0] if sides.paired else None,
        total_tokens=0,
        total_cost_usd=0.0,
        regressed=False,
        result=None,
        reason=None,
        signature=None,
        created_by=None,
        created_at=0,
        started_at=None,
        completed_at=None,
        attempt=1,
        boot_id=None,
        cancelled=False,
        request=msgspec.json.encode(asked).decode(),
    )


class _Deadline:
    """Ends a comparison that takes longer than a client would wait."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + _SECONDS

    def __call__(self) -> None:
        if time.monotonic() > self._ends:
            raise Stopped(
                "deadline_exceeded", f"it takes longer than {_SECONDS:g} seconds; name fewer missions"
            )
