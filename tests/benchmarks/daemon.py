"""The daemon under measurement: started as a user starts it, spoken to over HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import processes

SERVE = (sys.executable, "-m", "quartermaster", "serve")


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Daemon:
    """A running daemon and one connection to it."""

    def __init__(self, pid: int, home: Path, port: int) -> None:
        self.pid = pid
        self.home = home
        self.port = port
        self.inbox = home / "inbox" / "local"
        self.token = (home / "token").read_text().strip()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one answer."""
        fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, sent, fields)
            response = self._connection.getresponse()
        except (ConnectionError, http.client.HTTPException):  # it was idle for longer than servers wait
            self._connection.close()
            self._connection.request(method, path, sent, fields)
            response = self._connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None

    def entries_of(self, mission: str) -> int:
        """How many entries a mission has; lists touch none of them."""
        _, listed = self.ask("GET", f"/api/v1/missions?limit=1&q={quote(mission)}")
        return int(listed["rows"][0]["entries"]) if listed["rows"] else 0

    def drop(self, recording: Path) -> None:
        """Let a whole file appear in the inbox at once."""
        staged = self.home / f".{recording.name}"
        os.link(recording, staged)
        staged.rename(self.inbox / recording.name)

    def ingest(self, recording: Path, mission: str, entries: int) -> None:
        """Drop a file and wait until all of its entries can be asked for."""
        before = self.entries_of(mission)
        self.drop(recording)
        processes.wait_until(lambda: self.entries_of(mission) >= before + entries, 600, 0.2)

    def queue_replay(self, mission: str) -> str:
        """The id of a run that is queued."""
        status, queued = self.ask("POST", "/api/v1/eval/replay", {"mission_id": mission})
        assert status == 202, queued
        return str(queued["run_id"])

    def wait_for_run(self, run_id: str) -> dict[str, Any]:
        """The row of a run that has ended."""
        row: dict[str, Any] = {}

        def ended() -> bool:
            row.update(self.ask("GET", f"/api/v1/eval/runs/{run_id}")[1])
            return row["status"] in ("completed", "failed")

        processes.wait_until(ended, 600, 0.02)
        assert row["status"] == "completed", row
        return row


@contextmanager
def running(home: Path, **settings: str) -> Iterator[Daemon]:
    """A daemon that is ready, for as long as the block runs; `settings` are environment variables."""
    port = free_port()
    process = start(home, port, **settings)
    try:
        wait_ready(process, port)
        yield Daemon(process.pid, home, port)
    finally:
        stop(process)


def start(home: Path, port: int, **settings: str) -> "subprocess.Popen[bytes]":
    """Spawn a daemon."""
    home.mkdir(parents=True, exist_ok=True)
    log = (home.parent / f"{home.name}.log").open("ab")
    with log:
        return subprocess.Popen(
            [*SERVE, "--home", str(home), "--port", str(port)],
            stdout=log,
            stderr=log,
            cwd=home.parent,
            env={**os.environ, **settings},
        )


def wait_ready(process: "subprocess.Popen[bytes]", port: int, path: str = "/readyz") -> None:
    """Until the first 200, asked for every 5 ms."""
    deadline = time.monotonic() + 60
    while not _answers_ok(port, path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the server did not start; see its log")
        time.sleep(0.005)


def _answers_ok(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def stop(process: "subprocess.Popen[bytes]") -> None:
    """An orderly end."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
