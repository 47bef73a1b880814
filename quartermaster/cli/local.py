"""The home folder of this machine, through its database, whether a daemon runs or not."""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from quartermaster import freezing, logs
from quartermaster.api.frozen_rows import baseline_detail, baseline_row
from quartermaster.api.rows import mission_detail, mission_row, source_detail, source_row
from quartermaster.cli.capsules import head_for
from quartermaster.cli.target import Row
from quartermaster.cli.waiting import progress, wait_for_run
from quartermaster.config import Settings, masker_of, own_prices, profile_of
from quartermaster.core.comparison import Profile
from quartermaster.core.difference import Compared, Difference
from quartermaster.core.journal import parse_instant
from quartermaster.core.matching import MATCH_MODES, Rules
from quartermaster.core.pricing import PriceBook
from quartermaster.core.run import COMPARISON, REGRESSION, REPLAY, Asked, Run
from quartermaster.core.run import row as run_row
from quartermaster.core.selection import Selection, selection_of
from quartermaster.core.trends import trends_of
from quartermaster.core.tuning import Known
from quartermaster.errors import HomeLocked, NotFound, Rejected, StorageError, UsageError
from quartermaster.evaluate import edition_of, execute_here, nothing_to_check
from quartermaster.freezing import Side
from quartermaster.home import DAEMON, EVALUATION, Home, choose_workspace, hold, holder, open_home
from quartermaster.ingest import Progress, ingest_paths
from quartermaster.sets import read_history
from quartermaster.store import access, baselines, examinations, journal, missions, runs, similar, sources
from quartermaster.store.access import Workspace
from quartermaster.store.database import Connection, Database
from quartermaster.store.examinations import Examined
from quartermaster.store.journal import JournalFilter
from quartermaster.store.missions import Mission, MissionFilter
from quartermaster.store.runs import RunFilter
from quartermaster.store.sources import SourceFilter, SourceLedger
from quartermaster.store.transcript import read_transcript
from quartermaster.store.trends import TrendFilter, trend_facts

T = TypeVar("T")

_PAGE: Final = 500
_DRAWN_AT_ONCE: Final = 20_000
_HISTORY_SECONDS: Final = 600.0
_SECONDS: Final = 60.0
"""A person at a command line waits longer for a question than a client of the API."""


def _match_rules(window: Row) -> Rules | None:
    if window.get("match") is None:
        return None
    return Rules(
        order=MATCH_MODES[window["match"]],
        arguments=window["arguments"],
        ignored_tools=frozenset(window["ignore_tool"]),
        ignored_arguments=frozenset(window["ignore_argument"]),
    )


def open_local(settings: Settings, workspace: str | None, *, create: bool) -> "Local":
    """One workspace of the home that the settings name."""
    logs.configure("auto", level=logging.WARNING)
    home = Home(settings.home)
    database = open_home(home, create=create, beside_daemon=holder(home) is not None).database
    try:
        chosen = database.look_up(lambda connection: choose_workspace(connection, workspace))
    except BaseException:
        database.close()
        raise
    return Local(settings, database, chosen)


