"""What is measured of two arms: for every metric its effect, its test and its interval.

Inside this module every number is turned so that higher is worse: failures instead of successes.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.core import plan
from quartermaster.core.intervals import (
    Interval,
    bca_bootstrap,
    newcombe_paired,
    paired_t,
    two_sample_bootstrap,
    variance,
)
from quartermaster.core.permutation import Tails, permute, seed_of, two_samples
from quartermaster.core.statistics import mcnemar_mid_p
from quartermaster.core.trials import Pair, Trial

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

RULES_VERSION: Final = 1
"""Part of every seed: other rules draw other permutations."""

Kind = Literal["outcome", "rate", "ratio", "count"]
Effect = Literal[
    "risk difference", "rate difference", "geometric mean ratio", "ratio of sums", "mean difference"
]

_LEVEL: Final = 0.95
_ONE_SIDED: Final = 0.90
"""The two-sided level whose upper end is the one-sided 95 % bound."""
_LARGEST: Final = 1e15
_SMALL: Final = 10
"""Below so many tasks an interval of outcomes comes from scores, not from Student's t."""


class Measure(NamedTuple):
    """A metric of a set. `read` gives a trial's value, higher is worse; None leaves the trial out."""

    name: str
    label: str
    kind: Kind
    read: Callable[[Trial], float | None]


class Runs(NamedTuple):
    """The values of one task in both arms, higher is worse."""

    task: str
    baseline: tuple[float, ...]
    candidate: tuple[float, ...]


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over both arms. `worsening` is a share, a count per mission or, for ratios, the
    candidate's share above the baseline; `improvement` is the same seen from the candidate. Of the two the
    one beyond all bounds, from nothing to something, is None. `worse` and `better` count tasks: None where
    missions name none."""

    effect: Effect
    test: str
    interval_method: str
    tasks: int
    baseline: float
    candidate: float
    worsening: float | None
    improvement: float | None
    interval: Interval | None
    upper_bound: float | None
    p_worse: float
    p_better: float
    worse: int | None
    better: int | None
    w: float | None
    runs_per_arm: float
    logarithmic: bool


def analyse(measure: Measure, runs: Sequence[Runs]) -> Analysis:
    """Tests and estimates one metric over at least two paired tasks."""
    if measure.kind == "ratio":
        if all(value > 0 for one in runs for value in (*one.baseline, *one.candidate)):
            return _geometric(measure, runs)
        return _ratio_of_sums(measure, runs)
    if measure.kind == "count":
        return _counts(measure, runs)
    return _shares(measure, runs)


def analyse_unpaired(measure: Measure, runs: Runs) -> Analysis:
    """The same for arms without tasks: labels shuffled over missions, bootstrap inside each arm."""
    logarithmic = measure.kind == "ratio" and min(*runs.baseline, *runs.candidate) > 0
    arms = [tuple(map(math.log, arm)) if logarithmic else arm for arm in (runs.baseline, runs.candidate)]
    of_sums = measure.kind == "ratio" and not logarithmic
    seed = seed_of((), measure.name, RULES_VERSION)
    tails = two_samples(arms[0], arms[1], seed)
    bounds = two_sample_bootstrap(
        arms[0], arms[1], _log_ratio if of_sums else _difference, (_LEVEL, _ONE_SIDED), seed=seed
    )
    before, after = _mean(arms[0]), _mean(arms[1])
    share = logarithmic or of_sums
    upper = bounds[1].high if bounds else None
    if measure.kind in ("outcome", "rate") and len({*arms[0], *arms[1]}) == 1:
        upper = _unseen(0.05, min(len(arms[0]), len(arms[1])))
    change = _log_change(before, after) if of_sums else after - before
    effects: dict[Kind, Effect] = {
        "outcome": "risk difference",
        "rate": "rate difference",
        "count": "mean difference",
        "ratio": "geometric mean ratio" if logarithmic else "ratio of sums",
    }
    return Analysis(
        effect=effects[measure.kind],
        test="permutation of the arms over missions",
        interval_method="bootstrap over missions, unpaired",
        tasks=len(runs.baseline) + len(runs.candidate),
        baseline=math.exp(before) if logarithmic else before,
        candidate=math.exp(after) if logarithmic else after,
        worsening=_natural(change, share),
        improvement=-1.0 if change is None else _natural(-change, share),
        interval=_natural_interval(bounds[0] if bounds else None, share),
        upper_bound=None if upper is None else _natural(upper, share),
        p_worse=tails.higher,
        p_better=tails.lower,
        worse=None,
        better=None,
        w=(variance(arms[0]) + variance(arms[1])) / 2,
        runs_per_arm=2 / (1 / len(arms[0]) + 1 / len(arms[1])),
        logarithmic=logarithmic,
    )


def interval_of(measure: Measure, runs: Sequence[Runs]) -> Interval | None:
    """The 95 % interval alone, of the worsening."""
    if len(runs) < 2:
        return None
    if measure.kind == "ratio":
        return estimate_ratio(measure, runs)[1]
    if measure.kind == "count":
        return _count_bounds(runs)[0]
    return _share_interval(measure, runs, _differences(runs))[0]


def estimate_ratio(measure: Measure, runs: Sequence[Runs]) -> tuple[float | None, Interval | None]:
    """A ratio's change and interval without a test."""
    if not all(value > 0 for one in runs for value in (*one.baseline, *one.candidate)):
        change, bounds = _ratio_bounds(measure, runs)
        return _natural(change, share=True), _natural_interval(bounds[0] if bounds else None, share=True)
    differences = _differences([_logs_of(one) for one in runs])
    return _natural(_mean(differences), share=True), _natural_interval(paired_t(differences), share=True)


