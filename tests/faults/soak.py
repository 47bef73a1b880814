"""Let a daemon live as it will for months: files grow, clients read, streams are open, runs are queued.

Run it: python tests/faults/soak.py --minutes 30

It prints one JSON object and exits with 1 when the memory of the daemon grows by a tenth or more after it
has warmed up, a descriptor leaks, the p99 of a read reaches 100 ms, or a request fails.
"""

import argparse
import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' own folder, when run as a program

from running import Daemon

_FILES = 50
_CLIENTS = 4
_STREAMS = 2
_GROWTH = 1.10
_READ_SECONDS = 0.100
_WARM_SHARE = 0.2
_READS = (
    "/api/v1/missions",
    "/api/v1/missions/m1",
    "/api/v1/journal?limit=50",
    "/api/v1/journal?mission_id=m2&limit=100",
    "/api/v1/eval/runs",
    "/api/v1/sources",
)


class Soak:
    """One daemon, and everybody who wants something of it, each in a thread of its own."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon = daemon
        self.entries = 0
        self.runs = 0
        self.events = 0
        self.reads: dict[str, list[float]] = {path: [] for path in _READS}
        self.failures: list[str] = []
        self.memory: list[int] = []
        self.descriptors: list[int] = []
        self._choice = random.Random(seed)
        self._stop = threading.Event()

    def last(self, seconds: float) -> None:
        """So long all of it goes on; the daemon is measured ten times a minute at the least."""
        threads = [threading.Thread(target=self._write), threading.Thread(target=self._queue)]
        threads += [threading.Thread(target=self._read, args=(number,)) for number in range(_CLIENTS)]
        threads += [threading.Thread(target=self._listen, daemon=True) for _ in range(_STREAMS)]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._stop.wait(min(5.0, seconds / 20))
            self.memory.append(_resident(self.daemon.process.pid))
            self.descriptors.append(len(os.listdir(f"/proc/{self.daemon.process.pid}/fd")))
        self._stop.set()
        for thread in threads:
            thread.join(15)

    def _write(self) -> None:
        inbox = self.daemon.home / "inbox/local"
        while not self._stop.wait(0.05):
            number = self._choice.randrange(_FILES)
            lines = [self._line(number) for _ in range(self._choice.randint(1, 20))]
            with (inbox / f"f{number}.jsonl").open("a") as file:
                file.writelines(lines)

    def _line(self, number: int) -> str:
        self.entries += 1
        entry = {
            "id": f"s{self.entries}",
            "mission_id": f"m{number}",
            "ts": "2027-01-01T00:00:00Z",
            "entry_type": "exec.command",
            "payload": {"command": "ls", "exit_code": 0, "output": "x" * self._choice.randint(0, 400)},
        }
        return json.dumps(entry) + "\n"

    def _queue(self) -> None:
        while not self._stop.wait(1.0):
            self._ask("POST", "/api/v1/eval/replay", {"mission_id": f"m{self.runs % _FILES}"}, (202, 404))
            self.runs += 1

    def _read(self, number: int) -> None:
        turn = number
        while not self._stop.wait(0.1):
            turn += 1
            path = _READS[turn % len(_READS)]
            began = time.perf_counter()
            self._ask("GET", path, None, (200, 404))
            self.reads[path].append(time.perf_counter() - began)

    def _ask(self, method: str, path: str, body: object, allowed: tuple[int, ...]) -> None:
        try:
            status = self.daemon.request(method, path, body).status
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{method} {path}: {type(error).__name__}")
            return
        if status not in allowed:
            self.failures.append(f"{method} {path}: {status}")

    def _listen(self) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.daemon.url).netloc, timeout=60)
        connection.request(
            "GET", "/api/v1/eval/runs/stream", headers={"Authorization": f"Bearer {self.daemon.token}"}
        )
        response = connection.getresponse()
        if response.status != 200:
            self.failures.append(f"event stream: {response.status}")
        while not self._stop.is_set() and (line := response.readline()):
            self.events += line.startswith(b"data:")
        connection.close()


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _middle(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def _fill(daemon: Daemon, entries: int) -> None:
    """Missions of earlier days, so that what the program keeps in memory of its database is there already."""
    lines = (
        json.dumps(
            {
                "id": f"e{number}",
                "mission_id": f"earlier-{number // 1000}",
                "ts": "2026-12-01T00:00:00Z",
                "entry_type": "exec.command",
                "payload": {"command": "ls", "exit_code": 0, "output": "x" * (number % 400)},
            }
        )
        + "\n"
        for number in range(entries)
    )
    with (daemon.home / "inbox/local/earlier.jsonl").open("w") as file:
        file.writelines(lines)
    daemon.wait_for(
        lambda: daemon.get("/api/v1/journal/count?entry_type=exec.command")["count"] >= entries, 600
    )


def run(*, minutes: float, seed: int, earlier: int = 0) -> dict[str, Any]:
    """Let it live so long; the figures. `earlier` entries are there before anything is measured."""
    with tempfile.TemporaryDirectory(prefix="quartermaster-soak-") as name:
        home = Path(name) / "home"
        (home / "inbox/local").mkdir(parents=True, mode=0o700)
        home.chmod(0o700)
        with Daemon.start(home) as daemon:
            _fill(daemon, earlier)
            soak = Soak(daemon, seed)
            soak.last(minutes * 60)
            deadline = time.monotonic() + 30
            while _kept(daemon) < min(soak.entries, _FILES) and time.monotonic() < deadline:
                time.sleep(0.2)
        size = (home / "quartermaster.db").stat().st_size
    warm = max(1, int(len(soak.memory) * _WARM_SHARE))
    fifth = max(1, (len(soak.memory) - warm) // 5)
    memory, descriptors = soak.memory[warm:], soak.descriptors[warm:]
    reads = sorted(one for path in _READS for one in soak.reads[path])
    growth = _middle(memory[-fifth:]) / _middle(memory[:fifth])
    p99 = _p99(reads)
    return {
        "minutes": minutes,
        "earlier": earlier,
        "entries": soak.entries,
        "runs": soak.runs,
        "events": soak.events,
        "reads": len(reads),
        "read_ms": {"median": round(reads[len(reads) // 2] * 1e3, 1), "p99": round(p99 * 1e3, 1)},
        "p99_ms": {path: round(_p99(taken) * 1e3, 1) for path, taken in soak.reads.items()},
        "memory_mib": {"first": _middle(memory[:fifth]) >> 20, "last": _middle(memory[-fifth:]) >> 20},
        "memory_growth": round(growth, 3),
        "descriptors": {"first": _middle(descriptors[:fifth]), "last": _middle(descriptors[-fifth:])},
        "database_bytes": size,
        "failures": len(soak.failures),
        "examples": soak.failures[:10],
        "broken": [
            name
            for name, broken in (
                ("memory", growth >= _GROWTH),
                ("descriptors", _middle(descriptors[-fifth:]) > _middle(descriptors[:fifth]) + 5),
                ("reads", p99 >= _READ_SECONDS),
                ("requests", bool(soak.failures)),
            )
            if broken
        ],
    }


def _kept(daemon: Daemon) -> int:
    return len(daemon.get("/api/v1/missions")["rows"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--earlier", type=int, default=300_000, help="entries that are there before")
    chosen = parser.parse_args()
    figures = run(minutes=chosen.minutes, seed=chosen.seed, earlier=chosen.earlier)
    print(json.dumps(figures, indent=2))
    return 1 if figures["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
