"""Reports of pytest-json-report: one mission a test and repetition."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import members_by_name, read_object, records_of
from quartermaster.adapters._lines import text_or_none
from quartermaster.adapters._pytest_cases import repeats_of
from quartermaster.adapters._pytest_reports import Test, case_run
from quartermaster.adapters._test_cases import Properties, entries_of, number_of, seconds_of

_NEEDED: Final = {b"created", b"exitcode", b"root", b"summary"}
_PHASES: Final = ("setup", "call", "teardown")
_NOTHING: Final = "no test is in it"
_SECOND: Final = 10**9


class _Case(msgspec.Struct, gc=False):
    nodeid: Any = None
    outcome: Any = None
    setup: Any = None
    call: Any = None
    teardown: Any = None
    user_properties: Any = None


class _Report(msgspec.Struct, gc=False):
    created: Any = None
    duration: Any = None
    tests: list[_Case] = []


_decoder = msgspec.json.Decoder(_Report)
_lists: Final = {"tests": msgspec.json.Decoder(_Case).decode}


class PytestJsonReport:
    """What `pytest --json-report` writes."""

    name = "pytest_json_report"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object that says when it was created, the exit code, the root and the sums."""
        return members_by_name(head).keys() >= _NEEDED

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each test; a malformed one costs itself."""
        read, rejected = read_object(document, _decoder, _lists)
        report = read or _Report()
        names = [case.nodeid for case in report.tests if text_or_none(case.nodeid)]
        repeats, seen = repeats_of(names), Counter[str]()
        entries: list[bytes] = []
        for case in report.tests:
            if not text_or_none(case.nodeid):
                continue
            seen[case.nodeid] += 1
            run = case_run(
                _test(case, _began(report)),
                "pytest",
                seen[case.nodeid],
                repeats,
                str(report.created),
                str(_seconds(case)),
            )
            entries += entries_of("pytest", run)
        return records_of(document, entries, rejected, _NOTHING)


def _began(report: _Report) -> int | None:
    """The report is created at the end; tests have no times of their own, so all begin with the session."""
    created, duration = report.created, number_of(report.duration)
    if type(created) not in (int, float) or not 0 < created < 1e11 or duration is None:
        return None
    return int((created - duration) * 1000) * (_SECOND // 1000)


def _test(case: _Case, began: int | None) -> Test:
    pairs = case.user_properties if isinstance(case.user_properties, list) else []
    told = [pair for one in pairs if isinstance(one, dict) for pair in one.items()]
    outcome = text_or_none(case.outcome) or "unknown"
    return Test(case.nodeid, outcome, began, _seconds(case), _reason(case), Properties(told))


def _seconds(case: _Case) -> float | None:
    return seconds_of(_object(case.call).get("duration"))


def _reason(case: _Case) -> str | None:
    for name in _PHASES:
        phase = _object(getattr(case, name))
        if phase.get("outcome") not in (None, "passed"):
            crash = text_or_none(_object(phase.get("crash")).get("message"))
            return crash or text_or_none(phase.get("longrepr"))
    return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


ADAPTER: Final[DocumentAdapter] = PytestJsonReport()
