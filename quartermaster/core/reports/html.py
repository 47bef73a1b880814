"""A report as one page that needs nothing beside itself: no network, no script.

It says what failed and why, shows every judged number, and lays pairs side by side step by step. The
policy of the page allows its own style and nothing else, so that no recorded text can become more than text.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from quartermaster.core.difference import Difference, Line, StepSeen
from quartermaster.core.report import (
    OBSERVATIONAL,
    ComparisonReport,
    PairsReport,
    RegressionReport,
    Report,
)
from quartermaster.core.reports.cases import Case, Context, Level, cases_of, sentence_of, verdict_of
from quartermaster.core.set_wording import probability, range_of, shown

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --quiet: #667; --line: #d5d8dc;
  --bad: #b3261e; --warn: #8a5a00; --good: #1b6e3c; --less: #fdecea; --more: #e6f4ea; --other: #fff6e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --paper: #16181c; --quiet: #9aa0a8;
  --line: #363a41; --bad: #ff8a80; --warn: #ffcc66; --good: #7ddb9c; --less: #3a1f1e; --more: #17301f;
  --other: #362d17; } }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0; } h2 { margin-top: 2.5rem; }
.error, .regressed { color: var(--bad); } .warning, .drift, .inconclusive { color: var(--warn); }
.passed, .improved { color: var(--good); } .quiet, .unknown { color: var(--quiet); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
.steps td { width: 50%; font-family: ui-monospace, monospace; font-size: .8rem; }
.deleted, .replaced.before { background: var(--less); }
.inserted, .replaced.after { background: var(--more); }
.changed { background: var(--other); } .failed { color: var(--bad); }
summary { cursor: pointer; }
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_LEVELS: Final[dict[Level, str]] = {
    "error": "failed",
    "warning": "warned",
    "note": "noted",
    "unknown": "cannot be said",
    "passed": "passed",
}
_NEAR: Final = 3
"""Equal steps that are shown around one that is not; what lies further away is folded."""


def render(report: Report, context: Context) -> str:
    return "\n".join(_page(report, context)) + "\n"


def _page(report: Report, context: Context) -> Iterator[str]:
    verdict = verdict_of(report)
    title = _text(f"{verdict.capitalize()}: {sentence_of(report)}"[:200])
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_text(_POLICY)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    yield f'<h1 class="{_text(verdict.split()[0])}">{_text(verdict.capitalize())}</h1>'
    yield f"<p>{_text(sentence_of(report))}</p>"
    yield from _judgements(cases_of(report, context.fail_on))
    yield from _numbers(report)
    for pair in context.steps:
        yield from _side_by_side(pair)
    yield f'<p class="quiet">{_text(OBSERVATIONAL)} Quartermaster {_text(context.version)}.</p>'
    yield "</main>\n</body>\n</html>"


def _judgements(cases: Sequence[Case]) -> Iterator[str]:
    yield "<h2>What was judged</h2>"
    rows = (
        (
            f'<span class="{case.level}">{_LEVELS[case.level]}</span>',
            _text(case.subject),
            _text(case.name),
            "<br>".join(map(_text, (case.sentence, *case.evidence))),
        )
        for case in sorted(cases, key=lambda case: list(_LEVELS).index(case.level))
    )
    yield from _table(("", "mission", "metric", "why"), rows)


def _numbers(report: Report) -> Iterator[str]:
    match report:
        case RegressionReport():
            yield from _numbers_of_pair(report)
        case PairsReport():
            for pair in report.pairs:
                yield from _numbers_of_pair(pair)
        case ComparisonReport():
            yield "<h2>Metrics of both sets</h2>"
            head = ("metric", "verdict", "baseline", "candidate", "95 % interval of the change", "p", "tasks")
            yield from _table(head, (tuple(map(_text, cells)) for cells in _cells_of_sets(report)))
            yield from _notes((*report.comparison.stamps, *report.notes))


def _cells_of_sets(report: ComparisonReport) -> Iterator[tuple[str, ...]]:
    for metric in report.comparison.metrics:
        p = metric.p if metric.adjusted_p is None else metric.adjusted_p
        yield (
            metric.label,
            metric.verdict.replace("_", " "),
            shown(metric, metric.baseline),
            shown(metric, metric.candidate),
            range_of(metric) if metric.interval else "cannot be said",
            "cannot be said" if p is None else probability(p),
            str(metric.tasks),
        )


def _numbers_of_pair(pair: RegressionReport) -> Iterator[str]:
    yield f"<h2>{_text(pair.candidate.mission_id)}</h2>"
    if pair.difference is not None:
        sentences = [change.sentence for change in pair.difference.changes]
        costs = [one.sentence for one in pair.difference.attributions if one.total]
        yield from _notes((*sentences, *costs))
    rows = (
        (
            delta.metric,
            _number(delta.baseline),
            _number(delta.candidate),
            "" if delta.relative is None else f"{100 * delta.relative:+.1f}%",
            delta.state,
        )
        for delta in pair.deltas
    )
    head = ("metric", "baseline", "candidate", "in %", "judged")
    yield from _table(head, (tuple(map(_text, row)) for row in rows))
    yield from _notes(pair.notes)


def _number(value: object) -> str:
    match value:
        case None:
            return "cannot be said"
        case tuple():
            return ", ".join(value) or "none"
        case float():
            return f"{value:,.4g}"
        case _:
            return f"{value:,}"


def _side_by_side(pair: Difference) -> Iterator[str]:
    yield f"<h2>{_text(pair.baseline)} and {_text(pair.candidate)}, step by step</h2>"
    yield from _notes(change.sentence for change in pair.changes)
    near = _near(pair.lines)
    for folded, numbered in groupby(enumerate(pair.lines), key=lambda one: one[0] not in near):
        lines = [line for _, line in numbered]
        if folded:
            yield f"<details>\n<summary>{len(lines):,} equal steps</summary>"
        yield '<div class="wide">\n<table class="steps">'
        yield "<thead><tr><th>baseline</th><th>candidate</th></tr></thead>\n<tbody>"
        yield from map(_line, lines)
        yield "</tbody>\n</table>\n</div>"
        if folded:
            yield "</details>"
    if pair.of_lines > len(pair.lines):
        yield f"<p>{pair.of_lines - len(pair.lines):,} more lines are not shown.</p>"


def _near(lines: Sequence[Line]) -> set[int]:
    telling = [index for index, line in enumerate(lines) if line.change != "equal" or line.flipped]
    return {index + offset for index in telling for offset in range(-_NEAR, _NEAR + 1)}


def _line(line: Line) -> str:
    told = "<br>".join(
        f"{_text(one.key)}: {_text(_value(one.baseline))} → {_text(_value(one.candidate))}"
        for one in line.arguments
    )
    before, after = _step(line.baseline), _step(line.candidate)
    if told:
        after += f"<br>{told}"
    kind = _text(line.change)
    return f'<tr><td class="{kind} before">{before}</td><td class="{kind} after">{after}</td></tr>'


def _value(value: str | None) -> str:
    return "nothing" if value is None else value


def _step(step: StepSeen | None) -> str:
    if step is None:
        return ""
    outcome = ' <span class="failed">failed</span>' if step.succeeded is False else ""
    words = f"<br>{_text(step.words)}" if step.words else ""
    return f"{step.position} {_text(step.kind)} <b>{_text(step.name)}</b>{outcome}{words}"


def _notes(notes: Iterable[str]) -> Iterator[str]:
    told = [f"<li>{_text(note)}</li>" for note in notes]
    if told:
        yield f"<ul>\n{chr(10).join(told)}\n</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Cells are HTML already."""
    yield '<div class="wide">\n<table>\n<thead><tr>'
    yield "".join(f"<th>{_text(one)}</th>" for one in head)
    yield "</tr></thead>\n<tbody>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
    yield "</tbody>\n</table>\n</div>"


def _text(text: str) -> str:
    """A text of a recording as text: nothing in it is markup, and nothing steers what shows it."""
    kept = "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)
    return kept.translate(_ESCAPES)
