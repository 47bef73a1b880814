"""Any number of recordings become the same tables, whoever does the work and whatever dies meanwhile."""

import json
import os
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from batch_missions import mission, write_missions
from running import PROGRAM

import quartermaster as qm
from quartermaster.batch.driver import Summary, run_batch
from quartermaster.batch.engines import Dask, Done, Engine, Lost
from quartermaster.batch.evaluation import Evaluate, Rules, Work, answer_of, perform
from quartermaster.batch.processes import Processes
from quartermaster.batch.sources import Found, Unit, find
from quartermaster.cli import execute
from quartermaster.ingest import LINE_LIMIT_BYTES

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

RULES = Rules(line_limit_bytes=LINE_LIMIT_BYTES)
TABLES = ("missions", "findings", "files", "rejected")
SECONDS = 60.0


class Here:
    """The engine that is none: one piece of work after the other, in this process."""

    chunk_files = 1
    attempts = 1

    def run(self, chunks: Iterable[Sequence[Work]]) -> Iterator[Done | Lost]:
        yield from (Done(work, perform(work, RULES)) for chunk in chunks for work in chunk)

    def close(self) -> None:
        """Nothing was started."""


def here(_: Path) -> Engine:
    return Here()


def processes(jobs: int) -> Callable[[Path], Engine]:
    return lambda scratch: Processes(jobs, RULES, str(scratch))


def evaluate(sources: Found | Path, out: Path, engine: Callable[[Path], Engine] = here) -> Summary:
    found = sources if isinstance(sources, Found) else find([str(sources)], leave_out=out)
    return run_batch(found, out, RULES, engine)


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / f"{name}.parquet").read_bytes() for name in TABLES}


def rows(out: Path, table: str = "missions") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(out / f"{table}.parquet").to_pylist()
    return found


def wait_until(claim: Callable[[], object]) -> None:
    ends = time.monotonic() + SECONDS
    while not claim():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.005)


def start(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*PROGRAM, "batch", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def piped(folder: Path, number: int) -> Unit:
    """A recording that is read from a pipe, so that it is known who reads it and when."""
    pipe = folder / f"mission-{number}.ndjson"
    folder.mkdir(parents=True, exist_ok=True)
    os.mkfifo(pipe)
    return Unit(name=str(pipe), location=str(pipe), size=len(mission(number, 2)), stamp="piped")


@contextmanager
def killer(unit: Unit, number: int, pids: Callable[[], Iterable[int]], kills: int) -> Iterator[list[int]]:
    """Kills so many processes that open a piped recording, and lets the next one read it; who was killed."""
    killed: list[int] = []

    def has_it_open(pid: int) -> bool:
        try:
            fds = list(Path(f"/proc/{pid}/fd").iterdir())
            return any(os.path.realpath(fd) == unit.location for fd in fds)
        except OSError:
            return False

    def kill_reader() -> None:
        pid = next((pid for pid in pids() if pid not in killed and has_it_open(pid)), None)
        if pid is not None:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    def meet_reader() -> bool:
        """Whether one was there that may read it all."""
        with open(unit.location, "wb") as pipe:  # waits for somebody who reads
            if len(killed) == kills:
                pipe.write(mission(number, 2))
                return True
            kill_reader()
            return False

    def watch() -> None:
        while not meet_reader():
            wait_until(lambda: not killed or not Path(f"/proc/{killed[-1]}").exists())

    threading.Thread(target=watch, daemon=True).start()
    yield killed


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address=None,
    ) as started:
        yield started


def dask(cluster: Any) -> Callable[[Path], Engine]:
    return lambda _: Dask(cluster.scheduler_address.removeprefix("tcp://"), RULES)


