"""A report as JUnit XML: a suite for every pair, a test case for every judged metric.

What fails the gate is a failure, what cannot be said is skipped, the rest passes with its words as output.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from quartermaster.core.report import Report
from quartermaster.core.reports.cases import Case, Context, cases_of, sentence_of, verdict_of

_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
)


def render(report: Report, context: Context) -> str:
    cases = cases_of(report, context.fail_on)
    return "\n".join(_lines(report, cases)) + "\n"


def _lines(report: Report, cases: tuple[Case, ...]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f'<testsuites name="quartermaster" {_counts(cases)}>'
    for subject, of_subject in groupby(cases, key=lambda case: case.subject):
        yield from _suite(report, subject, list(of_subject))
    yield "</testsuites>"


def _suite(report: Report, subject: str, cases: list[Case]) -> Iterator[str]:
    yield f'  <testsuite name="{_text(subject)}" {_counts(cases)} skipped="{_count(cases, "unknown")}">'
    yield "    <properties>"
    for name, value in (("verdict", verdict_of(report)), ("result", sentence_of(report))):
        yield f'      <property name="{name}" value="{_text(value)}"/>'
    yield "    </properties>"
    for case in cases:
        yield f'    <testcase name="{_text(case.name)}" classname="quartermaster.{_text(subject)}" time="0">'
        yield from _outcome(case)
        yield "    </testcase>"
    yield "  </testsuite>"


def _outcome(case: Case) -> Iterator[str]:
    said = _text(case.sentence)
    told = _text("\n".join((case.sentence, *case.evidence)))
    match case.level:
        case "error":
            yield f'      <failure message="{said}" type="regression">{told}</failure>'
        case "unknown":
            yield f'      <skipped message="{said}"/>'
        case _:
            yield f"      <system-out>{told}</system-out>"


def _counts(cases: Iterable[Case]) -> str:
    every = list(cases)
    return f'tests="{len(every)}" failures="{_count(every, "error")}" errors="0" time="0"'


def _count(cases: Iterable[Case], level: str) -> int:
    return sum(case.level == level for case in cases)


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text).translate(_ESCAPES)
