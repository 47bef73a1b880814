"""Clients that go on while the daemon dies: one writes files, some send entries, one queues evaluations."""

import http.client
import json
import random
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

from faults.promises import Promises
from running import Answer, Daemon

LARGE_MISSIONS = ("large-a", "large-b")
SENT_MISSIONS = 5

_FILES = 6
_GIVE_UP_SHARE = 0.3
_RETRY = (429, 503)


class Line:
    """Where the daemon can be reached at the moment; nobody answers while it is dead."""

    def __init__(self) -> None:
        self.daemon: Daemon | None = None
        self.closing = threading.Event()

    def ask(self, method: str, path: str, body: object, headers: dict[str, str]) -> Answer | None:
        """The answer of whoever is there; None when it died over it, or when it asks for patience."""
        while (daemon := self.daemon) is None:
            time.sleep(0.01)
        try:
            answer = daemon.request(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            return None
        return None if answer.status in _RETRY else answer


class Clients:
    """All clients, working until `finish`. The same seed makes the same choices."""

    def __init__(self, inbox: Path, promises: Promises, line: Line, seed: int) -> None:
        self._inbox = inbox
        self._promises = promises
        self._line = line
        self._numbers = count()
        self._number_lock = threading.Lock()
        works = (self._write_files, self._send_entries, self._send_entries, self._queue_runs)
        self._threads = [
            threading.Thread(target=work, args=(random.Random(f"{seed}-{place}"),), daemon=True)
            for place, work in enumerate(works)
        ]

    def start(self) -> None:
        """Let them work, each on its own."""
        for thread in self._threads:
            thread.start()

    def finish(self, seconds: float) -> None:
        """Let every client bring to an end what it began; needs a daemon that lives."""
        self._line.closing.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.1))
        if any(thread.is_alive() for thread in self._threads):
            self._promises.breaks("client stuck", f"a client got no answer within {seconds:g} s")

    def _next(self) -> int:
        with self._number_lock:
            return next(self._numbers)

    def _write_files(self, choice: random.Random) -> None:
        """Append to growing files, sometimes half a line first; a new file now and then."""
        paths = [self._inbox / f"grows-{index}.ndjson" for index in range(_FILES)]
        while not self._line.closing.wait(choice.uniform(0.005, 0.04)):
            if choice.random() < 0.02:
                paths.append(self._inbox / f"grows-{len(paths)}.ndjson")
            path = choice.choice(paths)
            entries = [
                self._entry(path.stem, f"j_{self._random_id(choice)}") for _ in range(choice.randint(1, 20))
            ]
            data = b"".join(encoded(entry) + b"\n" for entry in entries)
            cut = choice.randrange(len(data)) if choice.random() < 0.3 else len(data)
            with path.open("ab", buffering=0) as file:
                file.write(data[:cut])
                if cut < len(data):
                    time.sleep(choice.uniform(0.001, 0.05))
                    file.write(data[cut:])
            for entry in entries:
                self._promises.wrote(path, entry["id"], entry["payload"]["number"])

    def _send_entries(self, choice: random.Random) -> None:
        """Send batches; one without an answer is sent again, or given up and left in doubt."""
        while not self._line.closing.wait(choice.uniform(0.005, 0.03)):
            mission = f"sent-{choice.randrange(SENT_MISSIONS)}"
            ids = [f"sent-{self._random_id(choice)}" for _ in range(choice.randint(1, 20))]
            entries = [self._entry(mission, entry_id) for entry_id in ids]
            keyed = {"Idempotency-Key": ids[0]} if choice.random() < 0.5 else {}
            numbers = {entry["id"]: entry["payload"]["number"] for entry in entries}
            self._promises.offers(numbers)
            body = b"\n".join(map(encoded, entries))
            while True:
                answer = self._line.ask("POST", "/api/v1/journal", body, keyed)
                if answer is not None:
                    self._note_sent(numbers, answer)
                    break
                if choice.random() < _GIVE_UP_SHARE:
                    break

    def _note_sent(self, numbers: dict[str, int], answer: Answer) -> None:
        told = answer.json if answer.status == 200 else {}
        if told.get("accepted", 0) + told.get("duplicate", 0) != len(numbers) or told.get("rejected"):
            self._promises.breaks("answer wrong", f"{answer.status} {answer.json} for {len(numbers)} entries")
            return
        self._promises.acknowledges(numbers)

    def _queue_runs(self, choice: random.Random) -> None:
        """Queue evaluations. Each has a key of its own and is asked for until it is acknowledged."""
        while not self._line.closing.wait(choice.uniform(0.02, 0.2)):
            kind, asked = self._evaluation(choice)
            key = {"Idempotency-Key": self._random_id(choice)}
            answer = None
            while answer is None:
                answer = self._line.ask("POST", f"/api/v1/eval/{kind}", asked, key)
            if answer.status != 202:
                self._promises.breaks("answer wrong", f"{answer.status} {answer.json} for a {kind}")
                continue
            self._promises.acknowledges_run(answer.json["run_id"], {"kind": kind, **asked})

    def _evaluation(self, choice: random.Random) -> tuple[str, dict[str, Any]]:
        if choice.random() < 0.2:
            return "regression", {
                "baseline_mission_id": LARGE_MISSIONS[0],
                "candidate_mission_id": LARGE_MISSIONS[1],
            }
        return "replay", {"mission_id": choice.choice(LARGE_MISSIONS), "seed": choice.randrange(3)}

    def _entry(self, mission: str, entry_id: str) -> dict[str, Any]:
        return entry_of(mission, entry_id, self._next())

    def _random_id(self, choice: random.Random) -> str:
        return f"{choice.getrandbits(64):016x}"


def write_large_missions(inbox: Path, promises: Promises, entries: int) -> None:
    """Missions that take a while to evaluate and do not change after this."""
    for place, mission in enumerate(LARGE_MISSIONS):
        path = inbox / f"{mission}.ndjson"
        numbers = range(10**9 * (place + 1), 10**9 * (place + 1) + entries)
        made = [entry_of(mission, f"j_{number:016x}", number) for number in numbers]
        path.write_bytes(b"".join(encoded(entry) + b"\n" for entry in made))
        for entry in made:
            promises.wrote(path, entry["id"], entry["payload"]["number"])


def entry_of(mission: str, entry_id: str, number: int) -> dict[str, Any]:
    """A native entry of one of a few types; its time follows from its number."""
    kind = number % 3
    seconds, fraction = divmod(number % 10**7, 1000)
    entry: dict[str, Any] = {
        "id": entry_id,
        "mission_id": mission,
        "ts": f"2026-01-{1 + seconds // 86400 % 28:02d}T{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:"
        f"{seconds % 60:02d}.{fraction:03d}Z",
        "actor_type": "agent",
    }
    if kind == 0:
        payload = {
            "model": "m-1",
            "input_tokens": number % 700,
            "output_tokens": number % 90,
            "cost_usd": 0.001,
        }
        return entry | {"entry_type": "llm.call", "payload": payload | {"number": number}}
    if kind == 1:
        payload = {"command": f"step {number % 40}", "exit_code": int(number % 9 == 0)}
        return entry | {"entry_type": "exec.command", "payload": payload | {"number": number}}
    return entry | {"entry_type": "note.written", "payload": {"number": number, "text": "x" * (number % 300)}}


def encoded(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode()