def test_missions_are_those_that_an_ingest_would_make(samples: Path, tmp_path: Path):
    evaluate(samples, tmp_path / "out")
    found = {row["mission_id"]: row for row in rows(tmp_path / "out")}
    missions = qm.read(samples)
    assert set(found) == set(missions.ids)
    for one in missions:
        row = found[one.mission_id]
        facts = (
            "task",
            "variant",
            "trial",
            "outcome",
            "reward",
            "title",
            "agent",
            "model",
            "entries",
            "format",
        )
        assert {name: row[name] for name in facts} == {name: getattr(one, name) for name in facts}
        assert row["signature"] == one.signature
        for name, metric in one.metrics.items():
            assert row[name] == metric.number
            assert (row[f"{name}_known"], row[f"{name}_of"]) == (metric.coverage.known, metric.coverage.of)
            assert row[f"{name}_reason"] == metric.reason


def test_processes_give_the_bytes_that_one_process_gives(samples: Path, tmp_path: Path):
    write_missions(tmp_path / "in", 40, turns=3)
    found = find([str(tmp_path / "in"), str(samples)], leave_out=tmp_path)
    first = evaluate(found, tmp_path / "one")
    second = evaluate(found, tmp_path / "two", processes(2))
    assert first.missions == second.missions > 40
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_killed_worker_costs_a_retry_of_its_recording(tmp_path: Path):
    write_missions(tmp_path / "in", 20, turns=2)
    unit = piped(tmp_path / "pipes", 100)
    found = find([str(tmp_path / "in")], leave_out=tmp_path)
    found = Found((*found.units, unit), ())
    started: list[Processes] = []

    def two(scratch: Path) -> Engine:
        started.append(Processes(2, RULES, str(scratch)))
        return started[0]

    with killer(unit, 100, lambda: started[0].pids, kills=1) as killed:
        summary = evaluate(found, tmp_path / "out", two)
    assert len(killed) == summary.retried == 1
    assert summary.files == {"complete": 21}
    assert summary.missions == 21


def test_a_recording_that_kills_every_process_is_given_up_and_told(tmp_path: Path):
    write_missions(tmp_path / "in", 5, turns=2)
    unit = piped(tmp_path / "pipes", 100)
    found = Found((*find([str(tmp_path / "in")], leave_out=tmp_path).units, unit), ())
    started: list[Processes] = []

    def one(scratch: Path) -> Engine:
        started.append(Processes(1, RULES, str(scratch)))
        return started[0]

    with killer(unit, 100, lambda: started[0].pids, kills=99) as killed:
        summary = evaluate(found, tmp_path / "out", one)
    assert len(killed) == Processes.attempts
    assert summary.poisoned == (unit.name,)
    assert summary.files == {"complete": 5, "poisoned": 1}
    told = next(row for row in rows(tmp_path / "out", "files") if row["state"] == "poisoned")
    assert "every process that read it died" in told["reason"]