def chance_of_worse(measure: Measure, runs: Sequence[Runs]) -> float:
    """The permutation test alone."""
    return _permuted(measure, runs)[0].higher


def means(runs: Sequence[Runs]) -> tuple[float, float]:
    """Of both arms, each task counting the same."""
    return _mean([_mean(one.baseline) for one in runs]), _mean([_mean(one.candidate) for one in runs])


def paired_runs(measure: Measure, pairs: Sequence[Pair]) -> list[Runs]:
    """The tasks in which both arms have a value."""
    found = (
        Runs(pair.task, _values(measure, pair.baseline), _values(measure, pair.candidate)) for pair in pairs
    )
    return [runs for runs in found if runs.baseline and runs.candidate]


def all_runs(measure: Measure, pairs: Sequence[Pair]) -> Runs:
    """Both arms as one, for missions without tasks."""
    baseline = [value for pair in pairs for value in _values(measure, pair.baseline)]
    candidate = [value for pair in pairs for value in _values(measure, pair.candidate)]
    return Runs("", tuple(baseline), tuple(candidate))


def value(name: str) -> Callable[[Trial], float | None]:
    """Reads a value that may be missing. Below zero is a wrong clock and above all bounds a wrong counter:
    neither is a value."""

    def read(trial: Trial) -> float | None:
        number = trial.values.get(name)
        if number is None or not 0 <= number <= _LARGEST:
            return None
        return float(number) if number >= 1 / _LARGEST else 0.0

    return read


def failure(trial: Trial) -> float:
    return 0.0 if trial.succeeded else 1.0


def tool_error_rate(trial: Trial) -> float | None:
    calls = trial.tool_ok + trial.tool_errors
    return trial.tool_errors / calls if calls else None


MEASURES: Final = {
    measure.name: measure
    for measure in (
        Measure("mission_success", "mission success", "outcome", failure),
        Measure("tool_success_rate", "tool success", "rate", tool_error_rate),
        Measure("hallucinations", "hallucinations", "count", value("hallucinations")),
        Measure("work_steps", "steps", "ratio", value("work_steps")),
        Measure("total_cost_usd", "cost", "ratio", value("total_cost_usd")),
        Measure("total_tokens", "tokens", "ratio", value("total_tokens")),
        Measure("wall_time", "wall time", "ratio", value("wall_time")),
        Measure("guardrail_blocks", "guardrail blocks", "count", value("guardrail_blocks")),
        Measure("steps", "recorded steps", "ratio", value("steps")),
    )
}


def _values(measure: Measure, trials: Sequence[Trial]) -> tuple[float, ...]:
    values = (measure.read(trial) for trial in trials)
    return tuple(number for number in values if number is not None)


def _shares(measure: Measure, runs: Sequence[Runs]) -> Analysis:
    differences = _differences(runs)
    tails, test = _share_test(measure, runs, differences)
    interval, upper, method = _share_interval(measure, runs, differences)
    change = _mean(differences)
    return _analysis(
        runs,
        effect="risk difference" if measure.kind == "outcome" else "rate difference",
        test=test,
        interval_method=method,
        change=change,
        interval=interval,
        upper=upper,
        tails=tails,
    )


