"""Ten thousand missions on two workers of a real dask cluster: the same tables, a killed worker, a ratio.

    python tests/benchmarks/batch.py [--missions 10000]

One process of this machine evaluates them first, then a scheduler and two workers of one thread each do
it again, twice: undisturbed for the time, and with one worker killed by SIGKILL in the middle. The tables
must be equal byte for byte. Times are those of whole runs: reading, evaluating, writing tables; the start of
the cluster is left out, and that of the processes is in. Exits with 1 where anything differs.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from batch_missions import write_missions  # noqa: E402 - found by the line above

TABLES = ("missions", "findings", "files", "rejected")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
WORKERS = 2


@contextmanager
def cluster() -> Iterator[Any]:
    """A scheduler and two worker processes, kept alive by their nannies."""
    import distributed

    os.environ["PYTHONPATH"] = str(ROOT)
    with distributed.LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address=None,
    ) as started:
        yield started


def run(folder: Path, out: Path, *options: str) -> dict[str, Any]:
    """The summary of one batch from nothing, with its seconds by the clock."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "quartermaster", "batch", folder, "--out", out, "--json", *options]
    began, used = time.monotonic(), processor_seconds()
    done = subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE)
    summary: dict[str, Any] = json.loads(done.stdout)
    return {**summary, "clock": time.monotonic() - began, "processor": processor_seconds() - used}


def processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def worker_seconds(started: Any) -> list[float]:
    """Processor time of each worker of a cluster so far."""
    with started.get_client() as client:
        return list(client.run(time.process_time).values())


def kill_one_worker(started: Any, out: Path, killed: list[int]) -> None:
    """Waits until something is done, then kills a worker."""
    while not list((out / "parts").glob("*.part")):
        time.sleep(0.05)
    with started.get_client() as client:
        pid = next(iter(client.run(os.getpid).values()))
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


def equal(one: Path, other: Path) -> bool:
    return all(
        (one / f"{name}.parquet").read_bytes() == (other / f"{name}.parquet").read_bytes() for name in TABLES
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--missions", type=int, default=10_000)
    missions = parser.parse_args().missions
    with tempfile.TemporaryDirectory(prefix="batch-") as temporary:
        place = Path(temporary)
        folder = write_missions(place / "in", missions)
        load = os.getloadavg()
        alone = run(folder, place / "alone", "--jobs", "1")
        with cluster() as started:
            engine = ("--engine", f"dask://{started.scheduler_address.removeprefix('tcp://')}")
            before = worker_seconds(started)
            together = run(folder, place / "together", *engine)
            workers = [after - at for at, after in zip(before, worker_seconds(started), strict=True)]
            shutil.rmtree(place / "disturbed", ignore_errors=True)
            killed: list[int] = []
            killing = threading.Thread(target=kill_one_worker, args=(started, place / "disturbed", killed))
            killing.start()
            disturbed = run(folder, place / "disturbed", *engine)
            killing.join()
        same = equal(place / "alone", place / "together"), equal(place / "alone", place / "disturbed")
    ratio = alone["clock"] / together["clock"]
    for line in (
        f"{missions:,} missions, {alone['findings']:,} findings; {os.cpu_count()} processors,"
        f" load before {load[0]:.1f}, after {os.getloadavg()[0]:.1f}",
        f"one process: {alone['clock']:.1f} s by the clock, {alone['processor']:.1f} s of processor",
        f"{WORKERS} dask workers: {together['clock']:.1f} s, {ratio:.2f} times as fast, equal: {same[0]}",
        f" of processor {', '.join(f'{one:.1f}' for one in workers)}, the rest {together['processor']:.1f} s",
        f"one killed: {disturbed['clock']:.1f} s, {disturbed['missions']:,} missions, equal: {same[1]}",
    ):
        sys.stdout.write(line + "\n")
    return 0 if all(same) and killed and disturbed["missions"] == missions else 1


if __name__ == "__main__":
    sys.exit(main())
