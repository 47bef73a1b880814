"""Logs of pytest-reportlog: a line for each phase of each test, while the session runs."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters._documents import members_by_name
from quartermaster.adapters._lines import Object, read_objects, text_or_none
from quartermaster.adapters._pytest_cases import repeats_of
from quartermaster.adapters._pytest_reports import Test, case_run
from quartermaster.adapters._test_cases import Properties, entries_of, seconds_of

_KINDS: Final = (
    "SessionStart",
    "SessionFinish",
    "CollectReport",
    "TestReport",
    "WarningMessage",
    "ConftestImportFailure",
)
_MILLISECOND: Final = 10**6


class _Line(msgspec.Struct, gc=False):
    kind: Any = msgspec.field(name="$report_type", default=None)
    pytest_version: Any = None
    nodeid: Any = None
    when: Any = None
    outcome: Any = None
    longrepr: Any = None
    wasxfail: Any = None
    user_properties: Any = None
    duration: Any = None
    start: Any = None


class _Phase(msgspec.Struct):
    """What is known of a test so far."""

    outcome: str | None = None
    reason: str | None = None
    began: int | None = None
    seconds: float | None = None
    reruns: int = 0


_decode = msgspec.json.Decoder(_Line).decode


class PytestReportlogReader:
    """Reads one log from its first line on. A test ends with its teardown."""

    def __init__(self) -> None:
        self._harness = "pytest"
        self._open: dict[str, _Phase] = {}
        self._seen: Counter[str] = Counter()
        self._ended: list[tuple[Test, int, Record]] = []

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries of a test whose last phase this is."""
        outputs: list[Record | RejectedLine] = []
        for item in read_objects(line, offset, _decode):
            outputs.extend(self._read(item) if isinstance(item, Object) else (item,))
        return outputs

    def finish(self) -> Iterable[Record]:
        """Tests that were repeated, told again: which number each was is known once all are there."""
        repeats = repeats_of(dict.fromkeys(test.node_id for test, _, _ in self._ended))
        told = []
        for test, numbered, first in self._ended:
            if test.node_id in repeats:
                run = case_run(test, self._harness, numbered, repeats, *_key(test))
                told.append(Record(entries_of("pytest", run)[0], first.offset, first.length))
        return told

    def _read(self, item: Object) -> Iterator[Record | RejectedLine]:
        line: _Line = item.value
        if line.kind not in _KINDS:
            yield RejectedLine(item.offset, len(item.text), "no report of pytest")
        elif version := text_or_none(line.pytest_version):
            self._harness = f"pytest {version}"
        elif line.kind == "TestReport" and text_or_none(line.nodeid):
            yield from self._read_phase(line, item)

    def _read_phase(self, line: _Line, item: Object) -> Iterator[Record]:
        phase = self._open.setdefault(line.nodeid, _Phase())
        _take(phase, line)
        if line.when != "teardown":
            return
        del self._open[line.nodeid]
        if line.outcome == "rerun":
            self._open[line.nodeid] = _Phase(reruns=phase.reruns)
            return
        self._seen[line.nodeid] += 1
        numbered = self._seen[line.nodeid]
        pairs = line.user_properties if isinstance(line.user_properties, list) else []
        told = [(pair[0], pair[1]) for pair in pairs if _is_pair(pair)]
        test = Test(
            line.nodeid,
            phase.outcome or "unknown",
            phase.began,
            phase.seconds,
            phase.reason,
            Properties(told),
            phase.reruns,
        )
        run = case_run(test, self._harness, numbered, {}, *_key(test))
        records = [Record(entry, item.offset, len(item.text)) for entry in entries_of("pytest", run)]
        self._ended.append((test, numbered, records[0]))
        yield from records


def _key(test: Test) -> tuple[str, str]:
    return str(test.began), str(test.seconds)


def _take(phase: _Phase, line: _Line) -> None:
    """A later phase never makes up for an earlier one; a failure outside of the call is an error."""
    if phase.began is None:
        phase.began = _instant(line.start)
    if line.outcome == "rerun":
        phase.reruns += 1
        phase.outcome = phase.reason = None
        return
    if line.when == "call":
        phase.seconds = seconds_of(line.duration)
    outcome = _outcome_of(line)
    if outcome is not None and phase.outcome in (None, "passed"):
        phase.outcome = outcome
        phase.reason = _reason(line.longrepr)


def _outcome_of(line: _Line) -> str | None:
    if line.outcome == "passed":
        return ("xpassed" if line.wasxfail is not None else "passed") if line.when == "call" else None
    if line.outcome == "skipped":
        return "xfailed" if line.wasxfail is not None else "skipped"
    if line.outcome == "failed":
        return "failed" if line.when == "call" else "error"
    return None


def _reason(longrepr: Any) -> str | None:
    """Of a failure its last words, of a skip the third of place, line and reason."""
    if isinstance(longrepr, dict):
        crash = longrepr.get("reprcrash")
        return text_or_none(crash.get("message")) if isinstance(crash, dict) else None
    if isinstance(longrepr, list) and len(longrepr) == 3:
        return text_or_none(longrepr[2])
    return text_or_none(longrepr)


def _instant(seconds: Any) -> int | None:
    if type(seconds) not in (int, float) or not 0 < seconds < 1e10:
        return None
    return int(seconds * 1000) * _MILLISECOND


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


class PytestReportlog:
    """What `pytest --report-log` writes."""

    name = "pytest_reportlog"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A first object that names its kind of report."""
        return b"$report_type" in members_by_name(head)

    def line_reader(self) -> PytestReportlogReader:
        """A fresh reader."""
        return PytestReportlogReader()


ADAPTER: Final[LineAdapter] = PytestReportlog()
