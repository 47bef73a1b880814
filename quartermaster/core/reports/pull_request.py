"""A report as Markdown for a pull request: an alert with the verdict, what failed, the evidence folded.

The first line is a marker that stays the same, so that one comment is updated and no second one written.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from quartermaster.core.report import PairsReport, RegressionReport, Report, render_markdown
from quartermaster.core.reports.cases import Case, Context, Level, cases_of, sentence_of, verdict_of
from quartermaster.core.set_report import line_of

MARKER: Final = "<!-- quartermaster-report -->"
MOST_CHARACTERS: Final = 65_536
"""The longest comment that GitHub takes."""

_ALERTS: Final = {
    "regressed": "CAUTION",
    "drift": "WARNING",
    "inconclusive": "WARNING",
    "not comparable": "WARNING",
    "improved": "TIP",
}
_SIGNS: Final[dict[Level, str]] = {
    "error": "❌ failed",
    "warning": "⚠️ warned",
    "note": "📝 noted",
    "unknown": "❔ cannot be said",
    "passed": "✅ passed",
}
_MOST_ROWS: Final = 40
_RESERVE: Final = 200
_OUTSIDE_OF_CODE: Final = re.compile(r"\\.|`[^`\n]*`|@")


def render(report: Report, context: Context) -> str:
    head = "\n".join(_head(report, cases_of(report, context.fail_on))) + "\n"
    return _without_mentions(_bounded(head, _sections(report)))


def _head(report: Report, cases: Sequence[Case]) -> Iterator[str]:
    verdict = verdict_of(report)
    yield MARKER
    yield f"> [!{_ALERTS.get(verdict, 'NOTE')}]"
    yield f"> **{verdict.capitalize()}.** {line_of(sentence_of(report)[:1000])}"
    yield ""
    telling = [case for level in ("error", "warning", "note") for case in cases if case.level == level]
    for case in telling[:_MOST_ROWS]:
        yield f"- {_SIGNS[case.level]}: **{line_of(case.subject[:200])}**, {line_of(case.sentence[:600])}"
        yield from (f"  - {line_of(one[:600])}" for one in case.evidence)
    if len(telling) > _MOST_ROWS:
        yield f"- {len(telling) - _MOST_ROWS} more are in the full report"
    counts = {level: sum(case.level == level for case in cases) for level in _SIGNS}
    yield ""
    yield " · ".join(f"{count} {_SIGNS[level]}" for level, count in counts.items() if count)


def _sections(report: Report) -> Iterator[tuple[str, str]]:
    """What is folded, each with its title; of several pairs those that got worse come first."""
    if isinstance(report, PairsReport):
        for pair in sorted(report.pairs, key=lambda pair: not pair.regressed):
            yield _title_of(pair), render_markdown(pair)
    else:
        yield "Evidence", render_markdown(report)


def _title_of(pair: RegressionReport) -> str:
    return f"{pair.verdict.capitalize()}: {pair.candidate.mission_id[:200]}"


def _bounded(head: str, sections: Iterator[tuple[str, str]]) -> str:
    text, left_out = head[: MOST_CHARACTERS - _RESERVE], 0
    for title, markdown in sections:
        section = f"\n<details>\n<summary>{_inside_html(title)}</summary>\n\n"
        section += f"{_one_level_down(markdown)}\n</details>\n"
        if _length(text) + _length(section) + _RESERVE > MOST_CHARACTERS:
            left_out += 1
        else:
            text += section
    if left_out:
        many = "1 section is" if left_out == 1 else f"{left_out} sections are"
        text += f"\n{many} too long for a comment; the JSON and HTML reports hold everything.\n"
    return text


def _inside_html(text: str) -> str:
    line = "".join(char if char.isprintable() else " " for char in text)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _length(text: str) -> int:
    """As it will be once no name is mentioned."""
    return len(text) + text.count("@")


def _one_level_down(markdown: str) -> str:
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in markdown.splitlines())


def _without_mentions(markdown: str) -> str:
    """A recorded `@name` must notify nobody: a character without width stands behind the sign."""
    return _OUTSIDE_OF_CODE.sub(lambda found: "@\u200b" if found[0] == "@" else found[0], markdown)
