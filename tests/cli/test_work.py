"""Ingest, missions, show, journal and eval: the same on a home, beside a daemon and through its API."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from quartermaster.core.tokens import new_token

BASELINE = "demo-login-fix-baseline"
CANDIDATE = "demo-login-fix-candidate"

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["a home", "a home beside its daemon", "a daemon through its API"])
def command(request: pytest.FixtureRequest, quartermaster, start_daemon) -> Command:
    """Runs commands on each kind of target."""
    if request.param == "a home":
        return quartermaster
    daemon = start_daemon()
    if request.param == "a home beside its daemon":
        return quartermaster

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return quartermaster(*arguments, QUARTERMASTER_URL=daemon.url, QUARTERMASTER_TOKEN=daemon.token)

    return run


def rows(done: "subprocess.CompletedProcess[str]") -> list[dict]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_not_examined_yet_is_not_told_as_nothing_found(quartermaster, samples: Path):
    quartermaster("ingest", samples / "native")
    for filters in ((), ("--failure-mode", "tool_loop")):
        listed = quartermaster("missions", *filters)
        assert listed.returncode == 0
        assert "2 of 2 missions are not examined yet" in listed.stderr
    for mission in (BASELINE, CANDIDATE):
        assert quartermaster("show", mission).returncode == 0
    known = quartermaster("missions", "--failure-mode", "tool_loop", "--format", "json")
    assert [row["mission_id"] for row in rows(known)] == [CANDIDATE]
    assert known.stderr == ""


@pytest.mark.parametrize(
    ("option", "hint"), [("--failure-mode", "tool_loop"), ("--trace-format", "claude_code")]
)
def test_a_filter_that_names_what_does_not_exist_is_refused_with_what_does(quartermaster, option, hint):
    refused = quartermaster("missions", option, "nope")
    assert refused.returncode == 2
    assert hint in refused.stderr


def test_recordings_become_missions_and_a_worse_candidate_is_found(command: Command, samples: Path):
    ledger = rows(command("ingest", samples, "--format", "json"))
    assert {row["format"] for row in ledger} >= {"native", "native_document", "claude_code", "tau_bench"}
    assert all(row["accepted"] and not row["rejected"] for row in ledger)

    missions = rows(command("missions", "--format", "json"))
    assert {BASELINE, CANDIDATE} <= {row["mission_id"] for row in missions}
    (found,) = rows(command("missions", "--q", "login-fix-b", "--format", "json"))
    assert found["outcome"] == "succeeded"

    shown = json.loads(command("show", "demo-login-fix-c", "--format", "json").stdout)
    assert shown["failure_modes"][0]["failure_mode"] == "tool_loop"
    assert {metric["name"] for metric in shown["metrics"]} >= {"tool_success_rate", "total_cost_usd"}

    replayed = command("eval", "replay", BASELINE, "--seed", "7", "--wait", "--format", "json")
    assert replayed.returncode == 0
    row = json.loads(replayed.stdout)
    assert (row["status"], row["result"], row["seed"]) == ("completed", "ok", 7)
    assert row["report"]["mission"]["mission_id"] == BASELINE

    compared = command("eval", "regression", "demo-login-fix-b", "demo-login-fix-c", "--wait")
    assert compared.returncode == 1
    assert "Regressed" in compared.stdout
    assert "tool success dropped" in compared.stdout

    runs = rows(command("eval", "runs", "--format", "json"))
    assert [run["kind"] for run in runs] == ["regression", "replay"]
    got = command("eval", "get", runs[0]["id"][:10], "--format", "json")
    assert got.returncode == 1
    assert json.loads(got.stdout)["report"]["verdict"] == "regressed"

    told = rows(command("journal", "--run-id", runs[0]["id"], "--entry-type", "eval.run_completed",
                        "--entry-type", "eval.regression_detected", "--format", "json"))  # fmt: skip
    assert {entry["entry_type"] for entry in told} == {"eval.run_completed", "eval.regression_detected"}
    assert all(entry["payload"]["run_id"] == runs[0]["id"] for entry in told)


def test_ids_may_be_unique_prefixes_or_latest_and_nothing_is_guessed(command: Command, samples: Path):
    command("ingest", samples / "native")
    assert command("show", CANDIDATE).returncode == 0
    assert command("show", "latest").returncode == 0
    ambiguous = command("show", "demo")
    assert ambiguous.returncode == 2
    assert BASELINE in ambiguous.stderr
    assert CANDIDATE in ambiguous.stderr
    assert command("show", "emo-login-fix-b").returncode == 2
    assert command("show", "").returncode == 2
    assert command("eval", "get", "latest").returncode == 2
    assert "no run yet" in command("eval", "get", "latest").stderr


def test_reading_a_recording_again_adds_nothing(command: Command, samples: Path):
    first = rows(command("ingest", samples / "native", "--format", "json"))
    again = command("ingest", samples / "native", "--format", "json")
    assert again.returncode == 0
    assert sum(row["accepted"] for row in first) == 101
    assert len(rows(command("journal", "--limit", "500", "--format", "json"))) == 101


def test_lists_longer_than_a_page_come_whole(command: Command, tmp_path: Path):
    lines = [
        json.dumps({"ts": "2027-01-01T00:00:00Z", "entry_type": "note", "mission_id": f"m{number:04}"})
        for number in range(1_100)
    ]
    (tmp_path / "many.ndjson").write_text("\n".join(lines) + "\n")
    command("ingest", tmp_path / "many.ndjson")
    listed = command("missions", "--limit", "1050", "--format", "ndjson").stdout.splitlines()
    assert len({json.loads(line)["mission_id"] for line in listed}) == 1_050
    listed = command("journal", "--limit", "1060", "--format", "ndjson").stdout.splitlines()
    assert len(listed) == 1_060


def test_bad_filters_are_usage_errors(command: Command, samples: Path):
    command("ingest", samples / "native")
    assert command("journal", "--since", "yesterday").returncode == 2
    assert command("missions", "--until", "1").returncode == 2
    assert command("missions", "--outcome", "succeded").returncode == 2
    assert command("journal", "--q", "x" * 201).returncode == 2


def test_a_workspace_that_is_not_there_is_refused(command: Command, samples: Path):
    command("ingest", samples / "native")
    assert command("missions", "--workspace", "nowhere").returncode in (2, 4)
    assert command("missions", "--workspace", "local").returncode == 0


def test_a_bad_line_is_named_and_the_rest_is_read(command: Command, tmp_path: Path):
    path = tmp_path / "mixed.ndjson"
    good = '{"ts": "2027-01-01T00:00:00Z", "entry_type": "note", "mission_id": "m"}'
    path.write_text(f"{good}\nnonsense\n" + good.replace("00Z", "01Z") + "\n")
    done = command("ingest", path, "--format", "json")
    (row,) = json.loads(done.stdout)
    assert (done.returncode, row["accepted"], row["rejected"]) == (0, 2, 1)
    assert "not valid JSON" in done.stderr


def test_nothing_understood_is_no_success(command: Command, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("dear diary\n")
    done = command("ingest", tmp_path / "notes.txt", "--format", "json")
    assert done.returncode == 2
    (row,) = json.loads(done.stdout)
    assert row["format"] is None
    assert "format" in done.stderr
    (tmp_path / "empty").mkdir()
    empty = command("ingest", tmp_path / "empty")
    assert (empty.returncode, empty.stderr) == (2, f"no files in {tmp_path / 'empty'}\n")
    missing = command("ingest", tmp_path / "missing")
    assert missing.returncode == 2
    assert str(tmp_path / "missing") in missing.stderr


def test_two_workspaces_see_their_own(quartermaster, samples: Path):
    quartermaster("workspace", "create", "team")
    assert quartermaster("ingest", samples / "native", "--workspace", "team").returncode == 0
    assert rows(quartermaster("missions", "--format", "json")) == []
    assert len(rows(quartermaster("missions", "--workspace", "team", "--format", "json"))) == 2


def test_strict_tells_that_there_was_no_verdict(quartermaster, tmp_path: Path):
    entries = [
        {"ts": "2027-01-01T00:00:00Z", "entry_type": entry_type, "mission_id": mission}
        for entry_type, mission in (("exec.command", "full"), ("note", "empty"))
    ]
    (tmp_path / "two.ndjson").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    quartermaster("ingest", tmp_path / "two.ndjson")
    assert quartermaster("eval", "regression", "full", "empty", "--wait").returncode == 0
    done = quartermaster("eval", "regression", "full", "empty", "--wait", "--strict")
    assert done.returncode == 3
    assert "Not comparable" in done.stdout


def test_thresholds_of_the_settings_decide_a_local_comparison(quartermaster, samples: Path, home: Path):
    quartermaster("ingest", samples / "native")
    (home / "config.toml").write_text(
        "[eval.thresholds]\ntool_success_drop = 1\nsteps_rise = 9\ncost_rise = 9\nhallucinations_rise = 9\n"
    )
    assert quartermaster("eval", "regression", BASELINE, CANDIDATE, "--wait").returncode == 0


def test_without_a_daemon_a_run_is_done_when_the_command_ends(quartermaster, samples: Path):
    quartermaster("ingest", samples / "native")
    row = json.loads(quartermaster("eval", "replay", BASELINE, "--format", "json").stdout)
    assert row["status"] == "completed"


def test_with_a_daemon_a_run_that_is_not_waited_for_is_queued_and_told(
    quartermaster, start_daemon, samples: Path
):
    start_daemon()
    quartermaster("ingest", samples / "native")
    done = quartermaster("eval", "replay", BASELINE, "--format", "json")
    row = json.loads(done.stdout)
    assert done.returncode == 0
    assert row["status"] in ("queued", "running")
    assert f"quartermaster eval get {row['id']}" in done.stderr


def test_evaluations_at_once_without_a_daemon_all_end(quartermaster, samples: Path):
    quartermaster("ingest", samples / "native")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: quartermaster("eval", "replay", BASELINE, "--wait"), range(4)))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]


def test_not_being_allowed_ends_with_4(quartermaster, start_daemon):
    daemon = start_daemon()
    assert quartermaster("missions", "--url", daemon.url).returncode == 4
    unknown, _, _ = new_token(b"a token that nobody was given, ever")
    assert quartermaster("missions", "--url", daemon.url, "--token", unknown).returncode == 4
    mistyped = quartermaster("missions", "--url", daemon.url, "--token", "qm_wrong")
    assert mistyped.returncode == 2, "nothing is sent that cannot be a token"
    quartermaster("member", "add", "ann", "--role", "viewer")
    token = quartermaster("token", "create", "--user", "ann").stdout.strip()
    assert quartermaster("missions", "--url", daemon.url, "--token", token).returncode == 0
    denied = quartermaster("eval", "replay", "x", "--url", daemon.url, "--token", token)
    assert denied.returncode in (2, 4)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:9", "http://[::1]:9"])
def test_a_daemon_that_does_not_answer_ends_with_5(quartermaster, url: str):
    done = quartermaster("missions", "--url", url)
    assert done.returncode == 5
    assert "is `quartermaster serve` running?" in done.stderr


@pytest.mark.parametrize("url", ["ftp://x", "http://", "", "nonsense://"])
def test_an_address_that_is_none_ends_with_2(quartermaster, url: str):
    assert quartermaster("missions", "--url", url).returncode == 2


def test_an_answer_of_another_program_is_not_taken_for_ours(quartermaster):
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = quartermaster("missions", "--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert done.returncode == 5
    assert "no Quartermaster" in done.stderr


def test_a_replay_of_a_real_inbox_is_the_same_as_of_an_ingest(quartermaster, samples: Path, home: Path):
    quartermaster("ingest", samples / "native")
    first = json.loads(quartermaster("eval", "replay", BASELINE, "--wait", "--format", "json").stdout)
    other = home.parent / "other"
    shutil.copytree(samples / "native", home.parent / "copied")
    quartermaster("ingest", home.parent / "copied", "--home", other)
    second = json.loads(
        quartermaster("eval", "replay", BASELINE, "--wait", "--format", "json", "--home", other).stdout
    )
    assert first["signature"] == second["signature"]
