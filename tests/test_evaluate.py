"""From a stored mission to the outcome of a run, and whole runs without a daemon."""

import json
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from quartermaster import evaluate
from quartermaster.core.comparison import Profile
from quartermaster.core.pricing import own_prices_of
from quartermaster.core.run import Completed, Failed, Outcome, Run
from quartermaster.errors import NotFound
from quartermaster.evaluate import Stopped, execute_here, nothing_to_check, outcome_of
from quartermaster.store import access, journal, runs
from quartermaster.store.database import Database
from quartermaster.worker import Evaluation
from quartermaster.workers import worker_command

COMMANDS = [
    {"entry_type": "exec.command", "payload": {"command": f"step {n}", "exit_code": 0}} for n in range(4)
]
CALL = {"entry_type": "llm.call", "payload": {"model": "no-such-model", "input_tokens": 10, "cost_usd": 0.5}}
UNPRICED = {"entry_type": "llm.call", "payload": {"model": "no-such-model"}}
BLOCKED = {"entry_type": "guardrail.output_blocked", "severity": "warn", "payload": {}}
DONE = {"entry_type": "mission.status_change", "payload": {"to_status": "completed"}}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "quartermaster.db") as database:
        database.write_blocking(
            lambda c: access.create_workspace(c, "local", workspace_id="local", name="local", now=1)
        )
        yield database


def add_mission(database: Database, mission_id: str, *entries: dict) -> None:
    facts = [
        {
            "id": f"{mission_id}-{n}",
            "mission_id": mission_id,
            "ts": f"2026-01-01T00:{n // 60:02d}:{n % 60:02d}Z",
        }
        | entry
        for n, entry in enumerate(entries)
    ]
    database.write_blocking(lambda c: journal.append_facts(c, 1, facts, now=1))


def queue(database: Database, **fields: object) -> str:
    run_id = "er_" + secrets.token_hex(8)
    asked = {"kind": "replay", "seed": 0} | fields
    database.write_blocking(lambda c: runs.queue_run(c, 1, run_id=run_id, created_by=None, now=1, **asked))
    return run_id


def claimed(database: Database, **fields: object) -> Run:
    run_id = queue(database, **fields)
    run = database.write_blocking(lambda c: runs.claim_run(c, 1, run_id, boot_id="b", now=1))
    assert run is not None
    return run


def evaluated(database: Database, check=nothing_to_check, **fields: object) -> Completed | Failed:
    run = claimed(database, **fields)
    return database.read_blocking(lambda c: outcome_of(c, run, Profile(), check=check))


def compared(database: Database, baseline: str, candidate: str) -> Completed:
    sides = {"baseline_mission_id": baseline, "candidate_mission_id": candidate}
    outcome = evaluated(database, kind="regression", **sides)
    assert isinstance(outcome, Completed)
    return outcome


def execute(database: Database, run_id: str, deadline_seconds: float = 60) -> Run:
    return execute_here(database, 1, run_id, profile=Profile(), deadline_seconds=deadline_seconds)


def test_a_replay_measures_the_eight_metrics_and_signs_with_its_seed(database):
    add_mission(database, "m", *COMMANDS, CALL, DONE)
    outcomes = [evaluated(database, mission_id="m", seed=seed) for seed in (0, 1, 1)]
    assert [outcome.result for outcome in outcomes] == ["ok"] * 3
    assert len(outcomes[0].measured) == 8
    assert outcomes[0].total_tokens == 10
    assert outcomes[0].total_cost_usd == 0.5
    assert outcomes[0].signature != outcomes[1].signature == outcomes[2].signature


def test_an_unknown_cost_is_nothing_in_the_row_and_null_in_report_and_journal(database):
    add_mission(database, "m", UNPRICED)
    outcome = evaluated(database, mission_id="m")
    assert (outcome.total_tokens, outcome.total_cost_usd) == (0, 0.0)
    told = {measured.metric: measured.value for measured in outcome.measured}
    assert told["total_cost_usd"] is None
    metrics = msgspec.json.decode(outcome.report)["mission"]["metrics"]
    cost = next(metric for metric in metrics if metric["name"] == "total_cost_usd")
    assert (cost["value"], cost["coverage"]) == (None, {"known": 0, "of": 1})


