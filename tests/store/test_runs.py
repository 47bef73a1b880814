"""The queue in the database: claims, fences, rescue, and what the journal is told."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from quartermaster.core.run import Completed, Failed, Measured, Run
from quartermaster.errors import UsageError
from quartermaster.store import access, journal, runs
from quartermaster.store.database import Connection, closing_connection, prepare
from quartermaster.store.runs import RunFilter

SECOND = 10**9
MISSION = "m-1"
BROKEN = Failed(reason="evaluation_error", message="it could not be read")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "quartermaster.db"
    prepare(path)
    with closing_connection(path) as connection:
        add_workspace(connection, "local")
        yield connection


def add_workspace(connection: Connection, slug: str) -> int:
    key = access.create_workspace(connection, slug, workspace_id=slug, name=slug, now=SECOND).key
    add_mission(connection, key, MISSION)
    return key


def add_mission(connection: Connection, workspace: int, mission_id: str) -> None:
    fact = {"entry_type": "mission.created", "ts": "2026-01-01T00:00:00Z", "mission_id": mission_id}
    journal.append_facts(connection, workspace, [fact | {"id": f"created-{mission_id}"}], now=SECOND)


def queue(connection: Connection, number: int = 1, **fields: object) -> Run:
    asked = {"kind": "replay", "seed": 0, "mission_id": MISSION, "workspace": 1} | fields
    workspace = asked.pop("workspace")
    run_id = f"er_{number:016x}"
    return runs.queue_run(
        connection, workspace, run_id=run_id, created_by="ada", now=number * SECOND, **asked
    )


def claim(connection: Connection, boot_id: str = "boot-1", *, at: int = 1000) -> Run:
    run = runs.claim_next(connection, boot_id=boot_id, now=at * SECOND)
    assert run is not None
    return run


def completed(**fields: object) -> Completed:
    plain = {
        "result": "ok",
        "report": msgspec.Raw(b'{"kind":"replay"}'),
        "measured": (Measured(metric="total_tokens", value=12, mission_id=MISSION),),
        "total_tokens": 12,
        "total_cost_usd": 0.5,
        "signature": "ab" * 32,
    }
    return Completed(**(plain | fields))


def finish(connection: Connection, run: Run, outcome: Completed | Failed | None = None) -> bool:
    return runs.finish(connection, run, outcome or completed(), now=2000 * SECOND)


def find(connection: Connection, run: Run) -> Run:
    found = runs.find_run(connection, run.workspace, run.run_id)
    assert found is not None
    return found


def told(connection: Connection, run: Run) -> list[dict]:
    page = journal.list_entries(connection, run.workspace, journal.JournalFilter(run_id=run.run_id))
    return [msgspec.json.decode(raw) for raw in reversed(page.entries)]


def told_types(connection: Connection, run: Run) -> list[str]:
    return sorted(entry["entry_type"] for entry in told(connection, run))


def statuses(connection: Connection, run: Run) -> list[str]:
    events = runs.events_after(connection, run.workspace, 0)
    return [event.status for event in events if event.run_id == run.run_id]


def test_runs_are_claimed_in_the_order_in_which_they_were_queued(connection):
    queued = [queue(connection, number).run_id for number in (3, 1, 2)]
    assert [claim(connection).run_id for _ in queued] == queued
    assert runs.claim_next(connection, boot_id="boot-1", now=SECOND) is None


def test_a_claimed_run_runs_under_its_boot_id_and_has_told_the_journal_that_it_started(connection):
    queue(connection)
    run = claim(connection)
    assert (run.status, run.attempt, run.boot_id, run.started_at) == ("running", 1, "boot-1", 1000 * SECOND)
    (started,) = told(connection, run)
    assert started["entry_type"] == "eval.run_started"
    assert started["mission_id"] == MISSION
    assert started["payload"] == {"run_id": run.run_id, "kind": "replay", "seed": 0, "mission_id": MISSION}


def test_finding_the_next_run_reads_an_index_and_not_the_table(connection):
    plan = connection.execute("explain query plan " + runs._NEXT_QUEUED, (1, 0)).fetchall()
    assert str(plan).count("eval_run_queue") == 2


def test_a_long_queue_of_one_workspace_keeps_no_other_waiting(connection):
    access.create_workspace(connection, "small", workspace_id="small", name="small", now=1)
    for number in range(1, 1001):
        queue(connection, number)
    for number in (2001, 2002):
        runs.queue_run(
            connection, 2, run_id=f"er_{number:016x}", kind="replay", seed=0, created_by=None, now=SECOND
        )
    served = []
    after = 0
    for _ in range(6):
        run = runs.claim_next(connection, boot_id="boot-1", now=SECOND, after=after)
        served.append(run.workspace)
        after = run.workspace
    assert served == [1, 2, 1, 2, 1, 1]


def test_a_result_is_row_report_event_and_entries_at_once(connection):
    queue(connection)
    run = claim(connection)
    assert finish(connection, run)
    row = find(connection, run)
    assert (row.status, row.result, row.reason) == ("completed", "ok", None)
    assert (row.total_tokens, row.total_cost_usd, row.signature) == (12, 0.5, "ab" * 32)
    assert row.completed_at == 2000 * SECOND
    assert runs.find_report(connection, 1, run.run_id) == b'{"kind":"replay"}'
    assert statuses(connection, run) == ["queued", "running", "completed"]
    assert told_types(connection, run) == ["eval.metric", "eval.run_completed", "eval.run_started"]


def test_a_regression_is_a_warning_in_the_journal_of_the_candidate(connection):
    add_mission(connection, 1, "m-2")
    sides = {"mission_id": None, "baseline_mission_id": MISSION, "candidate_mission_id": "m-2"}
    queue(connection, kind="regression", **sides)
    run = claim(connection)
    result = "regressed: hallucinations rose from 0 to 1"
    finish(connection, run, completed(result=result, signature=None, regressed_metrics=("hallucinations",)))
    assert find(connection, run).regressed
    (warning,) = (entry for entry in told(connection, run) if entry["severity"] == "warn")
    assert warning["entry_type"] == "eval.regression_detected"
    assert warning["mission_id"] == "m-2"
    assert warning["payload"]["regressed_metrics"] == ["hallucinations"]


def test_a_failure_has_its_reason_and_its_sentence_and_no_report(connection):
    queue(connection)
    run = claim(connection)
    assert finish(connection, run, BROKEN)
    row = find(connection, run)
    assert (row.status, row.reason, row.result) == ("failed", "evaluation_error", "it could not be read")
    assert runs.find_report(connection, 1, run.run_id) is None
    assert told_types(connection, run) == ["eval.run_failed", "eval.run_started"]


def test_a_second_result_of_the_same_claim_changes_nothing(connection):
    queue(connection)
    run = claim(connection)
    assert finish(connection, run)
    before = find(connection, run)
    assert not finish(connection, run, BROKEN)
    assert find(connection, run) == before
    assert told_types(connection, run) == ["eval.metric", "eval.run_completed", "eval.run_started"]


@pytest.mark.parametrize("second_boot", ["boot-1", "boot-2"])
def test_a_late_result_of_an_earlier_claim_is_refused(connection, second_boot):
    queue(connection)
    late = claim(connection)
    runs.return_to_queue(connection, late, now=SECOND)
    assert not finish(connection, late)
    again = claim(connection, second_boot, at=1001)
    assert not finish(connection, late)
    assert not runs.return_to_queue(connection, late, now=SECOND)
    assert finish(connection, again)


def damage_journal(connection: Connection) -> None:
    """From now on the mission refuses every entry: the place of the next one is taken."""
    connection.execute("update mission set next_sequence = 0")


def test_a_result_that_cannot_be_told_fails_the_run_instead_of_leaving_it_running(connection):
    queue(connection)
    run = claim(connection)
    damage_journal(connection)
    assert finish(connection, run)
    row = find(connection, run)
    assert (row.status, row.reason, row.signature) == ("failed", "evaluation_error", None)
    assert "journal" in (row.result or "")
    assert runs.find_report(connection, 1, run.run_id) is None
    assert told_types(connection, run) == ["eval.run_started"]


def test_a_damaged_mission_does_not_hold_up_the_queue(connection):
    add_mission(connection, 1, "m-2")
    broken, sound = queue(connection, 1), queue(connection, 2, mission_id="m-2")
    connection.execute("update mission set next_sequence = 0 where mission_id = ?", (MISSION,))
    assert runs.claim_next(connection, boot_id="boot-1", now=SECOND) is None
    assert (find(connection, broken).status, find(connection, broken).reason) == (
        "failed",
        "evaluation_error",
    )
    assert claim(connection).run_id == sound.run_id


def test_a_damaged_mission_does_not_stop_a_rescue(connection):
    queue(connection)
    for boot in ("boot-1", "boot-2"):
        run = claim(connection, boot)
        if boot == "boot-1":
            runs.rescue(connection, boot_id="boot-2", now=SECOND)
    damage_journal(connection)
    assert runs.rescue(connection, boot_id="boot-3", now=SECOND).ended == 1
    assert find(connection, run).status == "failed"


def test_an_orderly_return_to_the_queue_uses_up_no_attempt(connection):
    queue(connection)
    for _ in range(5):
        run = claim(connection)
        assert run.attempt == 1
        assert runs.return_to_queue(connection, run, now=SECOND)
    row = find(connection, run)
    assert (row.status, row.started_at, row.boot_id) == ("queued", None, None)


def test_what_another_process_left_running_is_queued_once_and_then_given_up(connection):
    queue(connection)
    run = claim(connection, "boot-1")
    assert runs.rescue(connection, boot_id="boot-2", now=SECOND) == runs.Rescued(requeued=1, ended=0)
    assert find(connection, run).status == "queued"
    run = claim(connection, "boot-2")
    assert run.attempt == 2
    assert runs.rescue(connection, boot_id="boot-3", now=SECOND) == runs.Rescued(requeued=0, ended=1)
    row = find(connection, run)
    assert (row.status, row.reason) == ("failed", "interrupted")
    assert statuses(connection, run) == ["queued", "running", "queued", "running", "failed"]


def test_a_rescue_leaves_alone_what_runs_here_what_waits_and_what_ended(connection):
    for number in (1, 2, 3):
        queue(connection, number)
    finish(connection, claim(connection))
    claim(connection)
    assert runs.rescue(connection, boot_id="boot-1", now=SECOND) == runs.Rescued(requeued=0, ended=0)
    page = runs.list_runs(connection, 1, RunFilter())
    assert [run.status for run in page.rows] == ["queued", "running", "completed"]


def test_a_second_attempt_announces_nothing_twice(connection):
    queue(connection)
    claim(connection, "boot-1")
    runs.rescue(connection, boot_id="boot-2", now=SECOND)
    run = runs.claim_next(connection, boot_id="boot-2", now=7777 * SECOND)
    assert run is not None
    finish(connection, run)
    assert told_types(connection, run) == ["eval.metric", "eval.run_completed", "eval.run_started"]


def test_cancelling_a_queued_run_ends_it_at_once(connection):
    run = queue(connection)
    row = runs.cancel_run(connection, 1, run.run_id, now=SECOND)
    assert (row.status, row.reason) == ("failed", "cancelled")
    assert runs.claim_next(connection, boot_id="boot-1", now=SECOND) is None
    assert told_types(connection, run) == ["eval.run_failed"]


def test_cancelling_a_running_run_marks_it_and_whatever_it_brings_it_ends_cancelled(connection):
    queue(connection)
    run = claim(connection)
    row = runs.cancel_run(connection, 1, run.run_id, now=SECOND)
    assert (row.status, row.cancelled) == ("running", True)
    assert finish(connection, run)
    row = find(connection, run)
    assert (row.status, row.reason, row.signature) == ("failed", "cancelled", None)
    assert runs.find_report(connection, 1, run.run_id) is None


def test_a_cancelled_run_is_neither_rescued_nor_queued_again(connection):
    for number, leave in enumerate((runs.return_to_queue, None), start=1):
        queue(connection, number)
        run = claim(connection)
        runs.cancel_run(connection, 1, run.run_id, now=SECOND)
        if leave:
            leave(connection, run, now=SECOND)
        else:
            runs.rescue(connection, boot_id="boot-2", now=SECOND)
        assert (find(connection, run).status, find(connection, run).reason) == ("failed", "cancelled")


def test_cancelling_what_ended_changes_nothing_however_often(connection):
    queue(connection)
    run = claim(connection)
    finish(connection, run)
    before = find(connection, run)
    for _ in range(2):
        assert runs.cancel_run(connection, 1, run.run_id, now=SECOND) == before
    assert statuses(connection, run) == ["queued", "running", "completed"]


def test_a_run_of_another_workspace_cannot_be_seen_cancelled_or_claimed_by_name(connection):
    other = add_workspace(connection, "other")
    run = queue(connection)
    assert runs.find_run(connection, other, run.run_id) is None
    assert runs.find_report(connection, other, run.run_id) is None
    assert runs.cancel_run(connection, other, run.run_id, now=SECOND) is None
    assert runs.claim_run(connection, other, run.run_id, boot_id="b", now=SECOND) is None
    assert runs.run_ids_starting(connection, other, "er_") == []
    assert runs.list_runs(connection, other, RunFilter()).rows == ()
    assert runs.events_after(connection, other, 0) == []
    assert find(connection, run).status == "queued"


def test_evaluating_a_mission_that_does_not_exist_does_not_make_it(connection):
    queue(connection, mission_id="m-unknown")
    run = claim(connection)
    finish(connection, run, BROKEN)
    found = connection.execute("select mission_id from mission where mission_id = 'm-unknown'").fetchall()
    assert found == []
    assert find(connection, run).status == "failed"


def test_the_list_is_newest_first_and_its_pages_join_without_gap_or_overlap(connection):
    for number in range(1, 8):
        queue(connection, number)
    same_instant = [f"er_{number:016x}" for number in (0xA, 0xB, 0xC)]
    for run_id in same_instant:
        runs.queue_run(
            connection,
            1,
            run_id=run_id,
            kind="replay",
            seed=0,
            mission_id=MISSION,
            created_by=None,
            now=SECOND,
        )
    seen, cursor = [], None
    while True:
        page = runs.list_runs(connection, 1, RunFilter(limit=3, cursor=cursor))
        seen += [run.run_id for run in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    newest_first = [f"er_{number:016x}" for number in (7, 6, 5, 4, 3, 2, 0xC, 0xB, 0xA, 1)]
    assert seen == newest_first


def test_filters_narrow_the_list(connection):
    add_mission(connection, 1, "m-2")
    queue(connection, 1)
    sides = {"mission_id": None, "baseline_mission_id": MISSION, "candidate_mission_id": "m-2"}
    queue(connection, 2, kind="regression", **sides)
    queue(connection, 3, mission_id="m-2")
    finish(connection, claim(connection))
    finish(connection, claim(connection), completed(regressed_metrics=("hallucinations",)))

    def numbers(**filters: object) -> list[int]:
        page = runs.list_runs(connection, 1, RunFilter(**filters))
        return [int(run.run_id[3:], 16) for run in page.rows]

    assert numbers(kind="regression") == [2]
    assert numbers(status="queued") == [3]
    assert numbers(mission_id="m-2") == [3, 2]
    assert numbers(regressed=True) == [2]
    assert numbers(regressed=False) == [3, 1]
    assert numbers(since=2 * SECOND) == [3, 2]


def test_a_cursor_of_another_list_or_a_changed_one_is_refused(connection):
    other = add_workspace(connection, "other")
    for number in range(1, 4):
        queue(connection, number)
    cursor = runs.list_runs(connection, 1, RunFilter(limit=1)).next_cursor
    assert cursor
    changed = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    for workspace, filters in (
        (other, RunFilter(cursor=cursor)),
        (1, RunFilter(cursor=cursor, kind="replay")),
        (1, RunFilter(cursor=changed)),
        (1, RunFilter(cursor="nonsense")),
        (1, RunFilter(cursor="")),
    ):
        with pytest.raises(UsageError):
            runs.list_runs(connection, workspace, filters)


def test_ids_are_found_by_their_beginning(connection):
    for number in (0x10, 0x11, 0x20):
        queue(connection, number)
    assert runs.run_ids_starting(connection, 1, "er_000000000000001") == [
        "er_0000000000000010",
        "er_0000000000000011",
    ]
    assert runs.run_ids_starting(connection, 1, "er_%") == []


def test_events_are_told_from_where_the_listener_left_off(connection):
    run = queue(connection)
    before = runs.newest_event(connection, 1)
    finish(connection, claim(connection))
    assert [event.status for event in runs.events_after(connection, 1, before)] == ["running", "completed"]
    assert runs.events_after(connection, 1, runs.newest_event(connection, 1)) == []
    assert len(runs.events_after(connection, 1, 0, limit=2)) == 2
    assert {event.run_id for event in runs.events_after(connection, 1, 0)} == {run.run_id}


def test_the_state_of_the_queue_counts_all_workspaces(connection):
    other = add_workspace(connection, "other")
    assert runs.queue_state(connection) == runs.QueueState(queued=0, running=0, oldest_started_at=None)
    queue(connection, 1)
    queue(connection, 2, workspace=other)
    claim(connection)
    state = runs.queue_state(connection)
    assert state == runs.QueueState(queued=1, running=1, oldest_started_at=1000 * SECOND)
