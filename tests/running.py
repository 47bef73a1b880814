"""A real daemon in a process of its own, for tests: started on a home, spoken to over HTTP, ended."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

T = TypeVar("T")

START_SECONDS = 30.0

PROGRAM: tuple[str, ...] = (
    (os.environ["QUARTERMASTER_BINARY"],)
    if os.environ.get("QUARTERMASTER_BINARY")
    else (sys.executable, "-m", "quartermaster")
)
"""What is tested: this interpreter's package, or the single file that a variable names."""


class Answer(NamedTuple):
    """One answer; `json` is None where the body is empty or no JSON. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    json: Any


class DaemonFailed(Exception):
    """The daemon did not start or did not stop; the message ends with what it logged."""


class Daemon:
    """A running daemon. As a context manager it is stopped, or killed where it does not stop."""

    def __init__(self, home: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.home = home
        self.process = process
        self.log = log
        self.url = ""
        self.token = ""
        self.start_seconds = 0.0

    @classmethod
    def launch(
        cls,
        home: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> "Launched":
        """Start the process and do not wait for it. It logs to a file beside the home."""
        home.parent.mkdir(parents=True, exist_ok=True)
        log = home.with_name(home.name + ".log")
        address = home / "address"
        before = _looks_of(address)
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [*program, "serve", "--home", home, "--port", "0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=home.parent,  # not the source tree, which would come before an installed wheel
                env={
                    **clean_environment(),
                    "QUARTERMASTER_STORAGE_BALLAST_BYTES": "0",
                    **(environment or {}),
                },
            )
        return Launched(cls(home, process, log), address, before, time.monotonic())

    @classmethod
    def start(
        cls,
        home: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> "Daemon":
        """Start a daemon on the home and wait until it says that it is ready."""
        return cls.launch(home, *arguments, environment=environment, program=program).ready()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float = 10.0,
    ) -> Answer:
        """One request with the home's token. Bytes are sent as they are, anything else as JSON.

        Raises OSError or http.client.HTTPException when no whole answer came.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}"}
        if data is not None:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=seconds)
        try:
            connection.request(method, path, body=data, headers={**sent, **(headers or {})})
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, _json_of(raw, names.get("content-type", "")))

    def get(self, path: str) -> Any:
        """The JSON of a GET that has to succeed."""
        answer = self.request("GET", path)
        assert answer.status == 200, f"GET {path}: {answer.status} {answer.json}"
        return answer.json

    def text(self, path: str) -> str:
        """The text of a GET that has to succeed."""
        asked = Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with urlopen(asked, timeout=10) as response:
            answer: bytes = response.read()
        return answer.decode()

    def wait_for(self, predicate: Callable[[], T], seconds: float = 10.0) -> T:
        """The first true value of the predicate; AssertionError with the end of the log after that time."""
        deadline = time.monotonic() + seconds
        while True:
            value = predicate()
            if value:
                return value
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"waited {seconds:g} s in vain for it: {value!r}\n{self.last_words()}")
            time.sleep(0.02)

    def wait_for_run(self, run_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """The row of a run, with its report, once the run has ended."""

        def ended() -> dict[str, Any] | None:
            row: dict[str, Any] = self.get(f"/api/v1/eval/runs/{run_id}")
            return row if row["status"] in ("completed", "failed") else None

        row = self.wait_for(ended, seconds)
        assert row is not None
        return row

    def stop(self, seconds: float = 10.0) -> float:
        """Ask the daemon to stop; how many seconds it took. DaemonFailed on a bad exit code."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DaemonFailed(f"no stop within {seconds:g} s\n{self.last_words()}") from None
        if code != 0:
            raise DaemonFailed(f"exit code {code}\n{self.last_words()}")
        return time.monotonic() - began

    def kill(self) -> None:
        """End the daemon with SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is not None:
            return
        if kind is None:
            self.stop()
        else:
            self.kill()


class Launched:
    """A daemon that was started and has not said yet that it is ready."""

    def __init__(self, daemon: Daemon, address: Path, before: tuple[int, int] | None, began: float) -> None:
        self.daemon = daemon
        self._address = address
        self._before = before
        self._began = began

    def ready(self, seconds: float = START_SECONDS) -> Daemon:
        """The daemon, once it listens and is ready; killed, and DaemonFailed, where that does not come."""
        daemon = self.daemon
        deadline = self._began + seconds
        while not self._is_ready():
            if daemon.process.poll() is not None:
                raise DaemonFailed(f"ended with {daemon.process.returncode}\n{daemon.last_words()}")
            if time.monotonic() > deadline:
                daemon.kill()
                raise DaemonFailed(f"not ready within {seconds:g} s\n{daemon.last_words()}")
            time.sleep(0.01)
        daemon.start_seconds = time.monotonic() - self._began
        return daemon

    def _is_ready(self) -> bool:
        looks = _looks_of(self._address)
        if looks is None or looks == self._before:  # an address that a killed daemon left behind
            return False
        told = self._address.read_text()
        if not told.endswith("\n"):
            return False
        self.daemon.url = told.strip()
        self.daemon.token = (self.daemon.home / "token").read_text().strip()
        try:
            return self.daemon.request("GET", "/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False


def run_command(home: Path, *arguments: object, seconds: float = 60.0) -> "subprocess.CompletedProcess[str]":
    """One command of the command line on a home."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments), "--home", home],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=home.parent,
        env=clean_environment(),
    )


def deliver(source: Path, folder: Path, name: str | None = None) -> Path:
    """Drop a copy of a recording into a folder, whole at once."""
    place = folder / (name or source.name)
    partial = place.with_name(place.name + ".part")
    partial.write_bytes(source.read_bytes())
    return partial.rename(place)


def _looks_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def clean_environment() -> dict[str, str]:
    """This process's variables without those that set the program."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QUARTERMASTER_")}


def _json_of(raw: bytes, content_type: str) -> Any:
    return json.loads(raw) if raw and "json" in content_type else None