class Local:
    """One workspace of one home."""

    def __init__(self, settings: Settings, database: Database, workspace: Workspace) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._database = database
        self._workspace = workspace.key

    def missions(self, filters: Row, limit: int) -> Iterator[Row]:
        chosen = MissionFilter(**_with_instants(filters), limit=min(limit, _PAGE))
        return islice(self._missions(chosen), limit)

    def _missions(self, chosen: MissionFilter) -> Iterator[Row]:
        while True:
            page = self._read(lambda connection: missions.list_missions(connection, self._workspace, chosen))  # noqa: B023
            findings = self._read(lambda connection: examinations.counts(connection, page.rows))  # noqa: B023
            yield from (mission_row(mission, findings.get(mission.key)) for mission in page.rows)
            if page.next_cursor is None:
                return
            chosen = msgspec.structs.replace(chosen, cursor=page.next_cursor)

    def mission(self, mission_id: str) -> Row:
        prices = own_prices(self._settings)

        from quartermaster.looking import judged

        def find(connection: Connection) -> tuple[Row, Examined | None]:
            mission = self._found(connection, mission_id)
            assessment, examination, fresh = judged(connection, self._workspace, mission, prices)
            detail = mission_detail(
                mission,
                assessment,
                examination,
                outcomes=missions.outcomes_of(connection, mission.key),
                sources=[_ledger_detail(one) for one in sources.sources_of(connection, mission.key)],
            )
            return detail, fresh

        detail, fresh = self._read(find)
        if fresh is not None:
            with suppress(StorageError):  # a disk that is full is no reason not to show what was found
                self._database.write_blocking(lambda connection: examinations.keep(connection, [fresh]))
        return detail

    def difference(self, baseline_id: str, candidate_id: str, window: Row) -> Row:
        price = PriceBook(own_prices(self._settings))

        def find(connection: Connection) -> Difference:
            baseline, candidate = (
                read_transcript(connection, self._found(connection, mission_id), price=price)
                for mission_id in (baseline_id, candidate_id)
            )
            return Compared(baseline, candidate).window(
                start=window["from"], limit=window["limit"], rules=_match_rules(window)
            )

        return _plain(self._read(find))

    def similar(self, mission_id: str, filters: Row) -> Row:
        workspace = self._workspace
        ends = time.monotonic() + _SECONDS / 2

        def outdated(connection: Connection) -> list[similar.Drawn]:
            mission = self._found(connection, mission_id)
            return similar.draw_stale(
                connection, workspace, mission, _DRAWN_AT_ONCE, lambda: time.monotonic() > ends
            )

        drawn = self._read(outdated)
        if drawn:
            self._database.write_blocking(lambda connection: similar.keep(connection, drawn))
        found = self._read(
            lambda connection: similar.find_similar(
                connection, workspace, self._found(connection, mission_id), **filters
            )
        )
        if found is None:
            raise NotFound(f"no mission {mission_id!r}")
        return _plain(found)

    def _found(self, connection: Connection, mission_id: str) -> Mission:
        mission = missions.find_mission(connection, self._workspace, mission_id)
        if mission is None:
            raise NotFound(f"no mission {mission_id!r}")
        return mission

    def has_mission(self, mission_id: str) -> bool:
        return self._read(lambda connection: missions.exists(connection, self._workspace, mission_id))

    def mission_ids(self, prefix: str, limit: int) -> list[str]:
        return self._read(
            lambda connection: missions.mission_ids_starting(connection, self._workspace, prefix, limit)
        )

    def sources(self, filters: Row, limit: int) -> Iterator[Row]:
        chosen = SourceFilter(**filters, limit=min(limit, sources.LIST_LIMIT))
        return islice(self._paged(sources.page_of_sources, chosen, _ledger_row, "rows"), limit)

    def entries(self, filters: Row, limit: int) -> Iterator[Row]:
        chosen = JournalFilter(**_with_instants(filters), limit=min(limit, _PAGE))
        return islice(self._paged(journal.list_entries, chosen, msgspec.json.decode, "entries"), limit)

    def evaluate(self, kind: str, body: Row, *, wait: bool) -> Row:
        run_id = "er_" + secrets.token_hex(8)
        while True:
            held = holder(self._home)
            if held is not None and held.role == DAEMON:
                self._queue(run_id, kind, body)
                return wait_for_run(self.run, run_id) if wait else self.run(run_id)
            try:
                with hold(self._home, EVALUATION):
                    return self._execute(self._queue(run_id, kind, body))
            except HomeLocked:
                continue  # another evaluation came first and ends soon, or a daemon has started

    def runs(self, limit: int) -> Iterator[Row]:
        chosen = RunFilter(limit=min(limit, _PAGE))
        return islice(self._paged(runs.list_runs, chosen, run_row, "rows"), limit)

    def run(self, run_id: str) -> Row:
        def find(connection: Connection) -> Row | None:
            found = runs.find_run(connection, self._workspace, run_id)
            if found is None:
                return None
            report = runs.find_report(connection, self._workspace, run_id)
            return run_row(found) | ({} if report is None else {"report": msgspec.json.decode(report)})

        row = self._read(find)
        if row is None:
            raise NotFound(f"no run {run_id!r}")
        return row

    def has_run(self, run_id: str) -> bool:
        return self._read(lambda connection: runs.find_run(connection, self._workspace, run_id)) is not None

    def run_ids(self, prefix: str, limit: int) -> list[str]:
        return self._read(
            lambda connection: runs.run_ids_starting(connection, self._workspace, prefix, limit)
        )

    def history(self, selection: Selection | None, *, words: bool = False) -> tuple[Known, ...]:
        """Missions that were repeated, or those selected, judged alone; with the hallucinations that their
        `words` show."""
        price = PriceBook(own_prices(self._settings))
        return self._database.read_blocking(
            lambda connection: read_history(
                connection, self._workspace, selection, price=price, check=nothing_to_check, words=words
            ),
            _HISTORY_SECONDS,
        )

    def trends(self, filters: Row) -> Row:
        given = _with_instants(filters)
        by, metrics = given.pop("by"), given.pop("metric", ())
        prices, profile = own_prices(self._settings), profile_of(self._settings)
        facts = self._read(
            lambda connection: trend_facts(
                connection, self._workspace, TrendFilter(metrics=metrics, **given), prices
            )
        )
        shown: Row = msgspec.to_builtins(trends_of(facts, profile, by=by, metrics=metrics))
        return shown

    def baselines(self) -> list[Row]:
        found = self._read(lambda connection: baselines.list_baselines(connection, self._workspace))
        return [baseline_row(one) for one in found]

    def baseline(self, name: str) -> Row:
        def find(connection: Connection) -> Row:
            history = baselines.history(connection, self._workspace, name)
            capsule = freezing.baseline_side(connection, self._workspace, name).capsule
            return baseline_detail(history, capsule)

        return self._read(find)

    def freeze(self, body: Row) -> Row:
        return self._keep_baseline(str(body["name"]), body, accepted=False)

    def accept(self, name: str, body: Row) -> Row:
        return self._keep_baseline(name, body, accepted=True)

    def _keep_baseline(self, name: str, body: Row, *, accepted: bool) -> Row:
        signed = freezing.Signed(name, body["by"], body.get("reason"), time.time_ns())
        selection = selection_of(body["missions"], "missions")
        frozen = self._read(
            lambda connection: freezing.freeze_baseline(
                connection,
                self._workspace,
                selection,
                signed,
                head_for(self._settings),
                price=PriceBook(own_prices(self._settings)),
                check=nothing_to_check,
                accepted=accepted,
            )
        )
        return self.keep_baseline(frozen, signed, accepted=accepted)

    def keep_baseline(self, frozen: Side, signed: freezing.Signed, *, accepted: bool) -> Row:
        """Keep a capsule that is frozen already."""
        kept = self._database.write_blocking(
            lambda connection: freezing.keep_baseline(
                connection, self._workspace, frozen, signed, accepted=accepted
            )
        )
        return baseline_row(kept)

    def side(self, selection: Selection) -> Side:
        """Missions or a baseline of this home as a capsule."""
        if selection.baseline is not None:
            name = selection.baseline
            return self._read(lambda connection: freezing.baseline_side(connection, self._workspace, name))
        frozen = self._read(
            lambda connection: freezing.freeze_missions(
                connection,
                self._workspace,
                selection,
                head_for(self._settings),
                price=PriceBook(own_prices(self._settings)),
                check=nothing_to_check,
            )
        )
        assert frozen is not None
        return frozen

    def capsule(self, digest: str) -> bytes | None:
        """The bytes of a capsule that a verdict rests on."""
        return self._read(lambda connection: baselines.find_capsule(connection, self._workspace, digest))

    def recompute(self) -> list[Row]:
        """Every verdict and baseline, as it was and as it would be today."""
        from quartermaster.core.frozen import Today
        from quartermaster.recomputing import standings

        prices = own_prices(self._settings)
        today = Today(PriceBook(prices), edition_of(prices), profile_of(self._settings))
        found = self._database.read_blocking(
            lambda connection: list(standings(connection, self._workspace, today, nothing_to_check)),
            float("inf"),
        )
        return [_plain(one) for one in found]

    def ingest(self, paths: Sequence[Path], on_progress: Callable[[str], None]) -> list[Row]:
        ledgers = ingest_paths(
            self._database,
            self._workspace,
            paths,
            lambda progress: on_progress(_told(progress)),
            line_limit_bytes=self._settings.ingest_line_limit_bytes,
            masker=masker_of(self._settings),
        )
        return [_ledger_detail(ledger) for ledger in ledgers]

    def close(self) -> None:
        self._database.close()

    def _read(self, query: Callable[[Connection], T]) -> T:
        return self._database.read_blocking(query, _SECONDS)

    def _paged(
        self, find: Callable[..., Any], filters: Any, row_of: Callable[[Any], Row], rows: str
    ) -> Iterator[Row]:
        while True:
            page: Any = self._read(lambda connection: find(connection, self._workspace, filters))  # noqa: B023
            yield from map(row_of, getattr(page, rows))
            if page.next_cursor is None:
                return
            filters = msgspec.structs.replace(filters, cursor=page.next_cursor)

    def _queue(self, run_id: str, kind: str, body: Row) -> Run:
        def queue(connection: Connection) -> Run:
            return runs.queue_run(
                connection,
                self._workspace,
                run_id=run_id,
                kind=_KINDS[kind],
                created_by=access.FIRST_USER,
                now=time.time_ns(),
                **_queued(kind, body, profile_of(self._settings)),
            )

        return self._database.write_blocking(queue)

    def _execute(self, run: Run) -> Row:
        with progress() as tell:
            tell(f"run {run.run_id}")
            execute_here(
                self._database,
                self._workspace,
                run.run_id,
                profile=profile_of(self._settings),
                prices=own_prices(self._settings),
                deadline_seconds=self._settings.eval_deadline_seconds,
            )
        return self.run(run.run_id)