def test_a_run_that_was_killed_goes_on_where_it_stopped(tmp_path: Path):
    write_missions(tmp_path / "in", 200, turns=2)
    out = tmp_path / "out"
    killed = start(tmp_path / "in", "--out", out, "--jobs", "1")
    wait_until(lambda: list((out / "parts").glob("*.part")))
    workers = children(killed.pid)
    killed.kill()
    killed.communicate(timeout=SECONDS)
    assert not (out / "missions.parquet").exists()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    again = evaluate(tmp_path / "in", out)
    assert again.missions == 200
    assert again.evaluated < 200
    evaluate(tmp_path / "in", tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_an_interrupted_run_says_130_and_leaves_nothing_half_written(tmp_path: Path):
    write_missions(tmp_path / "in", 200, turns=2)
    out = tmp_path / "out"
    interrupted = start(tmp_path / "in", "--out", out, "--jobs", "1")
    wait_until(lambda: (out / ".scratch").exists() and children(interrupted.pid))
    workers = children(interrupted.pid)
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate(timeout=SECONDS)
    assert interrupted.returncode == 130
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    left = {path.name for path in out.rglob("*") if path.suffix != ".part"}
    assert left <= {".lock", "parts"}


def test_what_is_finished_is_not_done_again_and_what_changed_is(tmp_path: Path):
    folder, out = write_missions(tmp_path / "in", 10, turns=2), tmp_path / "out"
    assert evaluate(folder, out).evaluated == 10
    before = contents(out)
    assert evaluate(folder, out).evaluated == 0
    assert contents(out) == before
    changed = folder / "0000" / "mission-000003.ndjson"
    changed.write_bytes(mission(3, turns=4))
    (folder / "0000" / "mission-000004.ndjson").unlink()
    assert evaluate(folder, out).evaluated == 1
    evaluate(folder, tmp_path / "anew")
    assert contents(out) == contents(tmp_path / "anew")
    assert [row["mission_id"] for row in rows(out)].count("mission-000004") == 0


def test_a_table_that_was_removed_is_written_again(tmp_path: Path):
    folder, out = write_missions(tmp_path / "in", 3, turns=1), tmp_path / "out"
    evaluate(folder, out)
    (out / "findings.parquet").unlink()
    assert evaluate(folder, out).evaluated == 0
    assert (out / "findings.parquet").is_file()


def test_other_rules_are_other_results(tmp_path: Path):
    folder, out = write_missions(tmp_path / "in", 3, turns=1), tmp_path / "out"
    evaluate(folder, out)
    found = find([str(folder)], leave_out=out)
    unmasked = Rules(line_limit_bytes=LINE_LIMIT_BYTES, masked=False)
    assert run_batch(found, out, unmasked, here).evaluated == 3


def test_a_part_that_is_cut_off_is_not_believed(tmp_path: Path):
    folder, out = write_missions(tmp_path / "in", 3, turns=1), tmp_path / "out"
    evaluate(folder, out)
    (out / "manifest.json").unlink()
    for part in (out / "parts").glob("*.part"):
        part.write_bytes(part.read_bytes()[:-1])
    assert evaluate(folder, out).evaluated == 3


def test_a_mission_in_several_recordings_is_one_row_as_an_ingest_would_make_it(tmp_path: Path):
    lines = mission(7).splitlines(keepends=True)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a-grown.ndjson").write_bytes(b"".join(lines[:30]))
    (folder / "b-older.ndjson").write_bytes(b"".join(lines[:10]))
    (folder / "c-rest.ndjson").write_bytes(b"".join(lines[25:]))
    (folder / "d-other.ndjson").write_bytes(mission(8))
    summary = evaluate(folder, tmp_path / "out", processes(2))
    assert (summary.missions, summary.merged) == (2, 1)
    whole, other = rows(tmp_path / "out")
    assert (whole["files"], other["files"]) == (3, 1)
    read = qm.read(folder).find("mission-000007")
    assert (whole["entries"], whole["signature"]) == (len(lines), read.signature)
    assert whole["total_cost_usd"] == read.metrics["total_cost_usd"].value


def test_of_two_tellings_the_first_in_order_of_names_stays(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    first, other = mission(7), mission(7).replace(b"rg src", b"grep src")
    (folder / "a.ndjson").write_bytes(first)
    (folder / "b.ndjson").write_bytes(other)
    evaluate(folder, tmp_path / "out")
    assert rows(tmp_path / "out")[0]["signature"] == qm.read(folder / "a.ndjson")[0].signature


def test_entries_without_a_mission_are_placed_by_what_another_recording_says(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    entry = {"ts": "2027-01-31T09:00:00Z", "trace_id": "t1", "payload": {"command": "pytest", "exit_code": 0}}
    placed = {**entry, "id": "e1", "entry_type": "exec.command", "mission_id": "m1"}
    homeless = {**entry, "id": "e2", "entry_type": "exec.command", "ts": "2027-01-31T09:00:01Z"}
    (folder / "a.ndjson").write_text(json.dumps(homeless) + "\n")
    (folder / "b.ndjson").write_text(json.dumps(placed) + "\n")
    evaluate(folder, tmp_path / "out")
    assert [(row["mission_id"], row["entries"]) for row in rows(tmp_path / "out")] == [("m1", 2)]


def test_the_same_bytes_count_once_also_inside_of_an_archive(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.ndjson").write_bytes(mission(7))
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        archive.writestr("inner/copy.ndjson", mission(7))
        archive.writestr("inner/new.ndjson", mission(8))
    summary = evaluate(folder, tmp_path / "out")
    assert (summary.missions, summary.merged) == (2, 0)
    assert summary.files == {"complete": 2, "duplicate": 1}
    assert [row["file"].removeprefix(f"{folder}/") for row in rows(tmp_path / "out", "files")] == [
        "a.ndjson",
        "b.zip!inner/copy.ndjson",
        "b.zip!inner/new.ndjson",
    ]


def test_a_bad_line_is_in_the_table_of_rejected_lines(tmp_path: Path):
    file = tmp_path / "in.ndjson"
    file.write_bytes(mission(7) + b'{"entry_type": "llm.call", "ts": "yesterday"}\n')
    summary = evaluate(file, tmp_path / "out")
    assert (summary.missions, summary.rejected, summary.complete) == (1, 1, False)
    [rejected] = rows(tmp_path / "out", "rejected")
    assert rejected["line"] == mission(7).count(b"\n") + 1
    assert "RFC 3339" in rejected["reason"]


def test_a_secret_does_not_reach_the_tables(tmp_path: Path):
    secret = b"ghp_" + b"a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    file = tmp_path / "in.ndjson"
    file.write_bytes(mission(7).replace(b"Do task-7", b"Do " + secret))
    evaluate(file, tmp_path / "out")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert "[masked:" in rows(tmp_path / "out")[0]["title"]
    assert secret not in kept


def test_a_recording_that_cannot_be_read_costs_itself_and_is_tried_again(tmp_path: Path):
    folder, out = write_missions(tmp_path / "in", 3, turns=1), tmp_path / "out"
    found = find([str(folder)], leave_out=out)
    (folder / "0000" / "mission-000001.ndjson").unlink()
    summary = evaluate(found, out)
    assert summary.files == {"complete": 2, "failed": 1}
    (folder / "0000" / "mission-000001.ndjson").write_bytes(mission(1, 1))
    assert evaluate(found, out).files == {"complete": 3}


def test_dask_gives_the_bytes_that_one_process_gives(cluster: Any, tmp_path: Path):
    folder = write_missions(tmp_path / "in", 30, turns=2)
    evaluate(folder, tmp_path / "one")
    summary = evaluate(folder, tmp_path / "two", dask(cluster))
    assert summary.missions == 30
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_killed_dask_worker_is_survived(cluster: Any, tmp_path: Path):
    write_missions(tmp_path / "in", 10, turns=2)
    unit = piped(tmp_path / "pipes", 100)
    found = Found((*find([str(tmp_path / "in")], leave_out=tmp_path).units, unit), ())
    with cluster.get_client() as client:
        pids = list(client.run(os.getpid).values())
        with killer(unit, 100, lambda: pids, kills=1) as killed:
            summary = evaluate(found, tmp_path / "out", dask(cluster))
    assert len(killed) == 1
    assert (summary.missions, summary.files) == (11, {"complete": 11})


def test_recordings_are_read_from_storage_that_only_fsspec_reaches(tmp_path: Path):
    memory = pytest.importorskip("fsspec", reason="fsspec is not installed").filesystem("memory")
    for number in range(3):
        memory.pipe(f"/runs/deep/mission-{number}.ndjson", mission(number, 2))
    memory.pipe("/runs/other.txt", b"no recording")
    found = find(["memory://runs"], leave_out=tmp_path / "out")
    summary = evaluate(found, tmp_path / "out", processes(1))
    assert summary.files == {"complete": 3, "unrecognised": 1}
    assert evaluate(find(["memory://runs"], leave_out=tmp_path), tmp_path / "out").evaluated == 0
    globbed = find(["memory://runs/**/*.ndjson"], leave_out=tmp_path)
    assert len(globbed.units) == 3
    assert rows(tmp_path / "out")[0]["file"] == "memory:///runs/deep/mission-0.ndjson"


def test_fsspec_reads_what_the_file_system_reads(tmp_path: Path):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    folder = write_missions(tmp_path / "in", 2, turns=2)
    [unit, _] = find([str(folder)], leave_out=tmp_path).units
    remote = Unit(name="x", location=f"file://{unit.location}", size=unit.size, stamp="", remote=True)
    [told] = answer_of(perform(Evaluate(remote), RULES))
    [direct] = answer_of(perform(Evaluate(unit), RULES))
    assert told == direct


def test_the_command_evaluates_sources_of_every_kind(quartermaster, tmp_path: Path):
    folder = write_missions(tmp_path / "in", 3, turns=1)
    done = quartermaster(
        "batch", f"file://{folder}/0000/mission-000000.ndjson", f"{folder}/**/*1.ndjson", folder,
        "--out", folder / "out", "--jobs", 1, "--json", "--strict",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["missions"], summary["files"], summary["complete"]) == (3, {"complete": 3}, True)


def test_strict_is_for_recordings_that_were_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("in.ndjson").write_bytes(mission(7, 1) + b"{}\n")
    assert execute(["batch", "in.ndjson", "--out", "out", "--jobs", "1"]) == 0
    assert execute(["batch", "in.ndjson", "--out", "out", "--strict"]) == 3
    assert "1 lines rejected" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--out", "out"], 2, "Missing argument 'SRC...'"),
        (["missing", "--out", "out"], 2, "there is no file or folder missing"),
        (["*.none", "--out", "out"], 2, "no file matches *.none"),
        (["empty", "--out", "out"], 2, "no recorded mission was found"),
        (["unknown", "--out", "out", "--jobs", "1"], 2, "no recorded mission was found"),
        (["unknown", "--out", "unknown/a.txt"], 2, "is a file"),
        (["unknown", "--out", "out", "--engine", "spark://x"], 2, "no engine 'spark://x'"),
        (["nosuch://bucket", "--out", "out"], 2, "nosuch://bucket cannot be read"),
        (["unknown", "--out", "out", "--engine", "dask://127.0.0.1:9"], 5, "no dask scheduler answers"),
    ],
    ids=["no-source", "missing", "glob", "empty", "unknown", "out", "engine", "protocol", "unreachable"],
)
def test_what_cannot_be_done_is_said_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    told: str,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "unknown").mkdir()
    (tmp_path / "unknown" / "a.txt").write_text("no recording")
    assert execute(["batch", *arguments]) == code
    said = capfd.readouterr().err
    assert told in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("package", "arguments"),
    [("pyarrow", []), ("fsspec", ["memory://x"]), ("distributed", ["--engine", "dask://127.0.0.1:9"])],
    ids=["pyarrow", "fsspec", "dask"],
)
def test_a_package_that_is_missing_is_named_with_how_to_get_it(
    quartermaster, tmp_path: Path, package: str, arguments: list[str]
):
    hidden = tmp_path / "hidden" / package
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not here')\n")
    (tmp_path / "in.ndjson").write_bytes(mission(1, 1))
    path = os.pathsep.join([str(hidden.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = quartermaster("batch", "in.ndjson", *arguments, "--out", "out", PYTHONPATH=path)
    assert done.returncode == 2
    assert "pip install 'quartermaster[batch]'" in done.stderr


def test_two_batches_do_not_write_into_one_folder(quartermaster, tmp_path: Path):
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "in.ndjson").write_bytes(mission(1, 1))
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = quartermaster("batch", "in.ndjson", "--out", out)
    assert done.returncode == 2
    assert "another batch writes into" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_may_not_be_read_is_said(quartermaster, tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    done = quartermaster("batch", closed, "--out", tmp_path / "out")
    assert done.returncode == 4
    assert "may not be read" in done.stderr
