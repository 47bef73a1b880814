"""A report as annotations of GitHub Actions: one line for everything that did not pass."""

from collections.abc import Iterator
from typing import Final

from quartermaster.core.report import Report
from quartermaster.core.reports.cases import Case, Context, cases_of, sentence_of, verdict_of

MOST: Final = 10
"""GitHub shows ten annotations of a level for each step and drops the rest."""
_COMMANDS: Final = {"error": "error", "warning": "warning", "note": "notice"}


def render(report: Report, context: Context) -> str:
    return "\n".join(_lines(report, context)) + "\n"


def _lines(report: Report, context: Context) -> Iterator[str]:
    cases = cases_of(report, context.fail_on)
    for level in _COMMANDS:
        of_level = [case for case in cases if case.level == level]
        shown = of_level if len(of_level) <= MOST else of_level[: MOST - 1]
        yield from (_annotation(case, context) for case in shown)
        if len(of_level) > len(shown):
            more = f"{len(of_level) - len(shown)} more of this kind are in the report"
            yield f"::{_COMMANDS[level]} title=quartermaster::{more}"
    yield f"::notice title=quartermaster::{_data(f'{verdict_of(report)}: {sentence_of(report)}')}"


def _annotation(case: Case, context: Context) -> str:
    file = context.file_of(case.subject)
    place = "" if file is None else f"file={_property(file)},line=1,"
    said = "\n".join((case.sentence, *case.evidence))
    return (
        f"::{_COMMANDS[case.level]} {place}title={_property(f'{case.subject}: {case.name}')}::{_data(said)}"
    )


def _data(text: str) -> str:
    """No line break of a recording may begin a command of its own."""
    line = "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)
    return line.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
