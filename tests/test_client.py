"""The client for programs, asking a real daemon, sync and async."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from running import Daemon

import quartermaster as qm
from quartermaster.core.report import ComparisonReport, RegressionReport, ReplayReport
from quartermaster.errors import RunFailed

BASELINE, CANDIDATE = "demo-login-fix-baseline", "demo-login-fix-candidate"
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "samples" / "native" / "login_fix.ndjson"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all of these tests, with two missions."""
    with Daemon.start(tmp_path_factory.mktemp("client") / "home") as running:
        with qm.Client(running.url, running.token) as client:
            client.ingest(SAMPLE)
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[qm.Client]:
    with qm.Client(daemon.url, daemon.token) as one:
        yield one


def test_recordings_are_read_here_and_sent(client):
    (ledger,) = client.ingest(SAMPLE)
    assert (ledger.format, ledger.state, ledger.accepted, ledger.duplicate) == ("native", "complete", 0, 101)
    (refused,) = client.ingest([Path(__file__)])
    assert refused.state == "unrecognised"


def test_missions_are_listed_and_read_with_their_steps(client):
    assert sorted(row.mission_id for row in client.missions()) == [BASELINE, CANDIDATE]
    assert [row.mission_id for row in client.missions(q="candidate")] == [CANDIDATE]
    assert len(list(client.missions(limit=1))) == 1
    mission = client.mission(BASELINE)
    assert (mission.task, mission.steps) == ("fix-flaky-login-test", 23)
    assert mission.value_of("total_cost_usd") == pytest.approx(0.169095)
    assert [step.index for step in client.steps(BASELINE)] == list(range(23))


def test_entries_are_added_and_listed_over_several_pages(client):
    line = {"ts": "2027-01-01T00:00:00Z", "entry_type": "note.made", "trace_id": "pages"}
    sent = client.add_entries([{**line, "id": f"note-{number}"} for number in range(450)])
    assert (sent.accepted, sent.duplicate, sent.rejected) == (450, 0, ())
    assert client.add_entries([{"ts": "never", "entry_type": "x"}]).rejected[0]["line"] == 1
    assert len({entry["id"] for entry in client.journal(trace_id="pages")}) == 450
    assert len(list(client.journal(trace_id="pages", limit=250))) == 250


def test_a_run_is_waited_for_and_its_report_has_types(client):
    replayed = client.replay(BASELINE, seed=7).report
    assert isinstance(replayed, ReplayReport)
    assert (replayed.seed, replayed.mission.steps) == (7, 23)
    run = client.regression(BASELINE, CANDIDATE)
    assert (run.status, run.regressed) == ("completed", True)
    assert isinstance(run.report, RegressionReport)
    assert run.report.regressed_metrics[0] == "tool_success_rate"
    loose = client.regression(BASELINE, CANDIDATE, thresholds={"tool_success_rate": 0.9}).report
    assert isinstance(loose, RegressionReport)
    assert "tool_success_rate" not in loose.regressed_metrics
    sets = client.comparison([BASELINE], [CANDIDATE]).report
    assert isinstance(sets, ComparisonReport)
    assert run.id in {one.id for one in client.runs(kind="regression")}


def test_changes_of_runs_are_streamed(client):
    client.replay(BASELINE)
    with_first = client.stream(after="0")
    first = next(with_first)
    assert first.status == "queued"
    assert next(client.stream(after=first.event)).event > first.event
    client.cancel(first.id)


def test_what_is_refused_is_an_error_of_its_own_kind(daemon, client):
    with pytest.raises(qm.NotFound, match="mission not found"):
        client.mission("nobody")
    with pytest.raises(qm.UsageError):
        client.comparison([], [])
    with qm.Client(daemon.url) as stranger, pytest.raises(qm.NotAllowed, match="no valid credentials"):
        next(stranger.missions())
    with qm.Client(daemon.url) as stranger, pytest.raises(qm.NotAllowed):
        next(stranger.stream())
    with pytest.raises(qm.UsageError, match="this is no token"):
        qm.Client(daemon.url, "secret")
    with pytest.raises(qm.UsageError, match="is no address of a daemon"):
        qm.Client("ftp://127.0.0.1")


def test_a_daemon_that_is_not_there_is_said_to_be_unreachable():
    with qm.Client("http://127.0.0.1:1") as client, pytest.raises(qm.DaemonUnreachable, match="no daemon"):
        client.run("er_0")


def test_a_run_that_is_not_done_in_time_can_be_waited_for_again(client):
    run = client.replay(BASELINE, wait=False)
    try:
        client.wait(run.id, seconds=0)
    except RunFailed as error:
        assert "wait for it again" in str(error)
    assert client.wait(run.id).status == "completed"


def test_the_async_client_does_the_same(daemon):
    async def ask() -> None:
        async with qm.AsyncClient(daemon.url, daemon.token) as client:
            assert [row.mission_id async for row in client.missions(q="candidate")] == [CANDIDATE]
            assert len([step async for step in client.steps(BASELINE)]) == 23
            assert (await client.mission(BASELINE)).steps == 23
            runs: dict[str, bool] = {}

            async def compare(before: str, after: str) -> None:
                run = await client.regression(before, after)
                runs[after] = run.regressed

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(compare, BASELINE, CANDIDATE)
                tasks.start_soon(compare, BASELINE, BASELINE)
            assert runs == {CANDIDATE: True, BASELINE: False}
            assert (await client.ingest(SAMPLE))[0].duplicate == 101
            async for event in client.stream(after="0"):
                assert event.status == "queued"
                break
            with pytest.raises(qm.NotFound):
                await client.run("er_0123456789abcdef")

    with_deadline(ask)


def with_deadline(ask) -> None:
    async def work() -> None:
        with anyio.fail_after(30):
            await ask()

    anyio.run(work)
