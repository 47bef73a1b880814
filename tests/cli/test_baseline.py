"""Baselines from the command line: frozen in one home, verified in another, accepted with a reason."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from suites import suite, write
from told import NO_TRACES, TRACES

from quartermaster import cli


@pytest.fixture
def command(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs a command in this process: most of these tests take many of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUARTERMASTER_HOME", str(home))

    def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        with monkeypatch.context() as changed:
            for name, value in environment.items():
                changed.setenv(name, value)
            code = cli.execute([str(one) for one in arguments])
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


def told(done):
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write(tmp_path / "before.ndjson", *suite("v1")),
        write(tmp_path / "after.ndjson", *suite("v2", failing=range(8))),
    )


def test_a_verdict_on_a_frozen_baseline_is_verified_in_a_second_empty_home(
    quartermaster, tmp_path: Path, sides
):
    before, after = sides
    quartermaster("ingest", before, after)
    frozen = told(quartermaster("baseline", "freeze", "main", "variant=v1", "--format", "json"))
    assert (frozen[0]["missions"], frozen[0]["version"]) == (12, 1)
    report = told(quartermaster("compare", "baseline:main", "variant=v2", "--format", "json"))
    assert report["verdict"] == "regressed"
    assert report["provenance"]["baseline"] == frozen[0]["digest"]
    (run,) = told(quartermaster("eval", "runs", "--format", "json"))
    quartermaster("eval", "get", run["id"], "--evidence", tmp_path / "evidence")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(tmp_path / "evidence", elsewhere / "evidence")
    second = {"QUARTERMASTER_HOME": str(tmp_path / "second")}
    verified = quartermaster("verify", elsewhere / "evidence/report.json", **second)
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.startswith("Identical: regressed.")
    assert not (tmp_path / "second").exists()


def test_a_baseline_in_a_repository_needs_no_home(command, tmp_path: Path, home: Path, sides):
    before, after = sides
    file = tmp_path / "main.qmb"
    command("baseline", "freeze", "main", before, "--output", file, "--reason", "first")
    assert command("compare", file, before).returncode == 0
    red = command("compare", file, after)
    assert red.returncode == 1
    assert "Mission success fell 67 pp" in red.stdout
    assert command("baseline", "diff", file, after).returncode == 1

    accepted = command("baseline", "accept", file, after, "--reason", "slower tasks", "--by", "ann")
    assert accepted.returncode == 0, accepted.stderr
    assert command("compare", file, after).returncode == 0
    shown = told(command("baseline", "show", file, "--format", "json"))
    assert [(one["version"], one["reason"]) for one in shown["history"]] == [
        (2, "slower tasks"),
        (1, "first"),
    ]
    assert shown["created_by"] == "ann"
    assert not home.exists()


def test_a_comparison_of_recordings_leaves_one_file_that_can_be_verified(command, tmp_path: Path, sides):
    evidence = tmp_path / "evidence.json"
    done = command("compare", *sides, "--evidence", evidence, "--format", "json")
    assert done.returncode == 1
    assert command("verify", evidence).returncode == 0
    report = json.loads(evidence.read_text())
    evidence.write_text(json.dumps(report | {"verdict": "improved"}))
    differs = command("verify", evidence, "--format", "json")
    assert differs.returncode == 1
    assert json.loads(differs.stdout)["differences"] == [
        {"field": "verdict", "told": '"improved"', "recomputed": '"regressed"'}
    ]


def test_a_report_without_its_capsules_or_with_damaged_ones_is_refused_in_one_line(
    command, tmp_path: Path, sides
):
    command("compare", *sides, "--evidence", tmp_path / "evidence")
    (capsule, other) = sorted((tmp_path / "evidence").glob("*.qmb"))
    whole = capsule.read_bytes()
    capsule.write_bytes(whole[:-9])
    damaged = command("verify", tmp_path / "evidence/report.json")
    capsule.unlink()
    missing = command("verify", tmp_path / "evidence/report.json")
    shutil.copy(other, capsule)
    nothing = command("verify", capsule)
    for done, words in (
        (damaged, "damaged or cut off"),
        (missing, "neither inside of the report nor a .qmb file beside it"),
        (nothing, "not valid JSON"),
    ):
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_what_was_accepted_stays_in_the_history_and_in_the_journal(command, sides):
    command("ingest", *sides)
    command("baseline", "freeze", "main", "variant=v1")
    again = command("baseline", "freeze", "main", "variant=v2")
    assert (again.returncode, "accept the missions for it instead" in again.stderr) == (2, True)
    without = command("baseline", "accept", "main", "variant=v2")
    assert (without.returncode, "--reason" in without.stderr) == (2, True)
    command("baseline", "accept", "main", "variant=v2", "--reason", "known", "--by", "ann")
    shown = told(command("baseline", "show", "main", "--format", "json"))
    assert [(one["version"], one["reason"]) for one in shown["history"]] == [(2, "known"), (1, None)]
    entries = told(command("journal", "--entry-type", "baseline.accepted", "--format", "json"))
    assert [(one["actor_id"], one["payload"]["reason"]) for one in entries] == [("ann", "known")]
    assert entries[0]["payload"]["former"] == shown["history"][1]["digest"]
    assert command("baseline", "diff", "main", "variant=v2").returncode == 0


def test_one_mission_is_compared_with_that_of_its_task_in_the_baseline(command, sides):
    command("ingest", *sides)
    command("baseline", "freeze", "main", "variant=v1")
    report = told(command("compare", "baseline:main", "v2-3", "--format", "json"))
    assert report["kind"] == "regression"
    assert (report["baseline"]["mission_id"], report["candidate"]["mission_id"]) == ("v1-3", "v2-3")


def test_a_price_file_that_flips_a_verdict_is_named_and_changes_nothing_that_was_said(
    command, tmp_path: Path
):
    def priced(variant, tokens):
        for one in suite(variant, cost=None):
            yield [
                line.replace('"total_tokens": 10', f'"input_tokens": {tokens}, "output_tokens": 9')
                for line in one
            ]

    command("ingest", write(tmp_path / "both.ndjson", *priced("v1", 1_000), *priced("v2", 1_400)))
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('["m"]\ninput = 1\noutput = 1\n')
    second.write_text('["m"]\ninput = 0.0001\noutput = 1000\n')
    then, now = ({"QUARTERMASTER_EVAL_PRICE_FILE": str(one)} for one in (first, second))
    command("baseline", "freeze", "main", "variant=v1", **then)
    before = told(command("compare", "v1-0", "v2-0", "--format", "json", **then))
    assert before["regressed_metrics"] == ["total_cost_usd"]
    assert told(command("recompute", "--dry-run", "--format", "json", **then)) == []

    flipping = command("recompute", "--dry-run", "--format", "json", **now)
    assert flipping.returncode == 1
    run, baseline = json.loads(flipping.stdout)
    assert (run["kind"], run["because"], run["was"].startswith("regressed")) == (
        "regression",
        ["prices"],
        True,
    )
    assert (baseline["kind"], baseline["id"], baseline["because"]) == ("baseline", "main", ["prices"])
    assert "total_cost_usd of 12 missions" in baseline["now"]

    made = json.loads(command("recompute", "--format", "json", **now).stdout)
    assert made[0]["new_run"]
    old = told(command("eval", "get", run["id"], "--format", "json", **now))
    assert old["report"] == before
    fresh = told(command("eval", "get", made[0]["new_run"], "--format", "json", **now))
    assert fresh["report"]["regressed"] is False


def test_missions_that_retention_removed_are_still_verified_from_their_capsules(
    command, tmp_path: Path, sides
):
    command("ingest", *sides)
    command("baseline", "freeze", "main", "variant=v1")
    command("compare", "baseline:main", "variant=v2")
    command("retention", "set", "--size", "1")
    command("retention", "run")
    left = told(command("missions", "--format", "json"))
    assert {row["variant"] for row in left} == {"v1"}, "a baseline keeps its missions"
    for row in left:
        command("retention", "release", row["mission_id"], "--reason", "baseline main")
    command("retention", "run")
    assert told(command("missions", "--format", "json")) == []

    (run,) = told(command("eval", "runs", "--format", "json"))
    command("eval", "get", run["id"], "--evidence", tmp_path / "evidence")
    assert command("verify", tmp_path / "evidence/report.json").returncode == 0
    listed = told(command("recompute", "--dry-run", "--all", "--format", "json"))
    assert [(one["flips"], one["note"]) for one in listed if one["kind"] == "comparison"] == [
        (False, "24 of its missions are gone")
    ]
    assert told(command("compare", "baseline:main", sides[1], "--format", "json"))["verdict"] == "regressed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "gone.qmb", "before.ndjson"), "there is no file 'gone.qmb'"),
        (("compare", "baseline:nothing", "variant=v1"), "no baseline 'nothing'"),
        (("baseline", "freeze", "a/b", "variant=v1"), "the name of a baseline has"),
        (("baseline", "freeze", "main", "variant=v9"), "no mission is selected"),
        (("baseline", "accept", "main", "variant=v1", "--reason", "so"), "no baseline 'main'"),
        (("baseline", "show", "main"), "no baseline 'main'"),
        (("verify", "gone.json"), "there is no file 'gone.json'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(command, sides, arguments, words):
    command("ingest", sides[0])
    done = command(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not TRACES.is_dir(), reason=NO_TRACES)
def test_a_baseline_of_a_real_agent_is_verified_in_a_second_home(quartermaster, tmp_path: Path):
    folder = TRACES / "tau_bench"
    before = folder / "retail_toolcalling__tasks00-39.json"
    after = folder / "retail_assertions_0618__tasks00-39.json"
    quartermaster("baseline", "freeze", "main", before)
    done = quartermaster("compare", "baseline:main", after, "--evidence", tmp_path / "evidence")
    assert "Mission success fell 38 pp (70 % -> 32 %, 40 tasks" in done.stdout
    second = {"QUARTERMASTER_HOME": str(tmp_path / "second")}
    verified = quartermaster("verify", tmp_path / "evidence/report.json", **second)
    assert (verified.returncode, verified.stdout.split(":")[0]) == (0, "Identical")