def _share_test(measure: Measure, runs: Sequence[Runs], differences: Sequence[float]) -> tuple[Tails, str]:
    if measure.kind != "outcome" or not _run_once(runs):
        return _permuted(measure, runs)
    worse, better = _moved(differences)
    return Tails(mcnemar_mid_p(worse, better), mcnemar_mid_p(better, worse), exact=True), "McNemar mid-p"


def _share_interval(
    measure: Measure, runs: Sequence[Runs], differences: Sequence[float]
) -> tuple[Interval | None, float | None, str]:
    """The interval, the one-sided upper bound and how both were made.

    Where every task moved alike Student's t would promise certainty; then the bound is what so many tasks
    can exclude: 1 - alpha^(1/n), the exact bound of a rate never seen.
    """
    count = len(differences)
    if count >= 2 and variance(differences) == 0:
        change, unseen = differences[0], _unseen(0.025, count)
        interval = Interval(max(-1.0, change - unseen), min(1.0, change + unseen))
        return interval, min(1.0, change + _unseen(0.05, count)), "exact bound, no task differs from another"
    if measure.kind == "outcome" and _run_once(runs) and count < _SMALL:
        cells = _cells(runs)
        display, bounds = newcombe_paired(*cells), newcombe_paired(*cells, level=_ONE_SIDED)
        return display, bounds.high if bounds else None, "Newcombe, paired"
    bounds = paired_t(differences, _ONE_SIDED)
    return paired_t(differences), bounds.high if bounds else None, "paired t"


def _unseen(alpha: float, count: int) -> float:
    """The exact upper bound of a rate that was never seen in so many."""
    return float(1 - alpha ** (1 / count))


def _cells(runs: Sequence[Runs]) -> tuple[int, int, int, int]:
    """Of failures: in both arms, in the candidate only, in the baseline only, in neither."""
    outcomes = [(one.candidate[0] > 0, one.baseline[0] > 0) for one in runs]
    return (
        outcomes.count((True, True)),
        outcomes.count((True, False)),
        outcomes.count((False, True)),
        outcomes.count((False, False)),
    )


def _geometric(measure: Measure, runs: Sequence[Runs]) -> Analysis:
    logs = [_logs_of(one) for one in runs]
    differences = _differences(logs)
    tails, test = _permuted(measure, logs)
    bounds = paired_t(differences, _ONE_SIDED)
    return _analysis(
        logs,
        effect="geometric mean ratio",
        test=f"{test} of logarithms",
        interval_method="paired t of logarithms",
        change=_mean(differences),
        interval=paired_t(differences),
        upper=bounds.high if bounds else None,
        tails=tails,
    )


def _ratio_of_sums(measure: Measure, runs: Sequence[Runs]) -> Analysis:
    """The way out where a zero has no logarithm: the sums of the task means, bootstrapped over tasks."""
    tails, test = _permuted(measure, runs)
    change, bounds = _ratio_bounds(measure, runs)
    return _analysis(
        runs,
        effect="ratio of sums",
        test=test,
        interval_method="BCa bootstrap over tasks",
        change=change,
        interval=bounds[0] if bounds else None,
        upper=bounds[1].high if bounds else None,
        tails=tails,
    )


def _ratio_bounds(measure: Measure, runs: Sequence[Runs]) -> tuple[float | None, tuple[Interval, ...] | None]:
    means = [[_mean(one.baseline) for one in runs], [_mean(one.candidate) for one in runs]]
    seed = seed_of((one.task for one in runs), measure.name, RULES_VERSION)
    bounds = bca_bootstrap(means, _log_ratio, (_LEVEL, _ONE_SIDED), seed)
    return _log_change(math.fsum(means[0]), math.fsum(means[1])), bounds


def _counts(measure: Measure, runs: Sequence[Runs]) -> Analysis:
    tails, test = _permuted(measure, runs)
    interval, upper = _count_bounds(runs)
    return _analysis(
        runs,
        effect="mean difference",
        test=test,
        interval_method="paired t",
        change=_mean(_differences(runs)),
        interval=interval,
        upper=upper,
        tails=tails,
    )


