"""Quartermaster as a library: recordings are read and compared where they lie, without a home or a daemon.

What is read is kept in a temporary folder that goes with the last object that needs it.
"""

import logging
import os
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import msgspec

from quartermaster import __version__
from quartermaster.cli.capsules import head_for, judge, names_capsule, read_capsule
from quartermaster.cli.compare import exit_code
from quartermaster.cli.policy import gate_from, read_gate, require_plain
from quartermaster.cli.recorded import Comparing, Side, judged_side
from quartermaster.cli.recordings import temporary_recordings
from quartermaster.cli.reporting import write_file
from quartermaster.config import Settings, load_settings, own_prices
from quartermaster.core.assessment import Assessment, Finding
from quartermaster.core.capsule import Capsule
from quartermaster.core.gate import FailOn, Gate
from quartermaster.core.metrics import Metric
from quartermaster.core.pricing import PriceBook
from quartermaster.core.report import ComparisonReport, PairsReport, RegressionReport, render_markdown
from quartermaster.core.reports import FORMS
from quartermaster.core.reports.cases import Context, cases_of, sentence_of, verdict_of
from quartermaster.core.reports.terminal import lay_out
from quartermaster.core.selection import Selection
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import Event
from quartermaster.errors import NotFound, UsageError
from quartermaster.evaluate import assess_mission, nothing_to_check
from quartermaster.frames import Framed
from quartermaster.freezing import freeze_missions
from quartermaster.store import missions as stored
from quartermaster.store import trajectory
from quartermaster.store.database import Connection
from quartermaster.store.missions import find_mission
from quartermaster.store.transcript import read_transcript

if TYPE_CHECKING:
    from structlog.typing import WrappedLogger

PathLike = str | os.PathLike[str]
Policy = PathLike | Mapping[str, Any]

T = TypeVar("T")

