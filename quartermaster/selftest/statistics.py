"""False alarms, power and the truth of intervals: repeated runs of real agents are dealt into two arms."""

import math
from collections.abc import Iterator
from random import Random
from statistics import fmean, median
from typing import Final

import msgspec

from quartermaster.core.change_points import REFERENCE, course_of
from quartermaster.core.resampling import (
    GATES,
    Injected,
    Rate,
    Row,
    interval_coverage,
    outside_noise_alarms,
    simulate,
    trial_of,
    watched,
)
from quartermaster.core.set_comparison import compare_sets
from quartermaster.selftest.figures import Bar, Figure, counted, drawn
from quartermaster.selftest.work import Extent, Sources, Work, pieces, seed_of, together

PART: Final = "stats"
_SIZES: Final = ((20, 1), (50, 1), (50, 2))
_TASKS: Final = (10, 20, 50)
_RARE: Final = ("tool_success_rate", "hallucinations")
"""Where few tasks move no interval of 95 % can be as narrow as 95 %: only the lower bound is held."""
_NIGHTS: Final = 100
_CHANGE: Final = 60


def figures(work: Work, extent: Extent, sources: Sources) -> Iterator[Figure]:
    rows = sources.table("tau_airline_gpt-4o")
    yield from _false_alarms(work, extent, rows)
    yield from _power(work, extent, rows)
    yield from _grades(rows)
    yield from _coverage(work, extent, rows)
    yield from _watching(work, extent, rows)
    yield _known_difference(sources)
    yield from _change_points(work, extent)


class Trialled(msgspec.Struct, frozen=True):
    """What the arms are, what happens to the candidate, and whose alarms count: of all gates or of one."""

    tasks: int
    trials: int
    injected: Injected = Injected()
    metric: str | None = None


def _false_alarms(work: Work, extent: Extent, rows: list[Row]) -> Iterator[Figure]:
    for tasks, trials in _SIZES:
        rate = _alarms(work, extent, rows, Trialled(tasks, trials))
        what = f"false alarm, five gate metrics together, {tasks}x{trials}"
        yield drawn(PART, what, rate, Bar(most=0.055))


def _power(work: Work, extent: Extent, rows: list[Row]) -> Iterator[Figure]:
    drop = Trialled(50, 2, Injected(success_drop=0.2), "mission_success")
    rate = _alarms(work, extent, rows, drop)
    yield drawn(PART, "power, success -20 pp, 50x2", rate, Bar(least=0.85))
    rate = _alarms(work, extent, rows, Trialled(50, 1, Injected(effort=1.3)))
    yield drawn(PART, "power, effort x1.3, 50x1", rate, Bar(least=0.85))


def _alarms(work: Work, extent: Extent, rows: list[Row], trialled: Trialled) -> Rate:
    drawn_ones = pieces(f"alarms {trialled}", extent)
    return together(work.spread(alarms, [(rows, trialled, *piece) for piece in drawn_ones]))


def alarms(rows: list[Row], trialled: Trialled, resamples: int, seed: int) -> Rate:
    """How many resamples are called regressed."""
    found = simulate(
        rows,
        tasks=trialled.tasks,
        trials=trialled.trials,
        resamples=resamples,
        seed=seed,
        injected=trialled.injected,
    )
    return found.any if trialled.metric is None else found.metrics[trialled.metric]


def _grades(rows: list[Row]) -> Iterator[Figure]:
    for metric, label in (("work_steps", "steps"), ("cost_usd", "cost")):
        rate = outside_noise_alarms(rows, earlier_runs=3, read=lambda row: getattr(row, metric))  # noqa: B023
        what = f"false alarm, {label} outside-noise with 3 earlier runs"
        yield counted(PART, what, rate, Bar(most=0.06))


def _coverage(work: Work, extent: Extent, rows: list[Row]) -> Iterator[Figure]:
    for tasks in _TASKS:
        found = work.spread(
            coverage, [(rows, tasks, *piece) for piece in pieces(f"coverage {tasks}", extent)]
        )
        for metric in GATES:
            rate = together(piece[metric] for piece in found)
            bar = Bar(least=0.935) if metric in _RARE else Bar(0.935, 0.965)
            yield drawn(PART, f"95 % interval holds the truth, {metric}, {tasks}x1", rate, bar)


def coverage(rows: list[Row], tasks: int, resamples: int, seed: int) -> dict[str, Rate]:
    return interval_coverage(rows, tasks=tasks, trials=1, resamples=resamples, seed=seed)


