"""What benchmarks share: a folder, recordings, a home with a million entries; and the rows they give."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import daemon
import entries
import processes

MIB = 2**20
BIG, MIDDLE, SMALL = "mission-of-a-million", "mission-of-100-thousand", "mission-of-200"
SIZES = {BIG: 1_000_000, MIDDLE: 100_000, SMALL: 200}
_REST_SECONDS = 30.0
_TAILS_CLOSED_SECONDS = 18.0
"""Tails are compressed when a mission has been quiet for ten seconds, which is looked at every five."""


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is ours over the floor, in the direction in which the bar is given."""

    what: str
    at_least: str
    aim: str
    ours: str
    floor: str = ""
    ratio: str = ""


@dataclass(frozen=True)
class Grown:
    """A home after a daemon has ingested a million entries, and what that took."""

    home: Path
    idle_rss: int
    ingested_rss: int
    peak_rss: int
    rested_rss: int
    bytes_per_entry: float
    entries_per_cpu_second: float


@dataclass
class Workshop:
    """Where one run of the benchmarks works. Everything that is expensive is made once, when needed."""

    folder: Path
    repeat: int
    made: dict[str, Path] = field(default_factory=dict)

    def recording(self, mission: str, count: int) -> Path:
        """A file of that many entries."""
        if mission not in self.made:
            path = self.folder / f"{mission}.ndjson"
            self.made[mission] = entries.write_recording(path, count, mission, seed=count)
        return self.made[mission]

    def new_folder(self, name: str) -> Path:
        """An empty folder."""
        path = self.folder / f"{name}-{time.monotonic_ns()}"
        path.mkdir()
        return path

    @cached_property
    def grown(self) -> Grown:
        """Three missions of different size, ingested by a daemon from dropped files."""
        home = self.new_folder("grown") / "home"
        recordings = {mission: self.recording(mission, count) for mission, count in SIZES.items()}
        with daemon.running(home) as ours:
            time.sleep(5)
            idle = processes.tree_rss(ours.pid)
            cpu = processes.tree_cpu(ours.pid)
            with processes.peak_rss(ours.pid) as peak:
                ours.ingest(recordings[BIG], BIG, SIZES[BIG])
            cpu = processes.tree_cpu(ours.pid) - cpu
            ingested = processes.tree_rss(ours.pid)
            time.sleep(_REST_SECONDS)
            rested = processes.tree_rss(ours.pid)
        stored = _size_of(home)
        with daemon.running(home) as ours:
            for mission in (MIDDLE, SMALL):
                ours.ingest(recordings[mission], mission, SIZES[mission])
            time.sleep(_TAILS_CLOSED_SECONDS)
        return Grown(home, idle, ingested, peak[0], rested, stored / SIZES[BIG], SIZES[BIG] / cpu)


def _size_of(home: Path) -> int:
    return sum(path.stat().st_size for path in home.glob("quartermaster.db*"))


def median(sample: Callable[[], float], times: int) -> float:
    """The median of some samples."""
    return statistics.median(sample() for _ in range(times))


def interleaved(times: int, *samples: Callable[[], float]) -> list[float]:
    """The median of each sample; they take turns, so that noise of the machine meets all of them."""
    found: list[list[float]] = [[] for _ in samples]
    for _ in range(times):
        for values, sample in zip(found, samples, strict=True):
            values.append(sample())
    return [statistics.median(values) for values in found]


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of the values lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