_SEED: Final = 0
_EVERY_STEP: Final = 2**62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FORM_OF_SUFFIX: Final = {
    ".json": "json",
    ".md": "markdown",
    ".xml": "junit",
    ".sarif": "sarif",
    ".html": "html",
}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a mission. `at` is None where the recording has no clock, `succeeded` where no outcome is
    known; tokens and cost are those of a model call that tells them."""

    index: int
    entry_type: str
    tool: str | None
    succeeded: bool | None
    at: datetime | None
    severity: str
    tokens: int | None
    cost_usd: float | None
    duration_ms: int | None


class Mission(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded mission. Facts are None where nobody recorded them; tokens and cost are None unless
    every model call tells its own."""

    mission_id: str
    task: str | None
    variant: str | None
    trial: int | None
    outcome: str | None
    reward: float | None
    format: str | None
    title: str | None
    agent: str | None
    model: str | None
    version: str | None
    commit: str | None
    labels: Mapping[str, Any]
    started_at: datetime | None
    ended_at: datetime | None
    entries: int
    model_calls: int
    total_tokens: int | None
    total_cost_usd: float | None
    _source: "_Source"

    @property
    def metrics(self) -> dict[str, Metric]:
        """Every metric by name; a value of None cannot be said, and its `reason` tells why."""
        return {metric.name: metric for metric in self._source.assessment(self.mission_id).metrics}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Failure modes with their steps."""
        return self._source.assessment(self.mission_id).findings

    @property
    def signature(self) -> str:
        """What two missions of the same steps share."""
        return self._source.assessment(self.mission_id).signature

    def steps(self) -> tuple[Step, ...]:
        """Every step in order, read now."""
        return self._source.steps(self.mission_id)

    def events(self) -> tuple[Event, ...]:
        """The mission in words, read now: what was asked, said, called and answered."""
        return self._source.events(self.mission_id)

    def __repr__(self) -> str:
        return f"Mission({self.mission_id!r}, task={self.task!r}, variant={self.variant!r})"


class Missions(Framed, Sequence[Mission]):
    """Missions that were read, by id."""

    def __init__(self, source: "_Source", missions: Sequence[Mission]) -> None:
        self._source = source
        self._missions = tuple(missions)

    @overload
    def __getitem__(self, index: int) -> Mission: ...
    @overload
    def __getitem__(self, index: slice) -> "Missions": ...
    def __getitem__(self, index: int | slice) -> "Mission | Missions":
        if isinstance(index, slice):
            return Missions(self._source, self._missions[index])
        return self._missions[index]

    def __len__(self) -> int:
        return len(self._missions)

    def __repr__(self) -> str:
        return f"<{len(self)} missions>"

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(mission.mission_id for mission in self._missions)

    def find(self, mission_id: str) -> Mission:
        """The mission of that id; raises NotFound."""
        for mission in self._missions:
            if mission.mission_id == mission_id:
                return mission
        raise NotFound(f"no mission {mission_id!r} among these {len(self)}")

    def where(self, **facts: object) -> "Missions":
        """Those of which every named fact is as given: `missions.where(task="checkout", variant="v2")`."""
        unknown = facts.keys() - set(_FACTS)
        if unknown:
            raise UsageError(f"a mission has no {', '.join(sorted(unknown))}; it has {', '.join(_FACTS)}")
        return Missions(
            self._source,
            [one for one in self if all(getattr(one, name) == fact for name, fact in facts.items())],
        )

    def rows(self) -> list[dict[str, Any]]:
        """A row a mission: its facts, then the value of every metric."""
        return [_row(mission) for mission in self]

    def _side(self, name: str, gate: Gate) -> Side:
        if not self:
            raise NotFound(f"the {name} has no mission")
        return judged_side(name, self._source.recordings, self._source.workspace, self.ids, gate)

    def _capsule(self) -> Capsule:
        return self._source.capsule(self.ids)


class Report(Framed, msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison says. `fails` is what the exit code of `quartermaster compare` would be 1 for;
    `document` holds every figure."""

    document: RegressionReport | PairsReport | ComparisonReport
    fails: bool
    fail_on: FailOn | None = None

    @property
    def verdict(self) -> str:
        """`regressed`, `improved`, `unchanged`, `inconclusive`, `not comparable`, …"""
        return verdict_of(self.document)

    @property
    def regressed(self) -> bool:
        return self.document.regressed

    @property
    def sentence(self) -> str:
        """What came out, in one line."""
        return sentence_of(self.document)

    def markdown(self) -> str:
        """For a pull request, led by the verdict."""
        return self.render("markdown")

    def json(self) -> str:
        """Everything, for programs."""
        return self.render("json")

    def text(self, width: int | None = None) -> str:
        """As a terminal shows it; `width` None wraps nothing."""
        return lay_out(render_markdown(self.document), width=width)

    def render(self, form: str) -> str:
        """One of the forms `json`, `markdown`, `junit`, `sarif`, `github`, `html`."""
        if form not in FORMS:
            raise UsageError(f"no form {form!r} of a report; there are {', '.join(FORMS)}")
        return FORMS[form].render(self.document, Context(version=__version__, fail_on=self.fail_on))

    def save(self, path: PathLike) -> None:
        """Write the form that the suffix names: .json, .md, .xml (JUnit), .sarif or .html."""
        file = Path(path)
        if file.suffix not in _FORM_OF_SUFFIX:
            raise UsageError(f"{file}: the suffix must be one of {', '.join(_FORM_OF_SUFFIX)}")
        write_file(file, self.render(_FORM_OF_SUFFIX[file.suffix]))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each judgement: the mission or `sets`, the metric, how it was judged, both values."""
        values = _values(self.document)
        return [
            {
                "subject": case.subject,
                "metric": case.name,
                "level": case.level,
                "baseline": values.get((case.subject, case.name), (None, None))[0],
                "candidate": values.get((case.subject, case.name), (None, None))[1],
                "sentence": case.sentence,
            }
            for case in cases_of(self.document, self.fail_on)
        ]

    def _repr_markdown_(self) -> str:
        return render_markdown(self.document)

    def __repr__(self) -> str:
        return f"<report: {self.verdict}; {self.sentence}>"


def read(paths: PathLike | Sequence[PathLike]) -> Missions:
    """The missions of files, folders and archives, in any format that `quartermaster ingest` reads.

    Raises NotFound where there is none.
    """
    return _read(_paths(paths), "recordings", _settings())


def compare(
    baseline: Missions | PathLike | Sequence[PathLike],
    candidate: Missions | PathLike | Sequence[PathLike],
    policy: Policy | None = None,
    *,
    fail_on: FailOn | None = None,
    strict: bool = False,
) -> Report:
    """Whether the candidate is worse than the baseline, by the rules of `quartermaster compare`.

    Each side is what `read` gave or takes, or a frozen baseline (a `.qmb` file). `policy` is a file or its
    content; without one the table `policy` of the project's `quartermaster.toml` counts. `strict` lets a
    comparison without a verdict fail.
    """
    settings = _settings()
    if isinstance(policy, Mapping):
        gate = gate_from(policy, "policy", settings)
    else:
        gate = read_gate(None if policy is None else Path(policy), settings)
    fail_on = fail_on or gate.fail_on
    document = _judge(baseline, candidate, settings, gate)
    row = msgspec.json.decode(msgspec.json.encode(document))
    failed = exit_code(row, fail_on, strict=strict or gate.strict) != 0
    return Report(document=document, fails=failed, fail_on=fail_on)


def _judge(baseline: Any, candidate: Any, settings: Settings, gate: Gate) -> Any:
    if _is_capsule(baseline) or _is_capsule(candidate):
        require_plain(gate, settings)
        before, after = (
            _capsule(side, name, settings)
            for side, name in ((baseline, "baseline"), (candidate, "candidate"))
        )
        return judge(before, after, settings)
    earlier = _missions(baseline, "baseline", settings)
    later = _missions(candidate, "candidate", settings)
    sides = earlier._side("baseline", gate), later._side("candidate", gate)
    report, _ = Comparing(settings, gate, *sides).judge()
    return report


def _missions(side: Any, name: str, settings: Settings) -> Missions:
    return side if isinstance(side, Missions) else _read(_paths(side), name, settings)


def _capsule(side: Any, name: str, settings: Settings) -> Capsule:
    if _is_capsule(side):
        return read_capsule(Path(side)).capsule
    return _missions(side, name, settings)._capsule()


def _is_capsule(side: Any) -> bool:
    return isinstance(side, str | os.PathLike) and names_capsule(os.fspath(side))


def _paths(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = [Path(path) for path in named]
    for path in found:
        if not path.exists():
            raise NotFound(f"there is no file or folder {str(path)!r}")
    if not found:
        raise UsageError("no file or folder is named")
    return found


def _settings() -> Settings:
    return load_settings(environment=os.environ, directory=Path.cwd())


class _Source:
    """Recordings that were read, for as long as something refers to them."""

    def __init__(self, settings: Settings, paths: Sequence[Path], name: str) -> None:
        self.settings = settings
        self.prices = own_prices(settings)
        stack = ExitStack()
        self._end = weakref.finalize(self, stack.close)
        with _quiet_logs():
            self.recordings = stack.enter_context(temporary_recordings(settings))
            self.workspace = self.recordings.add(name, paths)
        self._assessments: dict[str, Assessment] = {}

    def missions(self) -> Iterator[Mission]:
        ids = self.recordings.mission_ids(self.workspace)
        for start in range(0, len(ids), 10_000):
            chosen = Selection(mission_ids=tuple(ids[start : start + 10_000]))
            found = self.recordings.read(partial(self._select, chosen))
            yield from (_mission(one, self) for one in sorted(found, key=lambda one: one.mission_id))

    def _select(self, chosen: Selection, connection: Connection) -> Sequence[stored.Mission]:
        return stored.select_missions(connection, self.workspace, chosen)

    def assessment(self, mission_id: str) -> Assessment:
        if mission_id not in self._assessments:
            self._assessments[mission_id] = self.recordings.read(
                lambda connection: assess_mission(
                    connection, self.workspace, mission_id, _SEED, check=nothing_to_check, prices=self.prices
                )
            )
        return self._assessments[mission_id]

    def steps(self, mission_id: str) -> tuple[Step, ...]:
        def query(connection: Connection) -> tuple[Step, ...]:
            mission = self._mission(connection, mission_id)
            window = trajectory.trajectory_window(connection, mission.key, 0, _EVERY_STEP)
            return tuple(_step(one, timed=mission.started_at is not None) for one in window)

        return self.recordings.read(query)

    def events(self, mission_id: str) -> tuple[Event, ...]:
        def query(connection: Connection) -> tuple[Event, ...]:
            mission = self._mission(connection, mission_id)
            return read_transcript(connection, mission, price=PriceBook(self.prices)).events

        return self.recordings.read(query)

    def capsule(self, ids: Sequence[str]) -> Capsule:
        side = self.recordings.read(
            lambda connection: freeze_missions(
                connection,
                self.workspace,
                Selection(mission_ids=tuple(ids)),
                head_for(self.settings),
                price=PriceBook(self.prices),
                check=nothing_to_check,
            )
        )
        assert side is not None
        return side.capsule

    def _mission(self, connection: Connection, mission_id: str) -> stored.Mission:
        found = find_mission(connection, self.workspace, mission_id)
        assert found is not None
        return found


def _read(paths: Sequence[Path], name: str, settings: Settings) -> Missions:
    source = _Source(settings, paths, name)
    return Missions(source, tuple(source.missions()))


def _mission(found: stored.Mission, source: _Source) -> Mission:
    return Mission(
        mission_id=found.mission_id,
        task=found.task,
        variant=found.variant,
        trial=found.trial,
        outcome=found.outcome,
        reward=found.reward,
        format=found.format,
        title=found.title,
        agent=found.agent,
        model=found.model,
        version=found.version,
        commit=found.commit_id,
        labels=found.labels or {},
        started_at=_moment(found.started_at),
        ended_at=_moment(found.ended_at),
        entries=found.entries,
        model_calls=found.model_calls,
        total_tokens=found.total_tokens,
        total_cost_usd=_dollars(found.cost),
        _source=source,
    )


def _step(view: trajectory.StepView, *, timed: bool) -> Step:
    return Step(
        index=view.index,
        entry_type=view.entry_type,
        tool=view.tool,
        succeeded=view.success,
        at=_moment(view.instant) if timed else None,
        severity=view.severity,
        tokens=view.tokens,
        cost_usd=_dollars(view.cost),
        duration_ms=view.duration_ms,
    )


_FACTS: Final = tuple(name for name in Mission.__struct_fields__ if name not in ("_source", "labels"))


def _row(mission: Mission) -> dict[str, Any]:
    """Lists become texts with commas: a column of a frame has one type."""
    row = {name: getattr(mission, name) for name in _FACTS}
    for metric in mission.metrics.values():
        value = metric.value
        name = metric.name if metric.name not in row else f"metric_{metric.name}"
        row[name] = ", ".join(value) if isinstance(value, tuple) else value
    return row


def _values(report: Any) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    if isinstance(report, ComparisonReport):
        return {
            ("sets", metric.metric): (metric.baseline, metric.candidate)
            for metric in report.comparison.metrics
        }
    pairs = report.pairs if isinstance(report, PairsReport) else (report,)
    return {
        (pair.candidate.mission_id, delta.metric): (_number(delta.baseline), _number(delta.candidate))
        for pair in pairs
        for delta in pair.deltas
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(len(value) if isinstance(value, tuple) else value)


def _moment(instant: int | None) -> datetime | None:
    """To the microsecond."""
    return None if instant is None else _EPOCH + timedelta(microseconds=instant // 1000)


def _dollars(picodollars: int | None) -> float | None:
    return None if picodollars is None else picodollars / PICODOLLARS


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """A program that has set up no logs of its own gets none of ours on its stdout."""
    import structlog  # noqa: PLC0415 - one of the slower imports

    if structlog.is_configured():
        yield
        return

    def to_stderr(*_: Any) -> "WrappedLogger":
        return structlog.WriteLogger(sys.stderr)

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR), logger_factory=to_stderr
    )
    try:
        yield
    finally:
        structlog.reset_defaults()
