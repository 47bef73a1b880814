"""How a self-test is carried out: how much of it, from what files, and over how many processes."""

import csv
import multiprocessing
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from quartermaster.core.resampling import Rate, Row
from quartermaster.selftest.figures import Figure

T = TypeVar("T")

_ALONE: Final = frozenset({"alignment"})
"""Parts that measure the memory of a process: each of their measurements has one of its own."""
_AT_ONCE: Final = 50
"""Resamples of one piece of work: the pieces and their seeds are the same for any number of processes."""


class Extent(msgspec.Struct, frozen=True):
    """How much is measured: `resamples` of the statistics, other parts in proportion to `full`."""

    resamples: int
    full: bool
    seed: int = 1


class Sources(msgspec.Struct, frozen=True):
    """The folders with the tables of repeated runs, with the sample recordings, and with recordings that
    people have labelled, where somebody has them."""

    tables: Path
    samples: Path
    recordings: Path | None = None

    def table(self, name: str) -> list[Row]:
        with (self.tables / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
            return [
                Row(
                    task=line["task"],
                    trial=int(line["trial"]),
                    success=line["success"] == "1",
                    work_steps=float(line["work_steps"]),
                    tool_calls=int(line["tool_calls"]),
                    tool_errors=int(line["tool_errors"]),
                    ungrounded=int(line["ungrounded_arguments"]),
                    cost_usd=float(line["cost_usd"]),
                )
                for line in csv.DictReader(lines)
            ]


class Work:
    """Spreads pieces of work over processes; results come in the order of the pieces."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def spread(self, function: Callable[..., T], pieces: Iterable[Sequence[Any]]) -> list[T]:
        with _interrupts_wait():
            futures = [self._pool.submit(function, *piece) for piece in pieces]
        return [future.result() for future in futures]


Part = Callable[[Work, Extent, Sources], Iterator[Figure]]


@contextmanager
def workers(processes: int, part: str) -> Iterator[Work]:
    """Processes that are started anew, not copied, so that nothing of this one is measured."""
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1 if part in _ALONE else None,
        initializer=_end_when_interrupted,
    )
    try:
        yield Work(pool)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Processes that are started meanwhile, and the thread that starts further ones, hear no Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_when_interrupted() -> None:
    """Lets Ctrl-C end this process in silence; the one that started it does the talking."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def pieces(label: str, extent: Extent) -> list[tuple[int, int]]:
    """How many resamples each piece draws, and its seed."""
    counts = [min(_AT_ONCE, extent.resamples - drawn) for drawn in range(0, extent.resamples, _AT_ONCE)]
    return [(count, seed_of(label, extent.seed, number)) for number, count in enumerate(counts)]


def seed_of(*parts: Any) -> int:
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def together(rates: Iterable[Rate]) -> Rate:
    known = list(rates)
    return Rate(sum(rate.hits for rate in known), sum(rate.of for rate in known))


def peak_megabytes() -> float:
    """The most memory this process ever held.

    Linux tells it of the process itself; elsewhere the count may begin with that of the process before.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 2**20 if sys.platform == "darwin" else held / 1024
