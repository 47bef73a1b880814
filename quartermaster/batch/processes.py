"""Worker processes of this machine. One that dies costs the recording that it had, and no other.

A worker is this program started once more. It reads chunks from its stdin and answers on its stdout, piece
by piece, each with its length before it; the first answer is empty and says that it is there. It ends when
its stdin does, so none outlives the program that started it for longer than one recording.
"""

import os
import selectors
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Final

from quartermaster.batch.engines import Done, Lost
from quartermaster.batch.evaluation import Chunk, Rules, Work, pack_chunk, perform_each
from quartermaster.errors import QuartermasterError, RunFailed
from quartermaster.workers import own_program

_LENGTH: Final = 8
_PIECE: Final = 1 << 20
_END_SECONDS: Final = 5.0
_WAITS_SECONDS: Final = 120.0
"""How long the processes that are left may take to start before they count as broken."""


class _Worker:
    """A process and the work that it has not answered yet."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        self.process = subprocess.Popen(
            [*own_program(), "batch-worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            process_group=0,  # an interrupt from the keyboard is for us alone
        )
        self.is_there = False
        self.work: deque[Work] = deque()
        self._received = bytearray()

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def give(self, chunk: Sequence[Work], packed: bytes) -> None:
        """A dead worker says so where it is read from."""
        self.work.extend(chunk)
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(len(packed).to_bytes(_LENGTH, "big") + packed)
            self.process.stdin.flush()
        except BrokenPipeError:
            return

    def receive(self) -> Iterator[Done] | None:
        """What was answered since; None when it is dead."""
        piece = os.read(self.output.fileno(), _PIECE)
        self._received += piece
        return self._answers() if piece else None

    def _answers(self) -> Iterator[Done]:
        while len(self._received) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._received[:_LENGTH], "big")
            if len(self._received) < end:
                return
            answer = bytes(self._received[_LENGTH:end])
            del self._received[:end]
            if self.is_there:
                yield Done(self.work.popleft(), answer)
            self.is_there = True

    def end(self) -> str:
        """Ends it if it still lives; the last line that it said."""
        self.process.kill()
        self.process.communicate(timeout=_END_SECONDS)
        with self._said as said:
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "no reason"


class Processes:
    """So many workers of this machine."""

    chunk_files = 16
    attempts = 3

    def __init__(self, jobs: int, rules: Rules, scratch: str) -> None:
        self._jobs = jobs
        self._rules = rules
        self._scratch = scratch
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers]

    def run(self, chunks: Iterable[Sequence[Work]]) -> Iterator[Done | Lost]:
        source, left = iter(chunks), deque[Sequence[Work]]()
        self._fill(source, left)
        while any(worker.work for worker in self._workers):
            events = self._selector.select(_WAITS_SECONDS)
            for key, _ in events:
                worker: _Worker = key.data
                answers = worker.receive()
                if answers is None:
                    yield from self._bury(worker, left)
                else:
                    yield from answers
            if not events and not all(worker.is_there for worker in self._workers):
                raise RunFailed("the worker processes do not start; is this machine out of memory?")
            self._fill(source, left)

    def close(self) -> None:
        for worker in self._workers:
            self._selector.unregister(worker.output)
            worker.end()
        self._workers.clear()
        self._selector.close()

    def _fill(self, source: Iterator[Sequence[Work]], left: deque[Sequence[Work]]) -> None:
        """Gives work to each worker that has none; a new one is started where there are too few."""
        while True:
            idle = next((worker for worker in self._workers if not worker.work), None)
            if idle is None and len(self._workers) >= self._jobs:
                return
            chunk = left.popleft() if left else next(source, None)
            if chunk is None:
                return
            (idle or self._start()).give(chunk, pack_chunk(Chunk(self._rules, tuple(chunk), self._scratch)))

    def _start(self) -> _Worker:
        worker = _Worker()
        self._workers.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return worker

    def _bury(self, worker: _Worker, left: deque[Sequence[Work]]) -> Iterator[Lost]:
        """The work that it had when it died; what it had not begun is for another one."""
        self._selector.unregister(worker.output)
        self._workers.remove(worker)
        said = worker.end()
        if not worker.is_there:
            raise RunFailed(
                f"a worker process did not start: {said.splitlines()[-1] if said else 'no reason'}"
            )
        if worker.process.returncode > 0 and said:
            raise RunFailed(f"a worker process failed: {said.splitlines()[-1]}")
        if worker.work:
            yield Lost(worker.work.popleft())
        if worker.work:
            left.append(tuple(worker.work))


def serve() -> int:
    """The life of a worker: its exit code."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, prints to stderr
    try:
        _answer(answers, b"")
        while len(head := requests.read(_LENGTH)) == _LENGTH:
            for answer in perform_each(requests.read(int.from_bytes(head, "big"))):
                _answer(answers, answer)
    except BrokenPipeError:
        return 0
    except QuartermasterError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _answer(answers: IO[bytes], answer: bytes) -> None:
    answers.write(len(answer).to_bytes(_LENGTH, "big") + answer)
    answers.flush()
