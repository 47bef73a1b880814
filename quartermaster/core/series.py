"""Missions as points: one metric over the missions of one run, with how sure and how complete it is.

A run is a day, a commit or a single mission.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Final, Literal

import msgspec

from quartermaster.core.intervals import Interval, paired_t, wilson
from quartermaster.core.trajectory import PICODOLLARS

Scale = Literal["rate", "arcsine", "log", "linear"]
Unit = Literal["ratio", "USD", "steps", "tokens", "seconds"]

LEAST_COVERAGE: Final = 0.95
_LARGEST_LOGARITHM: Final = 700.0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a trend needs to know of one mission. None is unknown; `cost` is in picodollars.

    `placed_at` orders missions: where a recording has no times, it is when it was read. Of commands and
    access decisions `results` have an outcome, and `successes` a good one.
    """

    mission_id: str
    placed_at: int
    started_at: int | None = None
    ended_at: int | None = None
    task: str | None = None
    agent: str | None = None
    model: str | None = None
    version: str | None = None
    prompt: str | None = None
    commit: str | None = None
    outcome: str | None = None
    cost: int | None = None
    tokens: int | None = None
    model_calls: int = 0
    commands: int = 0
    decisions: int = 0
    results: int = 0
    successes: int = 0


class Run(msgspec.Struct, frozen=True):
    """The missions of one agent on a day or of a commit, or a single one; `at` names which."""

    at: str
    missions: tuple[Facts, ...]


class Observation(msgspec.Struct, frozen=True):
    """One metric of one mission: its value, of how many trials, and how much of it is known."""

    value: float | None
    trials: int = 1
    known: int = 1
    of: int = 1


_UNKNOWN: Final = Observation(None, trials=0, known=0)
_NOTHING: Final = Observation(None, trials=0, known=0, of=0)


class Definition(msgspec.Struct, frozen=True):
    """A metric as a series. `threshold` names the gate of the profile whose threshold it shares."""

    name: str
    unit: Unit
    threshold: str
    read: Callable[[Facts], Observation]

    @property
    def higher_is_worse(self) -> bool:
        return not self.is_rate

    @property
    def is_rate(self) -> bool:
        return self.unit == "ratio"


METRICS: Final[dict[str, Definition]] = {}

Reads = Callable[[Facts], Observation]


def _metric(unit: Unit, *, threshold: str) -> Callable[[Reads], Reads]:
    def register(read: Reads) -> Reads:
        METRICS[read.__name__] = Definition(read.__name__, unit, threshold, read)
        return read

    return register


@_metric("ratio", threshold="tool_success_rate")
def success_rate(facts: Facts) -> Observation:
    """Missions that succeeded, of those that ended; one without an outcome may still be running."""
    return _UNKNOWN if facts.outcome is None else Observation(float(facts.outcome == "succeeded"))


@_metric("ratio", threshold="tool_success_rate")
def tool_success_rate(facts: Facts) -> Observation:
    """Commands and access decisions that succeeded, of those with an outcome."""
    of = facts.commands + facts.decisions
    if not facts.results:
        return Observation(None, 0, 0, of)
    return Observation(facts.successes / facts.results, facts.results, facts.results, of)


@_metric("USD", threshold="total_cost_usd")
def total_cost_usd(facts: Facts) -> Observation:
    return _of_model_calls(facts, None if facts.cost is None else facts.cost / PICODOLLARS)


@_metric("steps", threshold="steps_to_goal")
def work_steps(facts: Facts) -> Observation:
    """Model calls and commands."""
    return Observation(float(facts.model_calls + facts.commands))


@_metric("tokens", threshold="total_cost_usd")
def total_tokens(facts: Facts) -> Observation:
    return _of_model_calls(facts, None if facts.tokens is None else float(facts.tokens))


@_metric("seconds", threshold="steps_to_goal")
def wall_time(facts: Facts) -> Observation:
    """From the first event to the last."""
    if facts.started_at is None or facts.ended_at is None or facts.ended_at < facts.started_at:
        return _UNKNOWN
    return Observation((facts.ended_at - facts.started_at) / 1e9)


