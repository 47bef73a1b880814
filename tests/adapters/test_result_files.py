"""Result files of test programs: each desk of `definitions/` asked by the programs themselves.

`python tests/adapters/definitions/make.py KIND` makes the files anew. The first desk answers all but the
question about storms, the second one only two of eight; each is asked everything twice.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from told import SAMPLES, Told

import quartermaster as qm
from quartermaster.adapters import Record, RejectedLine, recognise
from quartermaster.adapters._pytest_cases import dotted, repeats_of
from quartermaster.adapters.deepeval import ADAPTER as DEEPEVAL
from quartermaster.adapters.junit_xml import ADAPTER as JUNIT_XML
from quartermaster.adapters.promptfoo import ADAPTER as PROMPTFOO
from quartermaster.adapters.pytest_json_report import ADAPTER as JSON_REPORT
from quartermaster.adapters.pytest_reportlog import ADAPTER as REPORTLOG

FILES = Path(__file__).resolve().parent / "result_files"
KINDS = sorted(folder.name for folder in FILES.iterdir())
OF_PYTEST = ("junit_xml", "pytest_json_report", "pytest_reportlog")
every_kind = pytest.mark.parametrize("kind", KINDS)


def desk(kind: str, name: str) -> Path:
    (path,) = (FILES / kind).glob(f"{name}.*")
    return path


def entries_of(data: bytes) -> list[dict[str, Any]]:
    """The entries that some format tells, the last one under each id."""
    adapter = recognise(data[:262_144], whole=True)
    assert adapter is not None
    if adapter.line_based:
        reader = adapter.line_reader()
        told = [one for line in data.splitlines() for one in reader.read_line(line, 0)]
        outputs: list[Record | RejectedLine] = [*told, *reader.finish()]
    else:
        outputs = list(adapter.read_document(data))
    read = [json.loads(one.raw) for one in outputs if isinstance(one, Record)]
    return list({entry["id"]: entry for entry in read}.values())


def payloads(data: bytes, entry_type: str) -> list[dict[str, Any]]:
    return [entry["payload"] for entry in entries_of(data) if entry["entry_type"] == entry_type]


def outcomes(data: bytes) -> Counter[str]:
    return Counter(told["outcome"] for told in payloads(data, "mission.outcome"))


@every_kind
def test_a_file_is_recognised(kind: str):
    adapter = recognise(desk(kind, "desk_v1").read_bytes()[:262_144], whole=True)
    assert adapter is not None and adapter.name == kind


@every_kind
def test_outcomes_are_those_that_the_program_counted(kind: str):
    boat = 1 if kind in OF_PYTEST else 0
    assert outcomes(desk(kind, "desk_v1").read_bytes()) == {"succeeded": 14 + boat, "failed": 2}
    assert outcomes(desk(kind, "desk_v2").read_bytes()) == {"succeeded": 4 + boat, "failed": 12}


def test_the_sums_in_the_files_are_the_same():
    stats = json.loads(desk("promptfoo", "desk_v2").read_bytes())["results"]["stats"]
    assert (stats["successes"], stats["failures"], stats["errors"]) == (4, 12, 0)
    run = json.loads(desk("deepeval", "desk_v2").read_bytes())
    assert (run["testPassed"], run["testFailed"]) == (4, 12)
    report = json.loads(desk("pytest_json_report", "desk_v2").read_bytes())
    assert report["summary"] == {"passed": 5, "failed": 12, "skipped": 1, "total": 18, "collected": 18}


@every_kind
def test_each_case_is_a_task_of_two_trials_under_the_same_names_on_both_sides(kind: str):
    sides = [payloads(desk(kind, name).read_bytes(), "mission.created") for name in ("desk_v1", "desk_v2")]
    told = [sorted((one["task"], one["trial"]) for one in side) for side in sides]
    assert told[0] == told[1]
    trials = Counter(task for task, _ in told[0])
    assert sorted(trials.values())[-8:] == [2] * 8
    assert {trial for task, trial in told[0] if trials[task] == 2} == {1, 2}


def compared(before: Path, after: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(qm.compare(before, after).json())
    return report


@every_kind
def test_a_worse_desk_is_a_regression(kind: str):
    report = compared(desk(kind, "desk_v1"), desk(kind, "desk_v2"))
    assert report["verdict"] == "regressed"
    population = report["comparison"]["population"]
    assert population["paired"] and population["tasks"] == (9 if kind in OF_PYTEST else 8)
    assert population["most_trials"] == 2


@every_kind
def test_the_same_desk_is_no_regression(kind: str):
    assert compared(desk(kind, "desk_v1"), desk(kind, "desk_v1"))["verdict"] == "inconclusive"


def test_exit_codes_and_reports_are_those_of_missions(quartermaster, tmp_path: Path):
    before, after = desk("junit_xml", "desk_v1"), desk("junit_xml", "desk_v2")
    worse = quartermaster("compare", before, after, "--format", "markdown", "--report", "junit=report.xml")
    assert worse.returncode == 1
    assert "ission success fell 56 pp" in worse.stdout
    assert (tmp_path / "report.xml").read_text().count("<failure") == 1
    assert quartermaster("compare", before, before, "--strict").returncode == 3
    assert quartermaster("compare", before, before).returncode == 0


@pytest.mark.parametrize(
    ("before", "after"), [("junit_xml", "pytest_reportlog"), ("pytest_json_report", "junit_xml")]
)
def test_reports_of_pytest_pair_with_each_other(before: str, after: str):
    report = compared(desk(before, "desk_v1"), desk(after, "desk_v2"))
    population = report["comparison"]["population"]
    assert (report["verdict"], population["tasks"], population["most_trials"]) == ("regressed", 9, 2)


@pytest.mark.parametrize("kind", ["deepeval", "junit_xml", "promptfoo", "pytest_reportlog"])
def test_a_desk_that_could_not_be_asked_is_no_regression(kind: str):
    (closed,) = (SAMPLES / kind).glob("desk_closed.*")
    assert outcomes(closed.read_bytes())["aborted"] >= 1
    report = compared(desk(kind, "desk_v1"), closed)
    assert report["verdict"] == "not_comparable"
    assert "failed by infrastructure" in report["comparison"]["result"]


def test_a_skipped_test_has_no_outcome_and_is_counted():
    created = payloads(desk("junit_xml", "desk_v1").read_bytes(), "mission.created")
    (winter,) = [one for one in created if one["task"] == "test/desk_pytest.test_winter"]
    assert winter["labels"]["verdict"] == "skipped"
    report = compared(desk("junit_xml", "desk_v1"), desk("junit_xml", "desk_v2"))
    population = report["comparison"]["population"]
    assert population["baseline"]["non_terminal"] == population["candidate"]["non_terminal"] == 1


def test_two_providers_in_one_file_are_held_against_each_other(quartermaster, tmp_path: Path):
    both = json.loads(desk("promptfoo", "desk_v1").read_bytes())
    both["results"]["results"] += json.loads(desk("promptfoo", "desk_v2").read_bytes())["results"]["results"]
    path = tmp_path / "both.json"
    path.write_text(json.dumps(both))
    named = ("--baseline-variant", "desk-v1", "--candidate-variant")
    done = quartermaster("compare", path, path, *named, "desk-v2", "--format", "json")
    population = json.loads(done.stdout)["comparison"]["population"]
    assert (done.returncode, population["baseline"]["missions"], population["in_both_sets"]) == (1, 16, 0)
    unknown = quartermaster("compare", path, path, *named, "desk-v9")
    assert unknown.returncode == 2
    assert "no mission of the variant 'desk-v9'; its variants: desk-v1, desk-v2" in unknown.stderr


def test_promptfoo_tells_words_tokens_cost_and_each_assertion():
    told = Told(PROMPTFOO, desk("promptfoo", "desk_v1").read_bytes())
    stats = json.loads(desk("promptfoo", "desk_v1").read_bytes())["results"]["stats"]
    assert told.counts == (16, 16, 0, 0, stats["tokenUsage"]["total"])
    assert told.cost == pytest.approx(0.06)
    failed = next(one for one in told.payloads("mission.created") if one["labels"]["verdict"] == "failed")
    assert failed["variant"] == "desk-v1"
    assert failed["goal"] == "Answer in one sentence: When does a storm stop the ferry?"
    assert [check["passed"] for check in failed["labels"]["checks"]] == [False, True]


def test_json_and_lines_of_promptfoo_are_the_same_missions():
    sides = [entries_of(desk(kind, "desk_v1").read_bytes()) for kind in ("promptfoo", "promptfoo_lines")]
    tasks = [
        {(one["payload"]["task"], one["payload"]["trial"]) for one in side if "task" in one["payload"]}
        for side in sides
    ]
    assert tasks[0] == tasks[1]


def test_deepeval_tells_tools_and_metrics_also_those_that_could_not_be_measured():
    told = Told(DEEPEVAL, desk("deepeval", "desk_v2").read_bytes())
    assert told.tools == [("timetable", True)] * 16
    storm = [one for one in told.payloads("mission.created") if one["title"] == "storm rule"]
    assert [one["labels"]["verdict"] for one in storm] == ["failed", "failed"]
    assert [(check["name"], check.get("passed")) for check in storm[0]["labels"]["checks"]] == [
        ("Holds the fact", False),
        ("Service line", None),
    ]


def test_what_deepeval_keeps_under_a_name_is_the_same_run():
    run = json.loads(desk("deepeval", "desk_v1").read_bytes())
    kept = json.dumps({"testRunData": run}).encode()
    adapter = recognise(kept, whole=True)
    assert adapter is not None and adapter.name == "deepeval"
    assert Told(DEEPEVAL, kept).raw == Told(DEEPEVAL, run).raw


def test_a_property_of_a_test_is_its_cost_and_its_words():
    told = Told(JUNIT_XML, desk("junit_xml", "desk_v1").read_bytes())
    assert told.cost == pytest.approx(0.06)
    assert len(told.payloads("message.assistant")) == 16


def junit(cases: str, head: str = "") -> bytes:
    suite = '<testsuite name="s" timestamp="2026-01-02T03:04:05" hostname="h" tests="1">'
    body = f"<testsuites>{suite}{cases}</testsuite></testsuites>"
    return f'<?xml version="1.0" encoding="utf-8"?>{head}{body}'.encode()


def test_verdicts_without_words_have_no_cost_and_no_steps(tmp_path: Path):
    case = '<testcase classname="c" name="n{}" time="0.5"/>'
    path = tmp_path / "plain.xml"
    path.write_bytes(junit("".join(case.format(number) for number in range(8))))
    metrics = {one["metric"]: one for one in compared(path, path)["comparison"]["metrics"]}
    assert metrics["total_cost_usd"]["reason"] == "no value in the baseline and the candidate"
    assert metrics["work_steps"]["verdict"] == "not_comparable"
    assert metrics["wall_time"]["baseline"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("inside", "verdict", "reruns"),
    [
        ('<flakyFailure message="once"/><flakyError message="twice"/>', "passed", 2),
        ('<failure message="no"/><rerunFailure message="again no"/>', "failed", 1),
        ('<error message="lost"/>', "errored", None),
        ('<failure message="no"/><error message="teardown"/>', "errored", None),
        ("<skipped/>", "skipped", None),
    ],
)
def test_reruns_are_counted_and_the_last_word_counts(inside: str, verdict: str, reruns: int | None):
    told = Told(JUNIT_XML, junit(f'<testcase classname="c" name="n" time="1">{inside}</testcase>'))
    labels = told.payloads("mission.created")[0]["labels"]
    assert (labels["verdict"], labels.get("reruns")) == (verdict, reruns)


def test_the_same_case_twice_is_two_trials():
    told = Told(JUNIT_XML, junit('<testcase classname="c" name="n"/>' * 2))
    assert [one["trial"] for one in told.payloads("mission.created")] == [1, 2]
    assert len(told.missions) == 2


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE testsuites [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE testsuites SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE testsuites [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_a_document_type_declaration_is_refused_and_fetches_nothing(declaration: str):
    data = junit('<testcase name="&x;"><failure message="&b;"/></testcase>', declaration)
    told = Told(JUNIT_XML, data)
    assert told.raw == []
    assert [one.reason for one in told.rejected] == ["a document type declaration is not read"]
    assert recognise(data, whole=True) is JUNIT_XML


def test_an_unknown_entity_costs_its_case():
    told = Told(JUNIT_XML, junit('<testcase name="&x;"/><testcase name="good"/>'))
    assert len(told.missions) == len(told.rejected) == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("hostile", ["<a>" * 200_000, "<!--" * 200_000, '<testcase name="' * 50_000])
def test_deep_or_open_markup_costs_what_it_stands_in(hostile: str):
    told = Told(JUNIT_XML, junit(f'<testcase name="good"/><testcase name="bad">{hostile}'))
    assert told.missions
    assert told.rejected


def test_a_closed_tag_inside_of_output_is_output():
    inside = "<system-out><![CDATA[</testcase><testcase name='fake'/>]]></system-out>"
    told = Told(JUNIT_XML, junit(f'<testcase name="n">{inside}</testcase>'))
    assert len(told.missions) == 1
    assert not told.rejected


def test_control_characters_in_output_are_mended():
    told = Told(JUNIT_XML, junit('<testcase name="n"><failure message="a\x1b[31m"/></testcase>'))
    assert told.payloads("mission.status_change")[0]["details"] == "a?[31m"


def phase(when: str, outcome: str, **more: Any) -> bytes:
    line = {"$report_type": "TestReport", "nodeid": "t.py::test_a", "when": when, "outcome": outcome}
    return json.dumps(
        line | {"start": 1_700_000_000.0, "duration": 0.1, "user_properties": []} | more
    ).encode()


@pytest.mark.parametrize(
    ("phases", "outcome", "reruns"),
    [
        ([phase("setup", "passed"), phase("call", "passed"), phase("teardown", "failed")], "aborted", None),
        ([phase("setup", "failed"), phase("teardown", "passed")], "aborted", None),
        (
            [
                *(phase("setup", "passed"), phase("call", "rerun"), phase("teardown", "passed")),
                *(phase("setup", "passed"), phase("call", "passed"), phase("teardown", "passed")),
            ],
            "succeeded",
            1,
        ),
    ],
)
def test_a_report_log_tells_a_test_once_it_has_ended(phases: list[bytes], outcome: str, reruns: int | None):
    data = b'{"$report_type": "SessionStart", "pytest_version": "9.2.0"}\n' + b"\n".join(phases)
    assert REPORTLOG.recognises(data, whole=True)
    assert outcomes(data) == {outcome: 1}
    assert payloads(data, "mission.created")[0]["labels"].get("reruns") == reruns


def test_an_expected_failure_has_no_outcome():
    report = {"created": 1.0, "duration": 1.0, "exitcode": 0, "root": "/", "summary": {}}
    tests = [{"nodeid": "t.py::test_a", "outcome": outcome} for outcome in ("xfailed", "xpassed")]
    told = Told(JSON_REPORT, report | {"tests": tests})
    assert told.outcomes == [("succeeded", "harness")]


def test_a_node_id_is_named_as_in_junit_xml():
    assert (
        dotted("tests/api/test_a.py::TestB::test_c[x/y.py::z]") == "tests.api.test_a.TestB.test_c[x/y.py::z]"
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["t[1-2]", "t[2-2]"], {"t[1-2]": ("t", 1), "t[2-2]": ("t", 2)}),
        (["t[a-1-2]", "t[a-2-2]"], {"t[a-1-2]": ("t[a]", 1), "t[a-2-2]": ("t[a]", 2)}),
        (["t[1-3]", "t[2-3]"], {}),
        (["t[1-1]"], {}),
        (["t[trial2]", "t[x-trial1]"], {"t[trial2]": ("t", 2), "t[x-trial1]": ("t[x]", 1)}),
    ],
)
def test_a_repetition_is_told_from_parameters_by_being_complete(names: list[str], expected: dict[str, Any]):
    assert repeats_of(names) == expected