def _count_bounds(runs: Sequence[Runs]) -> tuple[Interval | None, float | None]:
    """The interval and the one-sided upper bound; None where no task differs from another.

    Student's t, because on counts of rare events the bootstrap over tasks is too short: of unchanged agents
    it held the truth in 85 to 92 % where 95 % were promised, Student's t in 96 % and more.
    """
    differences = _differences(runs)
    if len(differences) < 2 or variance(differences) == 0:
        return None, None
    bounds = paired_t(differences, _ONE_SIDED)
    return paired_t(differences), bounds.high if bounds else None


def _analysis(
    runs: Sequence[Runs],
    *,
    effect: Effect,
    test: str,
    interval_method: str,
    change: float | None,
    interval: Interval | None,
    upper: float | None,
    tails: Tails,
) -> Analysis:
    differences = _differences(runs)
    logarithmic = effect == "geometric mean ratio"
    share = logarithmic or effect == "ratio of sums"
    worse, better = _moved(differences)
    before, after = means(runs)
    w, runs_per_arm = _noise(runs, differences)
    return Analysis(
        effect=effect,
        test=test,
        interval_method=interval_method,
        tasks=len(runs),
        baseline=math.exp(before) if logarithmic else before,
        candidate=math.exp(after) if logarithmic else after,
        worsening=_natural(change, share),
        improvement=-1.0 if change is None else _natural(-change, share),
        interval=_natural_interval(interval, share),
        upper_bound=None if upper is None else _natural(upper, share),
        p_worse=tails.higher,
        p_better=tails.lower,
        worse=worse,
        better=better,
        w=w,
        runs_per_arm=runs_per_arm,
        logarithmic=logarithmic,
    )


def _noise(runs: Sequence[Runs], differences: Sequence[float]) -> tuple[float | None, float]:
    """The variance inside tasks, pooled over both arms, and the runs per arm that it is averaged over.

    Where every task was run once it can only be had from the differences: half their variance.
    """
    shares = math.fsum(1 / len(one.baseline) + 1 / len(one.candidate) for one in runs)
    runs_per_arm = 2 * len(runs) ** 2 / shares
    inside = plan.within_task_variance([arm for one in runs for arm in (one.baseline, one.candidate)])
    if inside is not None or len(differences) < 2:
        return inside, runs_per_arm
    return variance(differences) / 2, runs_per_arm


def _permuted(measure: Measure, runs: Sequence[Runs]) -> tuple[Tails, str]:
    seed = seed_of((one.task for one in runs), measure.name, RULES_VERSION)
    tails = permute([(one.baseline, one.candidate) for one in runs], seed)
    return tails, "sign flip" if _run_once(runs) else "permutation within tasks"


def _run_once(runs: Sequence[Runs]) -> bool:
    return all(len(one.baseline) == len(one.candidate) == 1 for one in runs)


def _differences(runs: Sequence[Runs]) -> list[float]:
    return [_mean(one.candidate) - _mean(one.baseline) for one in runs]


def _moved(differences: Sequence[float]) -> tuple[int, int]:
    """How many tasks got worse and how many better."""
    return sum(one > 1e-12 for one in differences), sum(one < -1e-12 for one in differences)


def _logs_of(runs: Runs) -> Runs:
    return Runs(runs.task, tuple(map(math.log, runs.baseline)), tuple(map(math.log, runs.candidate)))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _log_change(before: float, after: float) -> float | None:
    """None from nothing to something, which no share can say."""
    if before == after == 0:
        return 0.0
    if before == 0:
        return None
    return math.log(after) - math.log(before) if after else -math.inf


def _natural(change: float | None, share: bool) -> float | None:
    """Back from logarithms to a share; None for what is beyond all bounds."""
    if change is None or not share:
        return change
    grown = math.expm1(change) if change < 700 else math.inf
    return grown if math.isfinite(grown) else None


def _natural_interval(interval: Interval | None, share: bool) -> Interval | None:
    if interval is None or not share:
        return interval
    low, high = _natural(interval.low, share), _natural(interval.high, share)
    return None if low is None or high is None else Interval(low, high)


def _difference(means: "Numbers") -> "Numbers":
    difference: Numbers = means[..., 1] - means[..., 0]
    return difference


def _log_ratio(means: "Numbers") -> "Numbers":
    import numpy as np  # noqa: PLC0415 - loaded by the first test that draws

    ratio: Numbers = np.log(means[..., 1]) - np.log(means[..., 0])
    return ratio