def test_a_regression_names_the_breach_and_carries_the_totals_of_the_candidate(database):
    add_mission(database, "old", *COMMANDS, CALL)
    add_mission(database, "new", *COMMANDS, CALL, CALL, BLOCKED)
    outcome = compared(database, "old", "new")
    assert outcome.result.startswith("regressed: ")
    assert "hallucinations rose from 0 to 1" in outcome.result
    assert set(outcome.regressed_metrics) == {"steps_to_goal", "total_cost_usd", "hallucinations"}
    assert (outcome.total_tokens, outcome.total_cost_usd, outcome.signature) == (20, 1.0, None)
    assert [measured.side for measured in outcome.measured] == ["baseline"] * 8 + ["candidate"] * 8


def test_the_report_of_a_pair_names_the_first_step_that_differs(database):
    add_mission(database, "old", *COMMANDS)
    changed = {"entry_type": "exec.command", "payload": {"command": "another", "exit_code": 0}}
    add_mission(database, "new", *COMMANDS[:2], changed, *COMMANDS[3:])
    drift = msgspec.json.decode(compared(database, "old", "new").report)["drift"]
    assert drift["divergence"]["step"] == 2
    assert drift["divergence"]["candidate"] == {"entry_type": "exec.command", "tool": "another"}


def test_missions_of_equal_shape_have_no_drift(database):
    for mission_id in ("old", "new"):
        add_mission(database, mission_id, *COMMANDS)
    outcome = compared(database, "old", "new")
    assert outcome.result == "no_regression"
    assert msgspec.json.decode(outcome.report)["drift"]["changed"] is False


def test_the_report_prints_the_profile_it_was_judged_by(database):
    add_mission(database, "old", *COMMANDS)
    add_mission(database, "new", *COMMANDS, *COMMANDS[:1])
    sides = {"baseline_mission_id": "old", "candidate_mission_id": "new"}
    run = claimed(database, kind="regression", **sides)
    for threshold, regressed in ((0.20, True), (0.30, False)):
        profile = Profile(steps_to_goal=threshold)
        outcome = database.read_blocking(lambda c, p=profile: outcome_of(c, run, p, check=nothing_to_check))
        assert bool(outcome.regressed_metrics) is regressed
        assert msgspec.json.decode(outcome.report)["profile"]["steps_to_goal"] == threshold


@pytest.mark.parametrize(
    "fields",
    [
        {"mission_id": "gone"},
        {"kind": "regression", "baseline_mission_id": "gone", "candidate_mission_id": "m"},
        {"kind": "regression", "baseline_mission_id": "m", "candidate_mission_id": "gone"},
    ],
)
def test_a_mission_that_is_gone_is_a_sentence_whichever_side_it_is(database, fields):
    add_mission(database, "m", *COMMANDS)
    outcome = evaluated(database, **fields)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "evaluation_error"
    assert "no mission 'gone'" in outcome.message


def test_a_mission_of_another_workspace_is_gone_too(database):
    add_mission(database, "m", *COMMANDS)
    other = database.write_blocking(
        lambda c: access.create_workspace(c, "other", workspace_id=None, name=None, now=1)
    )
    with pytest.raises(NotFound):
        database.read_blocking(
            lambda c: evaluate.assess_mission(c, other.key, "m", 0, check=nothing_to_check)
        )


def test_a_kind_that_nobody_knows_is_a_sentence(database):
    outcome = evaluated(database, kind="online", mission_id="m")
    assert isinstance(outcome, Failed)
    assert "'online'" in outcome.message


