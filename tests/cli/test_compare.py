"""`quartermaster compare`: recordings where they lie, missions of a home, sets of either."""

import json
from pathlib import Path

import pytest
from suites import entry, mission, suite, write
from told import NO_TRACES, TRACES


def test_two_files_of_one_mission_are_held_against_the_thresholds(quartermaster, tmp_path: Path):
    before = write(tmp_path / "before.ndjson", mission("m", commands=10))
    after = write(tmp_path / "after.ndjson", mission("m", commands=10, failed=3))
    done = quartermaster("compare", str(before), str(after), "--format", "json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["result"] == "regressed: tool success dropped 30.0% (> 5% threshold)"
    assert report["baseline"]["mission_id"] == report["candidate"]["mission_id"] == "m"


def test_recordings_are_compared_without_a_home_and_leave_nothing_behind(
    quartermaster, tmp_path: Path, home: Path
):
    before = write(tmp_path / "before.ndjson", mission("m"))
    listed = sorted(tmp_path.rglob("*"))
    done = quartermaster("compare", str(before), str(before))
    assert done.returncode == 0
    assert "Unchanged" in done.stdout
    assert not home.exists()
    assert sorted(tmp_path.rglob("*")) == listed


def test_two_sets_are_paired_by_task_and_tested(quartermaster, tmp_path: Path):
    before = write(tmp_path / "before.ndjson", *suite("v1"))
    after = write(tmp_path / "after.ndjson", *suite("v2", failing=range(8)))
    done = quartermaster("compare", str(before), str(after))
    assert done.returncode == 1
    assert done.stdout.startswith("Regressed")
    assert "Mission success fell 67 pp (100 % -> 33 %, 12 tasks" in done.stdout


def test_a_difference_that_may_be_noise_is_inconclusive_and_fails_only_when_strict(
    quartermaster, tmp_path: Path
):
    before = write(tmp_path / "before.ndjson", *suite("v1", failing=[0, 1]))
    after = write(tmp_path / "after.ndjson", *suite("v2", failing=[1, 2, 3]))
    done = quartermaster("compare", str(before), str(after))
    assert done.returncode == 0
    assert "Inconclusive" in done.stdout
    assert quartermaster("compare", str(before), str(after), "--strict").returncode == 3


def test_what_fails_can_be_chosen(quartermaster, tmp_path: Path):
    before = write(tmp_path / "before.ndjson", mission("m", commands=10))
    after = write(tmp_path / "after.ndjson", mission("m", commands=10, failed=3))
    assert quartermaster("compare", str(before), str(after), "--fail-on", "never").returncode == 0
    assert quartermaster("compare", str(before), str(after), "--fail-on", "breach").returncode == 1


def test_a_session_that_only_went_on_is_called_a_continuation_and_fails_no_gate(
    quartermaster, tmp_path: Path
):
    told = mission("m", commands=4)[:-2]
    before = write(tmp_path / "before.ndjson", told)
    after = write(tmp_path / "after.ndjson", mission("m", commands=30)[:-2])
    done = quartermaster("compare", str(before), str(after))
    assert done.returncode == 0
    assert "a continuation of the same session: 26 more steps" in done.stdout
    assert "no sign of doing worse" in done.stdout


def test_a_few_sessions_without_tasks_are_compared_one_by_one(quartermaster, tmp_path: Path):
    before = write(tmp_path / "before.ndjson", mission("a", commands=10), mission("b"))
    after = write(tmp_path / "after.ndjson", mission("a", commands=10, failed=4), mission("b"), mission("c"))
    done = quartermaster("compare", str(before), str(after), "--format", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["kind"], report["only_in_candidate"]) == (1, "pairs", ["c"])
    assert report["result"] == "a: regressed: tool success dropped 40.0% (> 5% threshold)"
    shown = quartermaster("compare", str(before), str(after)).stdout
    assert "four tool results turned into failures" in shown.lower()


def test_missions_of_a_home_are_compared_by_what_is_known_of_them(quartermaster, tmp_path: Path):
    recorded = write(tmp_path / "both.ndjson", *suite("v1"), *suite("v2", failing=range(8)))
    quartermaster("ingest", str(recorded))
    done = quartermaster("compare", "variant=v1", "variant=v2", "--format", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["kind"], report["verdict"]) == (1, "comparison", "regressed")
    assert report["comparison"]["population"]["tasks"] == 12
    pair = json.loads(quartermaster("compare", "v1-0", "v2-0", "--format", "json").stdout)
    assert pair["kind"] == "regression"
    listed = json.loads(quartermaster("eval", "runs", "--format", "json").stdout)
    assert [row["kind"] for row in listed] == ["regression", "comparison"]


def test_a_set_may_be_named_by_ids_or_by_labels(quartermaster, tmp_path: Path):
    labelled = entry("v1-0", 57, "mission.created", {"labels": {"suite": "night"}})
    write(tmp_path / "both.ndjson", *suite("v1"), [labelled])
    quartermaster("ingest", str(tmp_path / "both.ndjson"))
    done = quartermaster("compare", "v1-0,v1-1", "suite=night", "--format", "json")
    population = json.loads(done.stdout)["comparison"]["population"]
    assert (population["baseline"]["missions"], population["candidate"]["missions"]) == (2, 1)


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        (("nothing.ndjson", "before.ndjson"), "there is no file or folder 'nothing.ndjson'"),
        (("before.ndjson", "empty"), "the candidate holds no files"),
        (("before.ndjson", "notes.txt"), "no recorded mission in the candidate"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(quartermaster, tmp_path: Path, sides, words):
    write(tmp_path / "before.ndjson", mission("m"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing that was recorded\n")
    done = quartermaster("compare", *sides)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        (("variant=v1", "variant=v11"), "candidate: no mission is selected by 'variant=v11'"),
        (("suite=night", "variant=v1"), "baseline: no mission is selected by 'suite=night'"),
        (("gone/before", "gone/after"), "there is no file, folder or mission 'gone/before'"),
    ],
)
def test_a_side_that_names_nothing_is_an_error_and_no_verdict(quartermaster, tmp_path: Path, sides, words):
    quartermaster("ingest", str(write(tmp_path / "one.ndjson", *suite("v1"))))
    done = quartermaster("compare", *sides)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


@pytest.mark.parametrize("text", ["since=yesterday", "variant=v1,nothing"])
def test_a_description_that_is_none_is_refused(quartermaster, tmp_path: Path, text):
    quartermaster("ingest", str(write(tmp_path / "one.ndjson", *suite("v1"))))
    done = quartermaster("compare", text, "variant=v1")
    assert done.returncode == 2
    assert done.stderr.startswith("quartermaster: baseline: ")


@pytest.mark.skipif(not TRACES.is_dir(), reason=NO_TRACES)
def test_a_real_agent_that_got_worse_is_told_from_noise(quartermaster):
    folder = TRACES / "tau_bench"
    before, after = (
        folder / "retail_toolcalling__tasks00-39.json",
        folder / "retail_assertions_0618__tasks00-39.json",
    )
    done = quartermaster("compare", str(before), str(after))
    assert done.returncode == 1
    assert "Mission success fell 38 pp (70 % -> 32 %, 40 tasks" in done.stdout
    assert "not like for like" in done.stdout, "its missions got shorter because many of them ended early"
