"""Child processes that compute for the daemon: a thread cannot be ended, and keeps all others waiting."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import anyio
import msgspec
import structlog
from anyio import CancelScope
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

T = TypeVar("T")

TRIES: Final = 2
"""How many processes one request may cost."""
ANSWER_LIMIT: Final = 64 * 2**20
WORKER_MEMORY: Final = 4 << 30
"""Bytes of its own that such a process may have."""
BACKGROUND_NICENESS: Final = 10
"""Of a process whose answer nobody waits for: requests of people go first."""
PACKAGE_HOME: Final = Path(__file__).resolve().parent.parent
"""Where a child process works, so that nothing in the user's own folder is imported."""
_KILL_SECONDS: Final = 5.0
_LAST_WORDS: Final = 1.0
"""For a worker that closed its pipe to have ended."""

_log = structlog.get_logger()


def worker_command(
    database: Path, memory_bytes: int = WORKER_MEMORY, *, niceness: int = BACKGROUND_NICENESS
) -> list[str]:
    """How a worker is started: as a hidden command, which a single-file build of the program has too."""
    options = {"--database": database.absolute(), "--memory": memory_bytes, "--nice": niceness}
    return [*own_program(), "worker", *(str(word) for option in options.items() for word in option)]


def own_program() -> list[str]:
    """How this program is started once more, to be followed by the arguments of a command."""
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "quartermaster"]


class WorkerDied(Exception):
    """A child process ended or talked nonsense in the middle of a request."""


class _Worker:
    """One child process in a session of its own."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._answers = BufferedByteReceiveStream(process.stdout)
        self.idle_since = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, request: bytes, answers: msgspec.json.Decoder[T]) -> T:
        try:
            await self._requests.send(request + b"\n")
            return answers.decode(await self._answers.receive_until(b"\n", ANSWER_LIMIT))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError) as error:
            raise WorkerDied(await self._last_words()) from error
        except (anyio.DelimiterNotFound, msgspec.DecodeError) as error:
            raise WorkerDied("an answer that cannot be read") from error

    async def kill(self) -> None:
        """End the whole session at once; a stopped or busy process ends too."""
        with CancelScope(shield=True), anyio.move_on_after(_KILL_SECONDS):
            if self.alive:
                _kill_group(self.pid)
            await self._process.aclose()

    async def _last_words(self) -> str:
        with anyio.move_on_after(_LAST_WORDS):
            await self._process.wait()
        code = self._process.returncode
        if code is None:
            return "it closed its pipe"
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Workers:
    """Child processes that are kept warm for a while after their last request. All methods belong to the
    event loop."""

    def __init__(self, command: Sequence[str], idle_seconds: float) -> None:
        self._command = command
        self._idle_seconds = idle_seconds
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.pid for worker in (*self._busy, *self._idle) if worker.alive)

    async def ask(self, request: bytes, answers: msgspec.json.Decoder[T], **about: str) -> T:
        """Have one request answered; whatever interrupts this also ends the process that worked on it.

        Another process is asked when one ends by itself, or answers with what the decoder refuses. The log
        tells of each, and what it was asked `about`; raises WorkerDied once that were as many as are tried.
        """
        last = WorkerDied("none was started")
        for _ in range(TRIES):
            try:
                return await self._ask_one(request, answers)
            except WorkerDied as error:
                _log.warning("worker died", how=str(error), **about)
                last = error
        raise last

    async def _ask_one(self, request: bytes, answers: msgspec.json.Decoder[T]) -> T:
        worker = await self._take()
        self._busy.add(worker)
        answered = False
        try:
            answer = await worker.ask(request, answers)
            answered = True
        finally:
            self._busy.discard(worker)
            if not answered:
                await worker.kill()
        worker.idle_since = time.monotonic()
        self._idle.append(worker)
        return answer

    async def retire(self) -> None:
        """Give back the memory of those that have had nothing to do for a while, or that died meanwhile."""
        latest = time.monotonic() - self._idle_seconds
        retired = [worker for worker in self._idle if worker.idle_since <= latest or not worker.alive]
        self._idle = [worker for worker in self._idle if worker not in retired]
        for worker in retired:
            await worker.kill()

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().kill()

    async def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            await worker.kill()
        return await self._start()

    async def _start(self) -> _Worker:
        """The folder of the package is the working directory: nothing in the user's own is imported."""
        try:
            # Shielded: a process that was started must come back to somebody who ends it.
            with CancelScope(shield=True):
                process = await anyio.open_process(
                    self._command, stderr=None, cwd=PACKAGE_HOME, start_new_session=True
                )
        except OSError as error:
            raise WorkerDied(f"it could not be started: {error.strerror}") from error
        return _Worker(process)
