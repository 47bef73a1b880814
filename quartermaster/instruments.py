"""What a process counts and measures of itself, and how Prometheus reads it (text format 0.0.4)."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG_SECONDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 600.0)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)

Labels = Mapping[str, str]


class Gauge:
    """Values of this moment. Each has its own labels, which distinguish it."""

    kind = "gauge"

    def __init__(self, name: str, about: str, values: Iterable[tuple[Labels, float]]) -> None:
        self.name = name
        self.about = about
        self._values = values

    def lines(self) -> Iterator[str]:
        return (_sample(self.name, labels, value) for labels, value in self._values)


class Total(Gauge):
    """The same of what only grows, and is counted by somebody else."""

    kind = "counter"


class Count:
    """How often something has happened, by the values of its labels. Threads may add at once."""

    kind = "counter"

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.about = about
        self._labels = labels
        self._counts: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def add(self, amount: int, *values: str) -> None:
        """`values` are those of the labels, in their order."""
        if amount:
            with self._lock:
                self._counts[values] = self._counts.get(values, 0) + amount

    def lines(self) -> Iterator[str]:
        with self._lock:
            counts = sorted(self._counts.items())
        for values, count in counts:
            yield _sample(self.name, dict(zip(self._labels, values, strict=True)), count)


class Histogram:
    """How large something was each time, by the values of its labels. Threads may observe at once."""

    kind = "histogram"

    def __init__(
        self, name: str, about: str, bounds: Sequence[float] = SECONDS, labels: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.about = about
        self._bounds = bounds
        self._labels = labels
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *values: str) -> None:
        """`values` are those of the labels, in their order."""
        with self._lock:
            counts = self._counts.setdefault(values, [0] * (len(self._bounds) + 1))
            counts[bisect_left(self._bounds, value)] += 1
            self._sums[values] = self._sums.get(values, 0.0) + value

    def lines(self) -> Iterator[str]:
        with self._lock:
            found = sorted(
                (values, tuple(counts), self._sums[values]) for values, counts in self._counts.items()
            )
        for values, counts, total in found:
            labels = dict(zip(self._labels, values, strict=True))
            bounds = (*map(_number, self._bounds), "+Inf")
            for bound, count in zip(bounds, accumulate(counts), strict=True):
                yield _sample(f"{self.name}_bucket", {**labels, "le": bound}, count)
            yield _sample(f"{self.name}_sum", labels, total)
            yield _sample(f"{self.name}_count", labels, sum(counts))


Instrument = Gauge | Count | Histogram


def exposition(instruments: Iterable[Instrument]) -> bytes:
    """All of them as Prometheus reads them."""
    lines: list[str] = []
    for one in instruments:
        lines += (f"# HELP {one.name} {_escaped(one.about)}", f"# TYPE {one.name} {one.kind}", *one.lines())
    return "".join(f"{line}\n" for line in lines).encode()


def _sample(name: str, labels: Labels, value: float) -> str:
    if not labels:
        return f"{name} {_number(value)}"
    pairs = ",".join(f'{key}="{_quoted(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