def _of_model_calls(facts: Facts, value: float | None) -> Observation:
    """A mission without a model call has neither cost nor tokens to be known."""
    if not facts.model_calls:
        return _NOTHING
    return _UNKNOWN if value is None or value < 0 else Observation(value)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over one run: a pooled rate with its Wilson interval, or a geometric mean with the t
    interval of its logarithm. `n` counts the trials of a rate, else missions.

    A point that is not `used` has no value, or less than 95 of 100 of it is known.
    """

    run: int
    at: str
    missions: int
    n: int
    value: float | None
    low: float | None
    high: float | None
    known: int
    of: int
    used: bool


class Line(msgspec.Struct, frozen=True):
    """The points of one metric; `used` are those that have a value which is known well enough."""

    definition: Definition
    scale: Scale
    points: tuple[Point, ...]
    used: tuple[Point, ...]

    def scaled(self, start: int = 0, end: int | None = None) -> list[float]:
        """The used points where noise is of one size, whatever the level: what tests and charts look at."""
        values = (point.value or 0.0 for point in self.used[start:end])
        if self.scale == "log":
            return [math.log(value) for value in values]
        if self.scale == "arcsine":
            return [math.asin(math.sqrt(value)) for value in values]
        return list(values)

    def level(self, start: int, end: int | None = None) -> float:
        """Over some used points: the pooled rate, or the mean on the scale of the series."""
        points = self.used[start:end]
        if self.scale == "log":
            return math.exp(fmean(self.scaled(start, end)))
        if self.scale == "linear":
            return fmean(self.scaled(start, end))
        return sum(point.n * (point.value or 0.0) for point in points) / sum(point.n for point in points)

    def spread(self) -> float:
        """What chance alone does to a rate, for series in which every mission ended alike."""
        if not self.definition.is_rate or not self.used:
            return 0.0
        trials = sum(point.n for point in self.used)
        usual = trials / len(self.used)
        if self.scale == "arcsine":
            return math.sqrt(1 / (4 * usual))
        rate = (self.level(0) * trials + 0.5) / (trials + 1)
        return math.sqrt(rate * (1 - rate) / usual)

    def change(self, before: float, after: float) -> float | None:
        """Of rates the difference, else the share of the level before; None where that is 0."""
        if self.definition.is_rate:
            return after - before
        return after / before - 1 if before else None


def line_of(definition: Definition, runs: Sequence[Run]) -> Line:
    """One metric over runs that are in their order."""
    observed = [[definition.read(mission) for mission in run.missions] for run in runs]
    scale = _scale(definition, observed)
    points = tuple(
        _point(number, run, seen, scale)
        for number, (run, seen) in enumerate(zip(runs, observed, strict=True))
    )
    return Line(definition, scale, points, tuple(point for point in points if point.used))


def bounded_exp(value: float) -> float:
    """Without the overflow that the interval of two very different missions may have."""
    return math.exp(min(value, _LARGEST_LOGARITHM))


def _scale(definition: Definition, observed: Sequence[Sequence[Observation]]) -> Scale:
    """A rate is stabilised where runs differ in size; the rest is logarithmic, unless a value is 0."""
    if definition.is_rate:
        sizes = {size for run in observed if (size := sum(one.trials for one in run))}
        return "rate" if len(sizes) < 2 else "arcsine"
    values = (one.value for run in observed for one in run if one.value is not None)
    return "log" if all(value > 0 for value in values) else "linear"


def _point(number: int, run: Run, observed: Sequence[Observation], scale: Scale) -> Point:
    known, of = sum(one.known for one in observed), sum(one.of for one in observed)
    told = [one for one in observed if one.value is not None]
    value, interval, n = _pooled(told) if scale in ("rate", "arcsine") else _averaged(told, scale)
    return Point(
        run=number,
        at=run.at,
        missions=len(run.missions),
        n=n,
        value=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        known=known,
        of=of,
        used=value is not None and known >= LEAST_COVERAGE * of,
    )


Estimate = tuple[float | None, Interval | None, int]


def _pooled(told: Sequence[Observation]) -> Estimate:
    trials = sum(one.trials for one in told)
    if not trials:
        return None, None, 0
    successes = round(sum((one.value or 0.0) * one.trials for one in told))
    return successes / trials, wilson(successes, trials), trials


def _averaged(told: Sequence[Observation], scale: Scale) -> Estimate:
    values = [one.value for one in told if one.value is not None]
    if not values:
        return None, None, 0
    if scale == "linear" or len(values) == 1:
        return fmean(values), paired_t(values), len(values)
    logarithms = [math.log(value) for value in values]
    interval = paired_t(logarithms)
    return math.exp(fmean(logarithms)), interval and interval.map(bounded_exp), len(values)
