"""Stored verdicts and baselines, held against the rules, prices and thresholds of today."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from quartermaster.core.capsule import open_capsule
from quartermaster.core.frozen import Today, changed_metrics, read_report, recompute
from quartermaster.core.run import COMPARISON, REGRESSION, Run
from quartermaster.errors import UsageError
from quartermaster.store import baselines, missions, runs
from quartermaster.store.database import Connection
from quartermaster.store.runs import RunFilter

_PAGE = 200


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict or a baseline as it was and as it would be today. `request` asks for it once more; `note`
    says what else there is to know, or why nothing can be said."""

    kind: str
    id: str
    was: str
    now: str | None = None
    flips: bool = False
    because: tuple[str, ...] = ()
    note: str | None = None
    request: tuple[str, dict[str, Any]] | None = None


def standings(
    connection: Connection, workspace: int, today: Today, check: Callable[[], None]
) -> Iterator[Standing]:
    """Every completed verdict on two sides, the newest first, then every baseline."""
    for kind in (REGRESSION, COMPARISON):
        for run in _completed(connection, workspace, kind):
            check()
            yield _of_run(connection, workspace, run, today)
    for baseline in baselines.list_baselines(connection, workspace):
        check()
        yield _of_baseline(connection, workspace, baseline.name, today)


def _completed(connection: Connection, workspace: int, kind: str) -> Iterator[Run]:
    filters = RunFilter(kind=kind, status="completed", limit=_PAGE)
    while True:
        page = runs.list_runs(connection, workspace, filters)
        yield from page.rows
        if page.next_cursor is None:
            return
        filters = msgspec.structs.replace(filters, cursor=page.next_cursor)


def _of_run(connection: Connection, workspace: int, run: Run, today: Today) -> Standing:
    standing = Standing(kind=run.kind, id=run.run_id, was=run.result or "")
    stored = runs.find_report(connection, workspace, run.run_id)
    try:
        report = read_report(stored or b"")
    except UsageError:
        return _unsaid(standing, "no capsules were kept with it: it was too large")
    assert report.provenance is not None
    found = [
        baselines.find_capsule(connection, workspace, digest)
        for digest in (report.provenance.baseline, report.provenance.candidate)
    ]
    if None in found:
        return _unsaid(standing, "a capsule of it is missing")
    before, after = (open_capsule(data) for data in found if data is not None)
    asked = run.asked
    profile = asked.thresholds or today.profile
    again = recompute(report, before, after, today._replace(profile=profile))
    gone = [
        one.mission_id
        for one in (*before.missions, *after.missions)
        if not missions.exists(connection, workspace, one.mission_id)
    ]
    return msgspec.structs.replace(
        standing,
        was=again.was,
        now=again.now,
        flips=again.flips,
        because=again.because,
        note=f"{len(gone):,} of its missions are gone" if gone else None,
        request=_request(run) if again.flips and not gone else None,
    )


def _unsaid(standing: Standing, why: str) -> Standing:
    return msgspec.structs.replace(standing, note=f"cannot be computed again: {why}")


def _request(run: Run) -> tuple[str, dict[str, Any]]:
    """What a client would send to ask the same once more."""
    asked: dict[str, Any] = msgspec.to_builtins(run.asked)
    body: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if run.kind == REGRESSION:
        body["candidate_mission_id"] = run.candidate_mission_id
        if run.baseline_mission_id is not None:
            body["baseline_mission_id"] = run.baseline_mission_id
        return "regression", body
    return "comparisons", body | {"seed": run.seed}


def _of_baseline(connection: Connection, workspace: int, name: str, today: Today) -> Standing:
    capsule = open_capsule(baselines.require_capsule(connection, workspace, name))
    changed = list(changed_metrics(capsule, today.price))
    metrics = sorted({one.metric for one in changed})
    affected = len({one.mission_id for one in changed})
    because = tuple(sorted({one.because for one in changed}))
    first = changed[0] if changed else None
    return Standing(
        kind="baseline",
        id=name,
        was=f"{len(capsule.missions):,} missions"
        + (f"; {first.metric} of {first.mission_id}: {first.was}" if first else ""),
        now=f"{', '.join(metrics)} of {affected:,} missions; the first: {first.now}" if first else None,
        flips=bool(changed),
        because=because,
    )
