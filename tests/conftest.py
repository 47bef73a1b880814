"""What tests of several rooms share: a home folder of their own, the command line, a running daemon."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "Daemon"]

_PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests know their own settings only; what is for the tests themselves stays."""
    for name in list(os.environ):
        if name.startswith("QUARTERMASTER_") and name not in (
            "QUARTERMASTER_TRACES",
            "QUARTERMASTER_TEST_INSTALLED",
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a home folder may be made."""
    return tmp_path / "home"


@pytest.fixture
def samples() -> Path:
    """The sample recordings of this project."""
    return Path(__file__).resolve().parents[1] / "data" / "samples"


@pytest.fixture
def quartermaster(home: Path, tmp_path: Path) -> Run:
    """Runs one command on the home and gives its exit code, stdout and stderr."""

    def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "quartermaster", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "QUARTERMASTER_HOME": str(home), **environment},
        )

    return run


class Daemon:
    """`quartermaster serve` on a home, on a free port, ready to be asked."""

    def __init__(self, home: Path, log: Path, *arguments: object) -> None:
        self.home = home
        self._log = log
        with log.open("a") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quartermaster", "serve", "--home", home, "--port", "0", *arguments],
                stderr=stderr,
                cwd=home.parent,
            )
        self.url = self._wait_until_ready()
        self.token = (home / "token").read_text().strip()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def events(self) -> list[dict[str, Any]]:
        """The structured lines of the log."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """One request as the owner of the first token, or with another one; status and document."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.status, json.loads(response.read() or b"{}")
        connection.close()
        return answer

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(_PATIENCE)

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            with suppress(OSError, http.client.HTTPException):
                url = (self.home / "address").read_text().strip()
                connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return url
            time.sleep(0.02)
        raise AssertionError(f"the daemon did not get ready: {self.log}")


@pytest.fixture
def start_daemon(home: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts daemons on the home; what still runs at the end of the test is killed."""
    started: list[Daemon] = []

    def start(*arguments: object) -> Daemon:
        daemon = Daemon(home, tmp_path / "serve.log", *arguments)
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
