"""A gate held against the user's own history: runs of one task by one variant differ by chance alone.

So every alarm between them is a false one (an A/A test). Thresholds that would have kept false alarms at
5 % follow from the same pairs, and injected effects say what such thresholds would no longer see.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Final

import msgspec

from quartermaster.core.comparison import TOLERANCE, Profile, worsening
from quartermaster.core.resampling import Rate
from quartermaster.core.set_comparison import FEWEST_TASKS, compare_sets
from quartermaster.core.set_verdicts import SetComparison
from quartermaster.core.trials import Policy, Trial

if TYPE_CHECKING:
    import numpy

PAIR_METRICS: Final = ("tool_success_rate", "steps_to_goal", "total_cost_usd", "hallucinations")
LEVEL: Final = 0.05
FEWEST_PAIRS: Final = 20
"""With fewer, no share of them is 5 %."""
RUNS_OF_TASK: Final = 20
"""Of a task with more runs the first ones are paired, or it would outweigh all others."""
_VARIANTS: Final = 5
_STEP: Final = 1_000
"""Thresholds are rounded up to a thousandth, as a person would write them."""

_PAIR_EFFECTS: Final = (
    ("tool_success_rate", 0.10),
    ("tool_success_rate", 0.20),
    ("steps_to_goal", 0.30),
    ("steps_to_goal", 1.00),
    ("total_cost_usd", 0.30),
    ("total_cost_usd", 1.00),
    ("hallucinations", 1.0),
    ("hallucinations", 3.0),
)
_SET_EFFECTS: Final = (
    ("mission_success", 0.10),
    ("mission_success", 0.20),
    ("work_steps", 0.30),
    ("total_cost_usd", 0.30),
)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One mission of the history: as sets see it, and the numbers that pairs are gated by."""

    variant: str | None
    trial: Trial
    numbers: Mapping[str, float | None]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How often an injected effect raises an alarm of its metric: now, and with the tuned threshold.

    `effect` is a share of calls or missions, a share on top of steps and cost, a count of hallucinations.
    """

    metric: str
    effect: float
    now: Rate
    tuned: Rate | None


class MetricTuning(msgspec.Struct, frozen=True, kw_only=True):
    """One metric's false alarms. `alone` holds 5 % for this metric, `tuned` for all metrics together.

    None: no threshold does, or there are too few comparisons to say.
    """

    metric: str
    threshold: float
    false_alarms: Rate
    alone: float | None
    tuned: float | None


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """One gate, of pairs or of the sets of one variant, over the history.

    `held_out` is the rate of false alarms on one half of the tasks with thresholds from the other half.
    """

    compared: int
    tasks: int
    any: Rate
    any_tuned: Rate | None
    held_out: Rate | None
    metrics: tuple[MetricTuning, ...]
    seen: tuple[Seen, ...]
    variant: str | None = None


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What the history says of the gates; `pairs` is None where no task was run twice by one variant."""

    missions: int
    resamples: int
    pairs: Tuned | None
    sets: tuple[Tuned, ...]

    @property
    def pair_thresholds(self) -> dict[str, float]:
        """The tuned thresholds of pairs, where there is one."""
        if self.pairs is None:
            return {}
        return {one.metric: one.tuned for one in self.pairs.metrics if one.tuned is not None}


_Row = Mapping[str, float]
"""By how much each metric got worse in one comparison; metrics that cannot be compared are absent."""
_Thresholds = Mapping[str, float | None]


def tune(history: Iterable[Known], profile: Profile, policy: Policy, *, resamples: int, seed: int) -> Tuning:
    """Replays the history as A/A tests; the order in which it is given makes no difference."""
    missions = sorted(history, key=lambda one: one.trial.mission_id)
    groups = _repeated(missions)
    return Tuning(
        missions=len(missions),
        resamples=resamples,
        pairs=_tuned_pairs(groups, profile) if groups else None,
        sets=tuple(_tuned_sets(groups, policy, resamples, seed)),
    )


def _repeated(missions: Iterable[Known]) -> dict[tuple[str, str], list[Known]]:
    """By variant and task, in order; tasks run once tell nothing."""
    groups: dict[tuple[str, str], list[Known]] = {}
    for one in missions:
        if one.trial.task is not None:
            groups.setdefault((one.variant or "", one.trial.task), []).append(one)
    return {key: groups[key] for key in sorted(groups) if len(groups[key]) >= 2}