def test_a_damaged_mission_fails_without_saying_where_the_program_is(database, caplog):
    add_mission(database, "m", *COMMANDS)
    database.write_blocking(lambda c: c.execute("update entry set kind = 99"))
    outcome = evaluated(database, mission_id="m")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "evaluation_error"
    assert not any(word in outcome.message for word in ("Traceback", "KeyError", "99", "/"))
    assert "Traceback" in caplog.text


def test_a_check_ends_the_evaluation_between_two_pages(database):
    add_mission(database, "m", *COMMANDS * 300)
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise Stopped("cancelled", "enough")

    assert evaluated(database, check, mission_id="m") == Failed(reason="cancelled", message="enough")
    assert len(asked) == 2


def test_the_page_in_which_rows_are_read_leaves_no_trace_in_the_outcome(database, monkeypatch):
    add_mission(database, "old", *COMMANDS * 50, CALL)
    add_mission(database, "new", *COMMANDS * 50, CALL, BLOCKED)
    run = claimed(database, kind="regression", baseline_mission_id="old", candidate_mission_id="new")
    outcomes = set()
    for page in (1, 7, 1024):
        monkeypatch.setattr(evaluate, "_PAGE", page)
        outcome = database.read_blocking(lambda c: outcome_of(c, run, Profile(), check=nothing_to_check))
        outcomes.add(msgspec.json.encode(outcome))
    assert len(outcomes) == 1


def test_without_a_daemon_a_run_is_claimed_and_finished_in_this_process(database):
    add_mission(database, "m", *COMMANDS)
    run_id = queue(database, mission_id="m")
    other = queue(database, mission_id="m")
    run = execute(database, run_id)
    assert (run.run_id, run.status, run.result, run.attempt) == (run_id, "completed", "ok", 1)
    assert database.read_blocking(lambda c: runs.find_report(c, 1, run_id))
    waiting = database.read_blocking(lambda c: runs.find_run(c, 1, other))
    assert waiting.status == "queued"


def test_without_a_daemon_the_deadline_ends_a_run_too(database):
    add_mission(database, "m", *COMMANDS)
    run = execute(database, queue(database, mission_id="m"), deadline_seconds=0)
    assert (run.status, run.reason) == ("failed", "deadline_exceeded")


def test_a_run_that_has_ended_is_answered_as_it_is(database):
    add_mission(database, "m", *COMMANDS)
    run_id = queue(database, mission_id="m")
    first = execute(database, run_id)
    assert execute(database, run_id) == first


def test_a_run_that_somebody_else_runs_is_left_alone(database):
    add_mission(database, "m", *COMMANDS)
    run = claimed(database, mission_id="m")
    assert execute(database, run.run_id) == run


def test_a_run_that_nobody_queued_is_not_found(database):
    with pytest.raises(NotFound):
        execute(database, "er_unknown")


def test_a_run_that_is_cancelled_meanwhile_stops_without_a_daemon(database, monkeypatch):
    add_mission(database, "m", *COMMANDS * 500)
    run_id = queue(database, mission_id="m")
    monkeypatch.setattr(evaluate, "_PAGE", 1)
    monkeypatch.setattr(evaluate, "_SECONDS_BETWEEN_LOOKS", 0.0)
    canceller = threading.Thread(target=cancel_when_running, args=(database, run_id))
    canceller.start()
    run = execute(database, run_id)
    canceller.join()
    assert (run.status, run.reason) == ("failed", "cancelled")


def cancel_when_running(database: Database, run_id: str) -> None:
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        run = database.read_blocking(lambda c: runs.find_run(c, 1, run_id))
        if run.status == "running":
            database.write_blocking(lambda c: runs.cancel_run(c, 1, run_id, now=2))
            return


OURS = own_prices_of(
    {"our-model": {"input": 2, "output": 4, "cache_write": 3, "cache_write_1h": 8}}, "0123abcd"
)
OUR_CALL = {
    "entry_type": "llm.call",
    "payload": {
        "model": "our-model",
        "input_tokens": 10**6,
        "output_tokens": 10**6,
        "cache_creation_tokens": 10**6,
        "cache_creation_1h_tokens": 500_000,
    },
}
FLAT_CALL = {"entry_type": "llm.call", "payload": {"model": "our-model", "billing_mode": "flat_rate"}}