_KINDS: Final = {"replay": REPLAY, "regression": REGRESSION, "comparisons": COMPARISON}


def _queued(kind: str, body: Row, usual: Profile) -> dict[str, Any]:
    """What a client would send, as the queue takes it."""
    missions_and_seed = {name: body[name] for name in body if name.endswith("mission_id") or name == "seed"}
    thresholds = body.get("thresholds")
    asked = Asked(
        thresholds=thresholds and msgspec.convert(msgspec.to_builtins(usual) | thresholds, Profile),
        **{side: selection_of(_described(body[side]), side) for side in _SIDES if side in body},
    )
    return {"seed": 0, **missions_and_seed, "asked": asked}


_SIDES: Final = ("baseline", "candidate")


def _described(side: Any) -> Any:
    """A baseline alone may be named by its name."""
    return {"baseline": side} if isinstance(side, str) else side


def _plain(report: msgspec.Struct) -> Row:
    told: Row = msgspec.to_builtins(report)
    return told


def _ledger_row(ledger: SourceLedger) -> Row:
    return {"path": ledger.path, **source_row(ledger)}


def _ledger_detail(ledger: SourceLedger) -> Row:
    return {"path": ledger.path, **source_detail(ledger)}


def _told(progress: Progress) -> str:
    share = progress.bytes_read / progress.of_bytes if progress.of_bytes else 1
    return f"{progress.files:,} of {progress.of_files:,} files, {share:.0%}, {progress.entries:,} entries"


def _with_instants(filters: Row) -> dict[str, Any]:
    given = {name: value for name, value in filters.items() if value not in (None, ())}
    for name in ("since", "until"):
        if name in given:
            given[name] = _instant(name, given[name])
    return given


def _instant(name: str, text: str) -> int:
    try:
        return parse_instant(text)
    except Rejected as error:
        raise UsageError(f"--{name} is no RFC 3339 time, such as 2027-01-31T00:00:00Z") from error
