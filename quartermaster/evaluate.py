"""One evaluation, from a connection to its outcome; and a whole run, for a program without a daemon."""

import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Final, NamedTuple, TypeVar

import msgspec

from quartermaster import __version__
from quartermaster.core.assessment import Assessment, Assessor, Row
from quartermaster.core.capsule import Capsule, Head
from quartermaster.core.catalogue import PACKAGE
from quartermaster.core.comparison import Divergence, Profile, compare, first_divergence
from quartermaster.core.difference import Compared, Difference
from quartermaster.core.metrics import Metric
from quartermaster.core.noise import RISING, History, grade_breaches
from quartermaster.core.pricing import OwnPrices, PriceBook
from quartermaster.core.report import (
    ComparisonReport,
    RegressionReport,
    ReplayReport,
    comparison_report,
    regression_report,
    replay_report,
)
from quartermaster.core.run import (
    CANCELLED,
    COMPARISON,
    DEADLINE_EXCEEDED,
    EVALUATION_ERROR,
    REGRESSION,
    REPLAY,
    Completed,
    Failed,
    Measured,
    Outcome,
    Run,
)
from quartermaster.core.selection import Selection
from quartermaster.core.trials import Policy, Trial
from quartermaster.errors import NotFound, RunFailed, StorageBusy, UsageError
from quartermaster.freezing import ENTRIES_LIMIT, Side, baseline_side, freeze_missions
from quartermaster.history import read_histories
from quartermaster.sets import read_trials
from quartermaster.store import missions, runs, trajectory
from quartermaster.store.database import Connection, Database
from quartermaster.store.missions import Mission
from quartermaster.store.names import Texts
from quartermaster.store.transcript import read_transcript

T = TypeVar("T")
Check = Callable[[], None]
"""Asked between pages; raises what ends the evaluation."""

_DRIFT_SEED: Final = 0
_NO_OWN_PRICES: Final = OwnPrices()
_TEXTS_LIMIT: Final = 50_000
_MOST_ENTRIES_READ: Final = 50_000
"""Of one mission; longer ones are compared by numbers alone, and step by step on request."""
_PAGE: Final = 1024
"""Rows at a time: few enough to stay in the processor's cache until they are judged."""

_SECONDS_BETWEEN_LOOKS: Final = 1.0
_PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

_log = logging.getLogger(__name__)


