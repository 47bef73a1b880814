"""Runs as clients and the journal see them."""

import msgspec
import pytest

from quartermaster.core.run import (
    Completed,
    Failed,
    Measured,
    Run,
    ended_entries,
    row,
    row_v1,
    started_entries,
)

SECOND = 10**9


def make_run(**fields: object) -> Run:
    plain = {
        "key": 1,
        "run_id": "er_0123456789abcdef",
        "workspace": 1,
        "workspace_id": "local",
        "kind": "replay",
        "status": "queued",
        "seed": 7,
        "mission_id": "m-1",
        "baseline_mission_id": None,
        "candidate_mission_id": None,
        "total_tokens": 0,
        "total_cost_usd": 0.0,
        "regressed": False,
        "result": None,
        "reason": None,
        "signature": None,
        "created_by": None,
        "created_at": 1_700_000_000 * SECOND,
        "started_at": None,
        "completed_at": None,
        "attempt": 0,
        "boot_id": None,
        "cancelled": False,
    }
    return Run(**(plain | fields))


def completed_replay() -> Run:
    return make_run(
        status="completed",
        result="ok",
        signature="ab" * 32,
        total_tokens=12,
        total_cost_usd=0.25,
        created_by="ada",
        started_at=1_700_000_001 * SECOND,
        completed_at=1_700_000_002 * SECOND + 500_000_000,
    )


def test_a_queued_row_has_the_nine_fields_that_are_always_there_and_what_it_is_about():
    assert row(make_run()) == {
        "id": "er_0123456789abcdef",
        "workspace_id": "local",
        "kind": "replay",
        "status": "queued",
        "seed": 7,
        "total_tokens": 0,
        "total_cost_usd": 0.0,
        "regressed": False,
        "created_at": "2023-11-14T22:13:20Z",
        "mission_id": "m-1",
    }


def test_a_completed_row_adds_result_signature_author_and_times():
    added = row(completed_replay()).items() - row(make_run()).items()
    assert dict(added) == {
        "status": "completed",
        "result": "ok",
        "signature": "ab" * 32,
        "total_tokens": 12,
        "total_cost_usd": 0.25,
        "created_by": "ada",
        "started_at": "2023-11-14T22:13:21Z",
        "completed_at": "2023-11-14T22:13:22.5Z",
    }


def test_a_regression_row_names_both_sides_and_no_mission():
    run = make_run(
        kind="regression", mission_id=None, baseline_mission_id="m-old", candidate_mission_id="m-new"
    )
    fields = row(run)
    assert "mission_id" not in fields
    assert (fields["baseline_mission_id"], fields["candidate_mission_id"]) == ("m-old", "m-new")


def test_the_older_shape_keeps_empty_texts_and_has_the_older_names():
    assert row_v1(make_run()) == {
        "id": "er_0123456789abcdef",
        "workspace_id": "local",
        "kind": "replay",
        "status": "queued",
        "seed": 7,
        "seed_signature": "",
        "tokens": 0,
        "cost_usd": 0.0,
        "regressed": False,
        "mission_id": "m-1",
        "baseline_mission_id": "",
        "candidate_mission_id": "",
        "result": "",
        "reason": "",
        "created_by": "",
        "created_at": "2023-11-14T22:13:20Z",
        "started_at": "",
        "completed_at": "",
        "updated_at": "2023-11-14T22:13:20Z",
    }


def test_the_older_shape_prefixes_the_signature_and_dates_the_last_change():
    fields = row_v1(completed_replay())
    assert fields["seed_signature"] == "sha256:" + "ab" * 32
    assert fields["updated_at"] == fields["completed_at"] == "2023-11-14T22:13:22.5Z"


def regression_outcome() -> Completed:
    return Completed(
        result="regressed: cost rose 22.0% (> 15% threshold)",
        report=msgspec.Raw(b"{}"),
        measured=tuple(
            Measured(metric="total_cost_usd", value=value, mission_id=mission, side=side)
            for mission, side, value in (("m-old", "baseline", 1.0), ("m-new", "candidate", 1.22))
        ),
        total_tokens=5,
        total_cost_usd=1.22,
        regressed_metrics=("total_cost_usd",),
    )


def regression_run() -> Run:
    return make_run(
        kind="regression", mission_id=None, baseline_mission_id="m-old", candidate_mission_id="m-new"
    )


@pytest.mark.parametrize("outcome", [regression_outcome(), Failed(reason="cancelled", message="stopped")])
def test_every_entry_carries_the_id_of_the_run_and_belongs_to_the_candidate(outcome):
    run = regression_run()
    for entry in started_entries(run, SECOND) + ended_entries(run, outcome, SECOND):
        assert entry["payload"]["run_id"] == run.run_id
        assert entry["mission_id"] == "m-new"
        assert (entry["actor_type"], entry["actor_id"]) == ("system", "quartermaster")


def test_a_regression_announces_each_metric_of_each_side_then_the_regression_then_the_end():
    entries = ended_entries(regression_run(), regression_outcome(), SECOND)
    assert [entry["entry_type"] for entry in entries] == [
        "eval.metric",
        "eval.metric",
        "eval.regression_detected",
        "eval.run_completed",
    ]
    assert [entry["payload"].get("side") for entry in entries[:2]] == ["baseline", "candidate"]
    assert [entry["severity"] for entry in entries] == ["info", "info", "warn", "info"]
    assert entries[2]["payload"]["delta_summary"] == "cost rose 22.0% (> 15% threshold)"
    assert entries[2]["payload"]["regressed_metrics"] == ["total_cost_usd"]


def test_ids_of_entries_are_the_same_at_a_second_attempt_and_different_for_another_run():
    def ids(run: Run, now: int) -> list[object]:
        return [
            entry["id"] for entry in started_entries(run, now) + ended_entries(run, regression_outcome(), now)
        ]

    first = ids(regression_run(), SECOND)
    assert len(set(first)) == len(first)
    assert ids(regression_run(), 99 * SECOND) == first
    other = msgspec.structs.replace(regression_run(), run_id="er_ffffffffffffffff")
    assert not set(ids(other, SECOND)) & set(first)