def _watching(work: Work, extent: Extent, rows: list[Row]) -> Iterator[Figure]:
    found = work.spread(watching, [(rows, 0.0, *piece) for piece in pieces("watching", extent)])
    rate = together(rate for rate, _ in found)
    yield drawn(PART, "false alarm, watching 200 tasks as they come", rate, Bar(most=0.05))
    found = work.spread(watching, [(rows, 0.2, *piece) for piece in pieces("watching a drop", extent)])
    stops = [stop for _, stopped in found for stop in stopped]
    rate = together(rate for rate, _ in found)
    yield drawn(PART, "alarm while watching 200 tasks, success -20 pp", rate)
    middle = float(median(stops)) if stops else None
    yield Figure(part=PART, what="tasks until that alarm, median", value=middle, unit="runs", of=len(stops))


def watching(rows: list[Row], drop: float, resamples: int, seed: int) -> tuple[Rate, tuple[int, ...]]:
    return watched(rows, tasks=200, resamples=resamples, seed=seed, injected=Injected(success_drop=drop))


def _known_difference(sources: Sources) -> Figure:
    """Two designs of one agent, of which people know which is worse."""
    plain, asserting = (
        [trial_of(row, f"{name}.{row.task}") for row in sources.table(f"tau_retail_{name}")]
        for name in ("tool", "as2")
    )
    comparison = compare_sets(plain, asserting, explore=False)
    (success,) = (one for one in comparison.metrics if one.metric == "mission_success")
    rate = Rate(int(success.verdict == "regressed"), 1)
    return counted(
        PART, "a real difference of 24 pp over 100 tasks is called regressed", rate, Bar(least=1.0)
    )


def _change_points(work: Work, extent: Extent) -> Iterator[Figure]:
    series = 200 if extent.full else 20
    half = series // 2
    for kind, worse in (("success", 0.20), ("cost", 1.3)):
        unchanged = 0.0 if kind == "success" else 1.0
        still = work.spread(
            alerts, [(kind, unchanged, half, False, seed_of(kind, extent.seed, n)) for n in range(2)]
        )
        told = [night for piece in still for night in piece]
        rate = Rate(sum(night is not None for night in told), len(told))
        yield drawn(PART, f"alert on unchanged series of 100 nights, {kind}", rate, Bar(most=0.12))
        moved = work.spread(
            alerts, [(kind, worse, half, True, seed_of(kind, extent.seed, 2 + n)) for n in range(2)]
        )
        delays = [night - _CHANGE + 1 for piece in moved for night in piece if night is not None]
        shift = "-20 pp" if kind == "success" else "x1.3"
        in_time = Rate(sum(delay <= 10 for delay in delays), series)
        yield drawn(PART, f"alert within 10 nights of {kind} {shift}", in_time, Bar(least=0.95))
        middle = float(median(delays)) if delays else None
        what = f"nights until that alert, {kind}, median"
        yield Figure(part=PART, what=what, value=middle, unit="runs", bar=Bar(most=3.0), of=series)


def alerts(kind: str, changed: float, series: int, only_late: bool, seed: int) -> list[int | None]:
    """The first night with an alert of each generated series, None where there is none.

    `only_late` looks from the change on, so that a delay is a delay.
    """
    random = Random(seed)  # noqa: S311 - a simulation
    since = _CHANGE if only_late else REFERENCE + 2
    until = _CHANGE + 11 if only_late else _NIGHTS
    make = _nights_of_success if kind == "success" else _nights_of_cost
    return [_first_alert(kind, make(random, changed)[:until], since) for _ in range(series)]


def _nights_of_success(random: Random, drop: float) -> list[float]:
    """Success of 20 tasks a night, some easy and some hard."""
    easy = [random.betavariate(0.7, 0.5) for _ in range(20)]
    left = max(0.0, 1 - drop / fmean(easy))
    return [
        fmean(random.random() < task * (left if night >= _CHANGE else 1) for task in easy)
        for night in range(_NIGHTS)
    ]


def _nights_of_cost(random: Random, factor: float) -> list[float]:
    """Logarithm of the geometric mean cost of 20 tasks; the same task spreads by 0.45 from run to run."""
    tasks = [random.gauss(0, 1) for _ in range(20)]
    return [
        fmean(task + random.gauss(0, 0.45) for task in tasks) + (math.log(factor) if night >= _CHANGE else 0)
        for night in range(_NIGHTS)
    ]


def _first_alert(kind: str, values: list[float], since: int) -> int | None:
    sign, threshold = (-1, 0.05) if kind == "success" else (1, math.log(1.15))
    for count in range(since, len(values) + 1):
        for change in course_of(values[:count], spread=0.1).changes:
            before, after = values[change.start : change.index], values[change.index : change.end]
            if change.confirmed_at is not None and sign * (fmean(after) - fmean(before)) > threshold:
                return count - 1
    return None