class Stopped(RunFailed):
    """A check found that the run has to end now."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def nothing_to_check() -> None:
    """For a process that is killed when its time is over."""


def assess_mission(
    connection: Connection,
    workspace: int,
    mission_id: str,
    seed: int,
    *,
    check: Check,
    prices: OwnPrices = _NO_OWN_PRICES,
    check_costs: bool = False,
) -> Assessment:
    """One mission judged alone, in one pass over its rows; raises NotFound where it is gone."""
    assessor = Assessor(texts := Texts(connection), seed, PriceBook(prices), check_costs=check_costs)
    for page in _pages(connection, _mission_key(connection, workspace, mission_id), texts, check):
        assessor.add(page)
    return assessor.result()


def replay_mission(
    connection: Connection,
    workspace: int,
    mission_id: str,
    seed: int,
    *,
    run_id: str,
    check: Check,
    prices: OwnPrices = _NO_OWN_PRICES,
) -> ReplayReport:
    """The report of a replay: what was recorded, put together again; no agent runs."""
    assessment = assess_mission(
        connection, workspace, mission_id, seed, check=check, prices=prices, check_costs=True
    )
    return replay_report(assessment, run_id=run_id, mission_id=mission_id, prices=edition_of(prices))


class Terms(NamedTuple):
    """What a verdict is given under."""

    profile: Profile
    prices: OwnPrices
    check: Check

    def head(self) -> Head:
        """The head of a capsule that is made for a verdict."""
        from quartermaster.core.frozen import head_of  # noqa: PLC0415 - only a verdict takes its rules

        return head_of(__version__, self.profile, edition_of(self.prices))


def judge_missions(
    connection: Connection, workspace: int, run_id: str, sides: tuple[Side, Side], terms: Terms
) -> RegressionReport:
    """The report of one mission against one, each in a capsule; a breach is held against the history."""
    from quartermaster.core.frozen import judge_pair, mission_for  # noqa: PLC0415 - only a verdict takes its rules

    baseline, candidate = (side.capsule for side in sides)
    judge = partial(
        judge_pair,
        mission_for(baseline, candidate.missions[0].facts),
        candidate,
        terms.profile,
        run_id=run_id,
        made_by=__version__,
    )
    report = judge()
    if not any(metric in RISING for metric in report.regressed_metrics):
        return report

    def assess(mission: Mission) -> Assessment:
        place = Place(connection, workspace, mission.mission_id)
        return assess_mission(*place, _DRIFT_SEED, check=terms.check, prices=terms.prices)

    compared = (report.baseline.mission_id, report.candidate.mission_id)
    return judge(histories=read_histories(connection, workspace, *compared, assess))


class Place(NamedTuple):
    """Where a mission is: two that are compared may lie in different databases."""

    connection: Connection
    workspace: int
    mission_id: str


def compare_missions(
    baseline_place: Place,
    candidate_place: Place,
    profile: Profile,
    *,
    run_id: str,
    check: Check,
    prices: OwnPrices = _NO_OWN_PRICES,
    ignored: Collection[str] = (),
) -> RegressionReport:
    """The report of a pair. Only missions whose signatures differ are walked again, up to where they part.

    `ignored` metrics are shown and not judged.
    """
    baseline, candidate = (
        assess_mission(*place, _DRIFT_SEED, check=check, prices=prices, check_costs=True)
        for place in (baseline_place, candidate_place)
    )
    divergence = None
    if baseline.signature != candidate.signature:
        divergence = _divergence(baseline_place, candidate_place, check)
    comparison = compare(baseline, candidate, profile, divergence, ignored)
    histories: dict[str, History] = {}
    if any(metric in RISING for metric in comparison.regressed_metrics):
        home, workspace, baseline_id = baseline_place

        def assess(mission: Mission) -> Assessment:
            place = Place(home, workspace, mission.mission_id)
            return assess_mission(*place, _DRIFT_SEED, check=check, prices=prices)

        histories = read_histories(home, workspace, baseline_id, candidate_place.mission_id, assess)
    evidence = grade_breaches(comparison, baseline, candidate, histories)
    return regression_report(
        comparison,
        baseline,
        candidate,
        run_id=run_id,
        baseline_mission_id=baseline_place.mission_id,
        candidate_mission_id=candidate_place.mission_id,
        evidence=evidence,
        difference=difference_of(baseline_place, candidate_place, check=check, prices=prices),
        prices=edition_of(prices),
    )


def difference_of(
    baseline: Place, candidate: Place, *, check: Check, prices: OwnPrices = _NO_OWN_PRICES, lines: int = 0
) -> Difference | None:
    """What the pair shows step by step, with its first `lines` aligned steps; None where reading every
    word of it would take too long."""
    sides = []
    for place in (baseline, candidate):
        mission = missions.find_mission(place.connection, place.workspace, place.mission_id)
        if mission is None or mission.entries > _MOST_ENTRIES_READ:
            return None
        sides.append((place.connection, mission))
    before, after = (
        read_transcript(connection, mission, price=PriceBook(prices), check=check)
        for connection, mission in sides
    )
    return Compared(before, after).window(limit=lines, most_blocks=0)


def compare_trials(
    baseline: Sequence[Trial],
    candidate: Sequence[Trial],
    policy: Policy,
    *,
    run_id: str,
    seed: int = 0,
    prices: OwnPrices = _NO_OWN_PRICES,
) -> ComparisonReport:
    """The report of two sets of missions that are at hand."""
    from quartermaster.core.set_comparison import compare_sets  # noqa: PLC0415 - numbers by the thousand

    return comparison_report(
        compare_sets(baseline, candidate, policy), run_id=run_id, seed=seed, prices=edition_of(prices)
    )


@lru_cache(maxsize=1)
def _catalogue() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only who writes a report names it

    return f"{PACKAGE} {version(PACKAGE)}"


def edition_of(prices: OwnPrices) -> str:
    """Which price lists costs are computed from."""
    own = "" if prices.digest is None else f"the price file sha256:{prices.digest}, then "
    return own + _catalogue()


_TOO_LARGE: Final = (
    "the run needs more memory than it may have; raise eval.worker_memory_bytes where the machine has more"
)


def outcome_of(
    connection: Connection,
    run: Run,
    profile: Profile,
    *,
    check: Check,
    prices: OwnPrices = _NO_OWN_PRICES,
) -> Outcome:
    """Evaluate a claimed run on one state of the database. Every failure becomes a sentence for people."""
    try:
        return _evaluate(connection, run, profile, check, prices)
    except Stopped as stopped:
        return Failed(reason=stopped.reason, message=str(stopped))
    except (NotFound, RunFailed, UsageError) as error:
        return Failed(reason=EVALUATION_ERROR, message=str(error))
    except MemoryError:
        return Failed(reason=EVALUATION_ERROR, message=_TOO_LARGE)
    except Exception:
        _log.exception("the evaluation of run %s failed", run.run_id)
        message = "the evaluation failed because of a fault of this program; its log says where"
        return Failed(reason=EVALUATION_ERROR, message=message)


def execute_here(
    database: Database,
    workspace: int,
    run_id: str,
    *,
    profile: Profile,
    deadline_seconds: float,
    prices: OwnPrices = _NO_OWN_PRICES,
    now: Callable[[], int] = time.time_ns,
) -> Run:
    """Claim exactly this run in this process and finish it; the run as it stands after that.

    For a program that works on a home without a daemon. A run that is not queued any more is left to
    whoever has it.
    """
    boot_id = secrets.token_hex(8)
    claim = partial(runs.claim_run, workspace=workspace, run_id=run_id, boot_id=boot_id)
    run = _write(database, lambda connection: claim(connection, now=now()))
    if run is not None:
        check = _Watch(database, run, deadline_seconds)
        try:
            outcome = database.read_blocking(
                lambda connection: outcome_of(connection, run, profile, check=check, prices=prices),
                float("inf"),
            )
        except BaseException:
            stopped = Failed(reason=CANCELLED, message="the program that ran it was stopped")
            _write(database, lambda connection: runs.finish(connection, run, stopped, now=now()))
            raise
        _write(database, lambda connection: runs.finish(connection, run, outcome, now=now()))
    found = database.read_blocking(lambda connection: runs.find_run(connection, workspace, run_id))
    if found is None:
        raise NotFound(f"no run {run_id!r}; list the runs to see what there is")
    return found


def _evaluate(
    connection: Connection, run: Run, profile: Profile, check: Check, prices: OwnPrices
) -> Completed:
    if run.kind == REPLAY and run.mission_id is not None:
        report = replay_mission(
            connection,
            run.workspace,
            run.mission_id,
            run.seed,
            run_id=run.run_id,
            check=check,
            prices=prices,
        )
        return _completed_replay(report)
    terms = Terms(run.asked.thresholds or profile, prices, check)
    if run.kind == REGRESSION and run.candidate_mission_id is not None:
        return _evaluate_pair(connection, run, run.candidate_mission_id, terms)
    if run.kind == COMPARISON and run.asked.baseline is not None and run.asked.candidate is not None:
        return _evaluate_sets(connection, run, run.asked.baseline, run.asked.candidate, terms)
    raise RunFailed(f"a run of kind {run.kind!r} cannot be evaluated by this version")


def _evaluate_pair(connection: Connection, run: Run, candidate_id: str, terms: Terms) -> Completed:
    chosen = run.asked.baseline or Selection(mission_ids=(run.baseline_mission_id or "",))
    sides = _sides(connection, run.workspace, chosen, Selection(mission_ids=(candidate_id,)), terms)
    if sides is not None:
        report = judge_missions(connection, run.workspace, run.run_id, sides, terms)
        places = (
            Place(connection, run.workspace, mission.mission_id)
            for mission in (report.baseline, report.candidate)
        )
        if chosen.baseline is None:  # what was frozen keeps no words
            seen = difference_of(*places, check=terms.check, prices=terms.prices)
            report = msgspec.structs.replace(report, difference=seen)
        return _completed_regression(report, sides)
    report = compare_missions(
        Place(connection, run.workspace, chosen.mission_ids[0]),
        Place(connection, run.workspace, candidate_id),
        terms.profile,
        run_id=run.run_id,
        check=terms.check,
        prices=terms.prices,
    )
    return _completed_regression(report, ())


def _evaluate_sets(
    connection: Connection, run: Run, baseline: Selection, candidate: Selection, terms: Terms
) -> Completed:
    sides = _sides(connection, run.workspace, baseline, candidate, terms)
    if sides is not None:
        before, after = (side.capsule for side in sides)
        report = judge_sets_of(before, after, terms.profile, run_id=run.run_id, seed=run.seed)
        return _completed_comparison(report, sides)
    price = PriceBook(terms.prices)
    before_trials, after_trials = (
        read_trials(connection, run.workspace, selection, price=price, check=terms.check)
        for selection in (baseline, candidate)
    )
    report = compare_trials(
        before_trials,
        after_trials,
        Policy(profile=terms.profile),
        run_id=run.run_id,
        seed=run.seed,
        prices=terms.prices,
    )
    return _completed_comparison(report, ())


def judge_sets_of(
    baseline: Capsule, candidate: Capsule, profile: Profile, *, run_id: str, seed: int = 0
) -> ComparisonReport:
    """The report of two capsules as sets."""
    from quartermaster.core.frozen import judge_sets  # noqa: PLC0415 - only a verdict takes its rules

    return judge_sets(baseline, candidate, profile, run_id=run_id, made_by=__version__, seed=seed)


def _sides(
    connection: Connection, workspace: int, baseline: Selection, candidate: Selection, terms: Terms
) -> tuple[Side, Side] | None:
    """Both sides frozen; None where one is too large to be kept with the verdict."""
    limit = ENTRIES_LIMIT if baseline.baseline is None and candidate.baseline is None else None
    price = PriceBook(terms.prices)
    found = []
    for selection in (baseline, candidate):
        if selection.baseline is not None:
            found.append(baseline_side(connection, workspace, selection.baseline))
            continue
        side = freeze_missions(
            connection,
            workspace,
            selection,
            terms.head(),
            price=price,
            check=terms.check,
            entries_limit=limit,
        )
        if side is None:
            return None
        found.append(side)
    return found[0], found[1]


def _completed_replay(report: ReplayReport) -> Completed:
    mission = report.mission
    return Completed(
        result=report.result,
        report=msgspec.Raw(msgspec.json.encode(report)),
        measured=tuple(_measured(metric, mission.mission_id, None) for metric in mission.metrics),
        signature=mission.signature,
        total_tokens=int(_known(mission.metrics, "total_tokens")),
        total_cost_usd=float(_known(mission.metrics, "total_cost_usd")),
    )


def _completed_regression(report: RegressionReport, kept: Sequence[Side]) -> Completed:
    sides = (("baseline", report.baseline), ("candidate", report.candidate))
    measured = (
        _measured(metric, mission.mission_id, side) for side, mission in sides for metric in mission.metrics
    )
    return Completed(
        result=report.result,
        report=msgspec.Raw(msgspec.json.encode(report)),
        measured=tuple(measured),
        regressed_metrics=report.regressed_metrics,
        capsules=tuple(side.sealed for side in kept),
        total_tokens=int(_known(report.candidate.metrics, "total_tokens")),
        total_cost_usd=float(_known(report.candidate.metrics, "total_cost_usd")),
    )


def _completed_comparison(report: ComparisonReport, kept: Sequence[Side]) -> Completed:
    return Completed(
        result=report.result,
        report=msgspec.Raw(msgspec.json.encode(report)),
        measured=(),
        regressed_metrics=report.regressed_metrics,
        capsules=tuple(side.sealed for side in kept),
        total_tokens=0,
        total_cost_usd=0.0,
    )


def _measured(metric: Metric, mission_id: str, side: str | None) -> Measured:
    return Measured(metric=metric.name, value=metric.value, mission_id=mission_id, side=side)


def _known(metrics: tuple[Metric, ...], name: str) -> int | float:
    """The value of a metric as the row shows it: what cannot be said is 0 there."""
    return next(metric.number or 0 for metric in metrics if metric.name == name)


def _mission_key(connection: Connection, workspace: int, mission_id: str) -> int:
    mission = missions.find_mission(connection, workspace, mission_id)
    if mission is None:
        raise NotFound(f"no mission {mission_id!r}; it may have been removed since this run was queued")
    return mission.key


def _pages(connection: Connection, mission: int, texts: Texts, check: Check) -> Iterator[list[Row]]:
    for page in trajectory.step_pages(connection, mission, page=_PAGE):
        check()
        if len(texts) > _TEXTS_LIMIT:
            texts.clear()
        yield page


def _divergence(baseline: Place, candidate: Place, check: Check) -> Divergence | None:
    texts = [Texts(place.connection) for place in (baseline, candidate)]
    before, after = (
        chain.from_iterable(_pages(place.connection, _mission_key(*place), known, check))
        for place, known in zip((baseline, candidate), texts, strict=True)
    )
    return first_divergence(before, after, *texts)


class _Watch:
    """The check of a run in this process: its deadline, and whether somebody cancelled it."""

    def __init__(self, database: Database, run: Run, deadline_seconds: float) -> None:
        self._database = database
        self._run = run
        self._deadline_seconds = deadline_seconds
        self._ends_at = time.monotonic() + deadline_seconds
        self._looks_at = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now > self._ends_at:
            raise Stopped(DEADLINE_EXCEEDED, deadline_message(self._deadline_seconds))
        if now < self._looks_at:
            return
        self._looks_at = now + _SECONDS_BETWEEN_LOOKS
        query = partial(runs.find_run, workspace=self._run.workspace, run_id=self._run.run_id)
        found = self._database.read_blocking(query)
        if found is None or found.cancelled:
            raise Stopped(CANCELLED, "the run was cancelled")


def deadline_message(seconds: float) -> str:
    """What a run that took too long says of itself."""
    return (
        f"the run took longer than {seconds:g} seconds; raise eval.deadline_seconds where that is too short"
    )


def _write(database: Database, change: Callable[[Connection], T]) -> T:
    """A terminal row outlives a database that is busy for a moment."""
    for pause in _PAUSES:
        try:
            return database.write_blocking(change)
        except StorageBusy:
            time.sleep(pause)
    return database.write_blocking(change)