def _tuned_pairs(groups: Mapping[tuple[str, str], Sequence[Known]], profile: Profile) -> Tuned:
    by_group = [[_moved(*pair) for pair in permutations(runs[:RUNS_OF_TASK], 2)] for runs in groups.values()]
    now: dict[str, float] = {metric: float(getattr(profile, metric)) for metric in PAIR_METRICS}
    rows = [row for group in by_group for row in group]
    halves = [[row for group in by_group[start::2] for row in group] for start in (0, 1)]
    tuned = _holding_together(rows, PAIR_METRICS)
    seen = tuple(
        Seen(
            metric=metric,
            effect=effect,
            now=_alarms(changed, {metric: now[metric]}),
            tuned=None if tuned[metric] is None else _alarms(changed, {metric: tuned[metric]}),
        )
        for metric, effect in _PAIR_EFFECTS
        if (changed := [_with_effect(row, metric, effect) for row in rows if metric in row])
    )
    return _tuned(rows, halves, now, tuned, seen, len(groups))


def _moved(baseline: Known, candidate: Known) -> dict[str, float]:
    moved: dict[str, float] = {}
    for metric in PAIR_METRICS:
        before, after = baseline.numbers.get(metric), candidate.numbers.get(metric)
        if before is not None and after is not None:
            moved[metric] = worsening(metric, before, after)
    return moved


def _with_effect(row: _Row, metric: str, effect: float) -> dict[str, float]:
    """The same pair, had the candidate got worse by the effect as well."""
    moved = row[metric]
    grown = (
        (1 + moved) * (1 + effect) - 1 if metric in ("steps_to_goal", "total_cost_usd") else moved + effect
    )
    return {metric: grown}


def _tuned(  # noqa: PLR0917 - the parts of one record
    rows: Sequence[_Row],
    halves: Sequence[Sequence[_Row]],
    now: Mapping[str, float],
    tuned: _Thresholds,
    seen: tuple[Seen, ...],
    tasks: int,
    variant: str | None = None,
) -> Tuned:
    can_hold = any(threshold is not None for threshold in tuned.values())
    return Tuned(
        compared=len(rows),
        tasks=tasks,
        any=_alarms(rows, now),
        any_tuned=_alarms(rows, tuned) if can_hold else None,
        held_out=_held_out(halves, tuple(now)),
        metrics=tuple(
            MetricTuning(
                metric=metric,
                threshold=threshold,
                false_alarms=_alarms([row for row in rows if metric in row], {metric: threshold}),
                alone=_holding(rows, metric, LEVEL),
                tuned=tuned[metric],
            )
            for metric, threshold in now.items()
        ),
        seen=seen,
        variant=variant,
    )


def _alarms(rows: Sequence[_Row], thresholds: _Thresholds) -> Rate:
    """A metric without a threshold raises none."""
    hits = sum(
        any(
            threshold is not None and row.get(metric, -math.inf) > threshold + TOLERANCE
            for metric, threshold in thresholds.items()
        )
        for row in rows
    )
    return Rate(hits, len(rows))


def _holding(rows: Sequence[_Row], metric: str, level: float) -> float | None:
    """The smallest threshold that at most a share of `level` of the rows exceeds."""
    moved = sorted((row[metric] for row in rows if metric in row), reverse=True)
    if len(moved) < FEWEST_PAIRS:
        return None
    reached = max(0.0, moved[int(level * len(moved) + TOLERANCE)])
    if not math.isfinite(reached):
        return None
    if metric in ("hallucinations", "guardrail_blocks"):
        return float(math.ceil(reached - TOLERANCE))
    return math.ceil(reached * _STEP - TOLERANCE) / _STEP


def _holding_together(rows: Sequence[_Row], metrics: Sequence[str]) -> dict[str, float | None]:
    """Thresholds of one level for every metric, the highest with which all together hold 5 %."""
    for thousandths in range(50, -1, -1):
        thresholds = {metric: _holding(rows, metric, thousandths / 1_000) for metric in metrics}
        if (_alarms(rows, thresholds).share or 0.0) <= LEVEL:
            return thresholds
    return thresholds


def _held_out(halves: Sequence[Sequence[_Row]], metrics: Sequence[str]) -> Rate | None:
    if min(map(len, halves)) < FEWEST_PAIRS:
        return None
    one, other = halves
    rates = [
        _alarms(judged, _holding_together(known, metrics)) for known, judged in ((one, other), (other, one))
    ]
    return Rate(sum(rate.hits for rate in rates), sum(rate.of for rate in rates))