def test_own_prices_reach_the_report_of_a_worker_with_their_edition(database):
    add_mission(database, "m", OUR_CALL, FLAT_CALL, DONE)
    run = claimed(database, mission_id="m")
    request = msgspec.json.encode(Evaluation(run, Profile(), OURS)) + b"\n"
    worker = subprocess.Popen(
        worker_command(database.path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with worker:
        worker.stdin.write(request)
        worker.stdin.flush()
        outcome = msgspec.json.decode(worker.stdout.readline(), type=Outcome)
        worker.stdin.close()
    report = json.loads(bytes(outcome.report))
    assert report["prices"].startswith("the price file sha256:0123abcd, then genai-prices ")
    cost = next(one for one in report["mission"]["metrics"] if one["name"] == "total_cost_usd")
    assert (cost["value"], cost["source"]) == (2 + 4 + 1.5 + 4, "mixed")
    assert cost["reason"] == "1 of 2 model calls are not billed singly: a flat-rate plan"


def test_without_own_prices_the_model_is_unknown_and_so_is_the_cost(database):
    add_mission(database, "m", OUR_CALL, FLAT_CALL, DONE)
    report = json.loads(bytes(evaluated(database, mission_id="m").report))
    cost = next(one for one in report["mission"]["metrics"] if one["name"] == "total_cost_usd")
    assert (cost["value"], cost["coverage"]) == (None, {"known": 1, "of": 2})
    assert report["prices"].startswith("genai-prices ")


def run_of_task(database: Database, mission_id: str, task: str, steps: int) -> None:
    told = {"task": task, "variant": "agent"}
    add_mission(
        database,
        mission_id,
        {"entry_type": "mission.created", "payload": told},
        *COMMANDS[:1] * steps,
        {"entry_type": "mission.outcome", "payload": {"outcome": "succeeded", "origin": "verifier"}},
    )


def grade_of(outcome: Completed, metric: str) -> dict:
    return msgspec.json.decode(outcome.report)["evidence"][metric]


def test_a_breach_of_one_run_against_one_says_that_it_may_be_variation(database):
    run_of_task(database, "old", "t", 10)
    run_of_task(database, "new", "t", 14)
    evidence = grade_of(compared(database, "old", "new"), "steps_to_goal")
    assert evidence["grade"] == "single-run"
    assert "cannot separate this from run-to-run variation" in evidence["sentence"]


def test_a_breach_far_outside_of_earlier_runs_of_the_task_says_so(database):
    for number, steps in enumerate((10, 11, 10, 9)):
        run_of_task(database, f"old-{number}", "t", steps)
    run_of_task(database, "new", "t", 30)
    evidence = grade_of(compared(database, "old-0", "new"), "steps_to_goal")
    assert evidence["grade"] == "outside-noise"
    assert evidence["sentence"] == "It lies outside the 95 % range of this task's 4 earlier runs."


def test_a_breach_within_the_spread_of_earlier_runs_stays_a_single_run(database):
    for number, steps in enumerate((10, 30, 18, 7)):
        run_of_task(database, f"old-{number}", "t", steps)
    run_of_task(database, "new", "t", 14)
    assert grade_of(compared(database, "old-0", "new"), "steps_to_goal")["grade"] == "single-run"


def test_errors_by_the_dozen_inside_two_runs_are_enough_to_tell(database):
    failed = {"entry_type": "exec.command", "payload": {"command": "make", "exit_code": 1}}
    add_mission(database, "old", *COMMANDS[:1] * 40)
    add_mission(database, "new", *COMMANDS[:1] * 20, *[failed] * 20)
    evidence = grade_of(compared(database, "old", "new"), "tool_success_rate")
    assert evidence["grade"] == "within-run"
    assert "0 of 40 -> 20 of 40 calls" in evidence["sentence"]
