"""Kill the daemon again and again while clients work, then hold it to everything that it promised.

Run it: python tests/faults/kill.py --rounds 60

It prints one JSON object and exits with 1 when a promise was not kept.
"""

import argparse
import json
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' own folder, when run as a program

from faults.check import check_api, check_database, check_processes
from faults.clients import Clients, Line, write_large_missions
from faults.promises import Promises, Violation
from faults.sabotage import MODES, sabotage
from running import Daemon, DaemonFailed

_EARLY_SHARE = 0.25
_EARLY_SECONDS = 0.6
_LATE_SECONDS = 1.2
_SETTLE_SECONDS = 180.0
_CLIENT_SECONDS = 60.0
_SHOWN = 20


class Ordeal:
    """One home, one daemon that is killed and started, and clients that know nothing of it."""

    def __init__(self, home: Path, *, seed: int, large_entries: int) -> None:
        self.home = home
        self.promises = Promises()
        self.kills = 0
        self.kills_before_ready = 0
        self.start_seconds: list[float] = []
        self.settle_seconds = 0.0
        self._choice = random.Random(seed)
        self._line = Line()
        inbox = home / "inbox/local"
        inbox.mkdir(parents=True, mode=0o700)
        write_large_missions(inbox, self.promises, large_entries)
        self._clients = Clients(inbox, self.promises, self._line, seed)

    @property
    def database(self) -> Path:
        return self.home / "quartermaster.db"

    def endure(self, rounds: int) -> Daemon:
        """Kill as often as that; the living daemon after everything has settled."""
        self._start_with_large_missions()
        self._clients.start()
        for _ in range(rounds):
            time.sleep(self._choice.uniform(0, _LATE_SECONDS))
            self._kill()
            self._start_and_kill_too_early()
            self._start()
        time.sleep(_LATE_SECONDS)
        return self._settle()

    def _start_with_large_missions(self) -> None:
        self._start()
        assert self._line.daemon is not None
        self._line.daemon.wait_for(
            lambda: self._ask("select count(*) from source where state = 'complete'") >= 2, 60
        )

    def _start(self) -> None:
        daemon = Daemon.start(self.home)
        self.start_seconds.append(daemon.start_seconds)
        self._line.daemon = daemon

    def _start_and_kill_too_early(self) -> None:
        """Now and then a start is not survived either."""
        while self._choice.random() < _EARLY_SHARE:
            launched = Daemon.launch(self.home)
            time.sleep(self._choice.uniform(0, _EARLY_SECONDS))
            launched.daemon.kill()
            self.kills += 1
            self.kills_before_ready += 1

    def _kill(self) -> None:
        daemon = self._line.daemon
        assert daemon is not None
        if daemon.process.poll() is not None:
            self.promises.breaks("daemon died", daemon.last_words())
        daemon.kill()
        self._line.daemon = None
        self.kills += 1

    def _settle(self) -> Daemon:
        daemon = self._line.daemon
        assert daemon is not None
        began = time.monotonic()
        self._clients.finish(_CLIENT_SECONDS)
        while not self._is_settled() and time.monotonic() < began + _SETTLE_SECONDS:
            time.sleep(0.1)
        self.settle_seconds = time.monotonic() - began
        return daemon

    def _is_settled(self) -> bool:
        lines = sum(map(len, self.promises.lines.values()))
        return bool(
            self._ask("select coalesce(sum(accepted + rejected + duplicate + conflicting), 0) from source")
            >= lines
            and not self._ask("select count(*) from eval_run where status in ('queued', 'running')")
        )

    def _ask(self, query: str) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return int(connection.execute(query).fetchone()[0])

    def check_log(self) -> list[Violation]:
        """A kill is nothing that a later start should have to complain about."""
        log = self.home.with_name(self.home.name + ".log").read_text(errors="replace")
        lines = [line for line in log.splitlines() if "Traceback" in line or '"level": "error"' in line]
        return [Violation("error logged", line) for line in lines]

    def figures(self, violations: list[Violation]) -> dict[str, Any]:
        statuses = "select count(*) from eval_run where "
        return {
            "kills": self.kills,
            "kills_before_ready": self.kills_before_ready,
            "acknowledged_entries": len(self.promises.acknowledged),
            "entries_in_files": sum(map(len, self.promises.lines.values())),
            "files": len(self.promises.lines),
            "entries_in_doubt": len(self.promises.numbers) - len(self.promises.expected),
            "runs": {
                "acknowledged": len(self.promises.runs),
                "completed": self._ask(statuses + "status = 'completed'"),
                "second_attempts": self._ask(statuses + "attempt > 1"),
                "interrupted": self._ask(statuses + "reason = 'interrupted'"),
            },
            "restart_seconds": {
                "median": round(statistics.median(self.start_seconds), 3),
                "max": round(max(self.start_seconds), 3),
            },
            "settle_seconds": round(self.settle_seconds, 1),
            "database_bytes": self.database.stat().st_size,
            "violations": len(violations),
            "kinds": dict(Counter(one.kind for one in violations)),
            "examples": [f"{one.kind}: {one.what}"[:500] for one in violations[:_SHOWN]],
        }


def run(
    home: Path, *, rounds: int, seed: int, large_entries: int, damage: str | None = None
) -> dict[str, Any]:
    """Endure, stop, perhaps do damage, check; the figures."""
    ordeal = Ordeal(home, seed=seed, large_entries=large_entries)
    ordeal.endure(rounds).stop()
    if damage is not None:
        sabotage(damage, ordeal.database)
    violations = [
        *ordeal.promises.broken,
        *check_processes(ordeal.database),
        *check_database(ordeal.database, ordeal.promises),
        *ordeal.check_log(),
    ]
    try:
        with Daemon.start(home) as daemon:
            violations += check_api(daemon, ordeal.promises)
    except (DaemonFailed, AssertionError) as error:
        violations.append(Violation("api fails", str(error)))
    return {"rounds": rounds, "seed": seed, **ordeal.figures(violations)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--large-entries", type=int, default=40_000, help="size of the missions evaluated")
    parser.add_argument("--sabotage", choices=sorted(MODES), help="do this damage before the check")
    parser.add_argument("--keep", action="store_true", help="leave the home behind and name it on stderr")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="quartermaster-kill-"))
    try:
        figures = run(
            folder / "home",
            rounds=chosen.rounds,
            seed=chosen.seed,
            large_entries=chosen.large_entries,
            damage=chosen.sabotage,
        )
    finally:
        if chosen.keep:
            print(folder, file=sys.stderr)
        else:
            shutil.rmtree(folder)
    print(json.dumps(figures, indent=2))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