def _tuned_sets(
    groups: Mapping[tuple[str, str], Sequence[Known]], policy: Policy, resamples: int, seed: int
) -> Iterable[Tuned]:
    """The variants with the most repeated tasks: their runs are dealt into two arms, again and again."""
    variants: dict[str, list[list[Trial]]] = {}
    for (variant, _), runs in groups.items():
        trials = [one.trial for one in runs[: 2 * RUNS_OF_TASK]]
        variants.setdefault(variant, []).append([trial for trial in trials if trial.terminal])
    repeated = {name: [runs for runs in tasks if len(runs) >= 2] for name, tasks in variants.items()}
    enough = [name for name in sorted(repeated) if len(repeated[name]) >= FEWEST_TASKS]
    for variant in sorted(enough, key=lambda name: -len(repeated[name]))[:_VARIANTS]:
        yield _tuned_set(variant, repeated[variant], policy, resamples, seed)


def _tuned_set(
    variant: str, tasks: Sequence[Sequence[Trial]], policy: Policy, resamples: int, seed: int
) -> Tuned:
    """The rule asks for a threshold and a test: what is not significant counts as no worsening at all."""
    gates = [metric for family in policy.families for metric in family.metrics]
    now = {metric: policy.threshold_of(metric) for metric in gates}
    rows = _compared(tasks, policy, resamples, seed, _unchanged)
    tuned = _raised(rows, now) if _too_often(_alarms(rows, now)) else now
    seen = []
    for number, (metric, effect) in enumerate(_SET_EFFECTS, start=1):
        if metric not in gates:
            continue
        change = _injecting(metric, effect, _successes(tasks))
        drawn = _compared(tasks, policy, max(1, resamples // 2), seed + number, change)
        changed = [row for row in drawn if metric in row]
        seen.append(
            Seen(
                metric=metric,
                effect=effect,
                now=_alarms(changed, {metric: now[metric]}),
                tuned=_alarms(changed, {metric: tuned[metric]}),
            )
        )
    return _tuned(rows, [[], []], now, tuned, tuple(seen), len(tasks), variant)


def _too_often(rate: Rate) -> bool:
    """Beyond 5 % by more than the draws explain: three errors."""
    return bool(rate.of) and rate.hits / rate.of > LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / rate.of)


def _raised(rows: Sequence[_Row], now: Mapping[str, float]) -> dict[str, float | None]:
    held = _holding_together(rows, tuple(now))
    return {metric: max(now[metric], held[metric] or 0.0) for metric in now}


Change = Callable[[Trial, "numpy.random.Generator"], Trial]


def _compared(
    tasks: Sequence[Sequence[Trial]], policy: Policy, resamples: int, seed: int, change: Change
) -> list[dict[str, float]]:
    """The significant worsenings of each resample; minus infinity stands for any other change."""
    import numpy as np  # noqa: PLC0415 - a fifth of a second that only a simulation needs

    rng = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for _ in range(resamples):
        baseline: list[Trial] = []
        candidate: list[Trial] = []
        for runs in tasks:
            dealt = [runs[int(place)] for place in rng.permutation(len(runs))]
            half = len(runs) // 2
            baseline += dealt[:half]
            candidate += [change(trial, rng) for trial in dealt[half : 2 * half]]
        rows.append(_significant(compare_sets(baseline, candidate, policy, explore=False)))
    return rows


def _significant(comparison: SetComparison) -> dict[str, float]:
    return {
        metric.metric: math.inf
        if metric.worsening is None
        else metric.worsening
        if metric.verdict in ("regressed", "drift")
        else -math.inf
        for metric in comparison.metrics
        if metric.verdict not in ("not_gated", "not_comparable")
    }


def _unchanged(trial: Trial, rng: "numpy.random.Generator") -> Trial:
    return trial


def _successes(tasks: Sequence[Sequence[Trial]]) -> float:
    return sum(trial.succeeded for runs in tasks for trial in runs) / sum(map(len, tasks))


def _injecting(metric: str, effect: float, successes: float) -> Change:
    """So many of the successes are lost that the rate falls by the effect; steps and cost grow by it."""
    flipped = min(1.0, effect / successes) if successes else 0.0

    def lose(trial: Trial, rng: "numpy.random.Generator") -> Trial:
        lost = trial.succeeded and rng.random() < flipped
        return msgspec.structs.replace(trial, success=False) if lost else trial

    def grow(trial: Trial, rng: "numpy.random.Generator") -> Trial:
        number = trial.values.get(metric)
        if number is None:
            return trial
        return msgspec.structs.replace(trial, values={**trial.values, metric: number * (1 + effect)})

    return lose if metric == "mission_success" else grow
