"""What the installed rules do to an agent that did not change, and to one that did.

A table of repeated runs is dealt into two arms, task by task, and judged by `compare_sets` as it is. The
rates carry their Monte-Carlo error. Nothing here is random but what the seed makes so.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from quartermaster.core import measures, noise
from quartermaster.core.measures import MEASURES
from quartermaster.core.sequential import watch
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.set_verdicts import SetComparison
from quartermaster.core.trials import Policy, Trial, pair_up

if TYPE_CHECKING:
    import numpy

GATES: Final = ("mission_success", "tool_success_rate", "hallucinations", "work_steps", "total_cost_usd")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded run of a table."""

    task: str
    trial: int
    success: bool
    work_steps: float
    tool_calls: int
    tool_errors: int
    ungrounded: int
    cost_usd: float


class Injected(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to the candidate: `success_drop` as a share of all missions, effort as a factor."""

    success_drop: float = 0.0
    effort: float = 1.0


class Rate(msgspec.Struct, frozen=True):
    """How often something happened, with its Monte-Carlo error."""

    hits: int
    of: int

    @property
    def share(self) -> float | None:
        return self.hits / self.of if self.of else None

    @property
    def error(self) -> float | None:
        share = self.share
        return None if share is None else math.sqrt(share * (1 - share) / self.of)


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """How many resamples raised an alarm: of any gate metric, and of each."""

    tasks: int
    trials: int
    injected: Injected
    any: Rate
    metrics: dict[str, Rate]


def simulate(
    rows: Sequence[Row],
    *,
    tasks: int,
    trials: int,
    resamples: int,
    seed: int,
    injected: Injected | None = None,
    policy: Policy | None = None,
) -> Simulation:
    """Compares `resamples` pairs of arms of `tasks` x `trials` drawn from the same runs.

    Tasks are drawn without repetition as long as the table has enough of them, runs of a task never fall
    into both arms. Without an injected effect every alarm is a false one.
    """
    effect = injected or Injected()
    hits = dict.fromkeys(GATES, 0)
    alarms = 0
    for baseline, candidate in _arms(
        rows, effect, tasks=tasks, trials=trials, resamples=resamples, seed=seed
    ):
        regressed = _regressed(compare_sets(baseline, candidate, policy, explore=False))
        alarms += bool(regressed)
        for metric in regressed:
            hits[metric] += 1
    return Simulation(
        tasks=tasks,
        trials=trials,
        injected=effect,
        any=Rate(alarms, resamples),
        metrics={metric: Rate(count, resamples) for metric, count in hits.items()},
    )


def interval_coverage(
    rows: Sequence[Row], *, tasks: int, trials: int, resamples: int, seed: int
) -> dict[str, Rate]:
    """How often the 95 % interval of an unchanged agent holds the truth, no change.

    Resamples in which no task moved are left out of a metric: they say nothing about width.
    """
    covered: dict[str, list[int]] = {metric: [0, 0] for metric in GATES}
    for baseline, candidate in _arms(
        rows, Injected(), tasks=tasks, trials=trials, resamples=resamples, seed=seed
    ):
        pairing = pair_up(baseline, candidate, Policy())
        for metric, counts in covered.items():
            runs = measures.paired_runs(MEASURES[metric], pairing.pairs)
            interval = measures.interval_of(MEASURES[metric], runs)
            if interval is not None and interval.low < interval.high:
                counts[0] += interval.low <= 0 <= interval.high
                counts[1] += 1
    return {metric: Rate(*counts) for metric, counts in covered.items()}


def outside_noise_alarms(rows: Sequence[Row], *, earlier_runs: int, read: Callable[[Row], float]) -> Rate:
    """How often one run of an unchanged agent is graded `outside-noise`, over all choices in the table.

    Each run in turn is the candidate, and each choice of a baseline is held against the history of
    `earlier_runs` runs of the task, the baseline among them; the variance comes from the other tasks.
    """
    by_task = _by_task(rows)
    values = {task: [read(row) for row in runs] for task, runs in by_task.items()}
    hits = seen = 0
    for task, runs in values.items():
        project = {other: known for other, known in values.items() if other != task}
        for place, candidate in enumerate(runs):
            earlier = [value for index, value in enumerate(runs) if index != place][:earlier_runs]
            if len(earlier) < earlier_runs or min(candidate, *earlier) <= 0:
                continue
            history = noise.History(task=tuple(earlier), project=project)
            for baseline in earlier:
                hits += noise.grade_rise(baseline, candidate, history).grade == "outside-noise"
                seen += 1
    return Rate(hits, seen)


def watched(
    rows: Sequence[Row], *, tasks: int, resamples: int, seed: int, injected: Injected | None = None
) -> tuple[Rate, tuple[int, ...]]:
    """How often a batch that is looked at after every task raises an alarm, and after how many tasks."""
    stops: list[int] = []
    for baseline, candidate in _arms(
        rows, injected or Injected(), tasks=tasks, trials=1, resamples=resamples, seed=seed
    ):
        worse = better = 0
        for seen, (before, after) in enumerate(zip(baseline, candidate, strict=True), start=1):
            if before.succeeded == after.succeeded:
                continue
            worse += before.succeeded
            better += after.succeeded
            if watch(worse, better).state == "alarm":
                stops.append(seen)
                break
    return Rate(len(stops), resamples), tuple(stops)


def trial_of(row: Row, mission_id: str, task: str | None = None) -> Trial:
    return Trial(
        mission_id=mission_id,
        task=row.task if task is None else task,
        order=row.trial,
        status="succeeded" if row.success else "failed",
        values={
            "work_steps": row.work_steps,
            "total_cost_usd": row.cost_usd,
            "hallucinations": float(row.ungrounded),
        },
        tool_ok=row.tool_calls - row.tool_errors,
        tool_errors=row.tool_errors,
    )


def _regressed(comparison: SetComparison) -> list[str]:
    return [metric.metric for metric in comparison.metrics if metric.verdict == "regressed"]


def _by_task(rows: Iterable[Row]) -> dict[str, list[Row]]:
    tasks: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.task, row.trial)):
        tasks.setdefault(row.task, []).append(row)
    return tasks


def _arms(
    rows: Sequence[Row], injected: Injected, *, tasks: int, trials: int, resamples: int, seed: int
) -> "Iterable[tuple[list[Trial], list[Trial]]]":
    import numpy as np  # noqa: PLC0415 - a fifth of a second that only a simulation needs

    rng = np.random.Generator(np.random.PCG64(seed))
    by_task = [runs for runs in _by_task(rows).values() if len(runs) >= 2 * trials]
    if not by_task:
        raise ValueError(f"no task of the table has {2 * trials} runs")
    successes = sum(row.success for runs in by_task for row in runs) / sum(map(len, by_task))
    flipped = min(1.0, injected.success_drop / successes) if successes else 0.0
    for _ in range(resamples):
        chosen = rng.choice(len(by_task), size=tasks, replace=tasks > len(by_task))
        baseline: list[Trial] = []
        candidate: list[Trial] = []
        for number, index in enumerate(chosen):
            runs = by_task[int(index)]
            dealt = [runs[int(place)] for place in rng.permutation(len(runs))[: 2 * trials]]
            name = f"{number}"
            baseline += [trial_of(row, f"b{name}.{n}", name) for n, row in enumerate(dealt[:trials])]
            candidate += [
                trial_of(_changed(row, injected, flipped, rng), f"c{name}.{n}", name)
                for n, row in enumerate(dealt[trials:])
            ]
        yield baseline, candidate


def _changed(row: Row, injected: Injected, flipped: float, rng: "numpy.random.Generator") -> Row:
    """A success is lost with the chance that makes the drop, work and cost are multiplied."""
    return msgspec.structs.replace(
        row,
        success=row.success and not (flipped and rng.random() < flipped),
        work_steps=row.work_steps * injected.effort,
        cost_usd=row.cost_usd * injected.effort,
    )
