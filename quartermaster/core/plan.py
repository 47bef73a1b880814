"""What a comparison can see before it is run: the smallest visible change, and the runs a change needs.

`w` is the mean variance between runs of the same task: of 0/1 outcomes, or of the logarithm of steps and
cost. Effects of logarithmic metrics are given as log(1 + share).
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from quartermaster.core.distributions import normal_quantile
from quartermaster.core.intervals import variance

W_WITHOUT_HISTORY: Final = 0.15
"""The variance of success to plan with before a project has repeated runs of its own."""
POWER: Final = 0.80
ALPHA: Final = 0.05

_TASKS: Final = (10, 20, 50, 100, 200)
_TRIALS: Final = (1, 3, 5)
_EFFECTS: Final = {
    "mission_success": (0.05, 0.10, 0.20),
    "work_steps": (0.20,),
    "total_cost_usd": (0.15,),
}


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest drop that a suite of this size sees with 80 % power, at a one-sided 5 %."""

    tasks: int
    trials: int
    smallest: float


def resolution(w: float, tasks: int, trials: float) -> float:
    """The smallest effect seen with 80 % power: about 2.486 times the standard error of the difference."""
    return _reach() * math.sqrt(2 * w / (tasks * trials))


def relative_resolution(w: float, tasks: int, trials: float) -> float:
    """For a logarithmic metric: the smallest rise as a share of the baseline."""
    return math.expm1(resolution(w, tasks, trials))


def trials_for(effect: float, w: float) -> int:
    """Paired runs per arm, tasks times trials, that show an effect with 80 % power."""
    if effect <= 0:
        raise ValueError("no number of runs shows an effect of nothing")
    return max(1, math.ceil(2 * w * (_reach() / effect) ** 2))


def trials_for_rise(share: float, w: float) -> int:
    """The same for a rise of a logarithmic metric by a share of the baseline."""
    return trials_for(math.log1p(share), w)


def resolution_table(
    w: float, tasks: Sequence[int] = _TASKS, trials: Sequence[int] = _TRIALS
) -> tuple[Resolution, ...]:
    return tuple(Resolution(tasks=n, trials=k, smallest=resolution(w, n, k)) for n in tasks for k in trials)


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """Runs per arm that show an effect with 80 % power, and how often each of the tasks must run for it."""

    metric: str
    effect: float
    runs: int
    trials: int | None


class Variance(msgspec.Struct, frozen=True, kw_only=True):
    """The variance between runs of one task; `tasks` that were run at least twice stand behind it.

    Without any, success is planned with `W_WITHOUT_HISTORY`, and of steps and cost nothing is said.
    """

    metric: str
    w: float | None
    tasks: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a suite sees and what it needs; `tasks` is the number of tasks that `Needed.trials` is for."""

    missions: int
    tasks: int | None
    variances: tuple[Variance, ...]
    resolution: dict[str, tuple[Resolution, ...]]
    needed: tuple[Needed, ...]


Tasks = Sequence[Sequence[float]]
"""The values of each task's runs by one variant."""


def plan_of(success: Tasks, steps: Tasks, cost: Tasks, *, missions: int, tasks: int | None) -> Plan:
    """The resolution and the runs that effects need, from outcomes of 0 and 1, steps and costs."""
    known = within_task_variance(success)
    variances = (
        Variance(
            metric="mission_success",
            w=W_WITHOUT_HISTORY if known is None else known,
            tasks=_repeated(success),
        ),
        Variance(metric="work_steps", w=log_variance(steps), tasks=_repeated(steps)),
        Variance(metric="total_cost_usd", w=log_variance(cost), tasks=_repeated(cost)),
    )
    return Plan(
        missions=missions,
        tasks=tasks,
        variances=variances,
        resolution={one.metric: _table(one) for one in variances if one.w is not None},
        needed=tuple(
            needed
            for one in variances
            if one.w is not None
            for effect in _EFFECTS[one.metric]
            for needed in [_needed(one.metric, one.w, effect, tasks)]
        ),
    )


def _repeated(tasks: Tasks) -> int:
    return sum(len(values) >= 2 for values in tasks)


def _table(variance: Variance) -> tuple[Resolution, ...]:
    assert variance.w is not None
    visible = resolution if variance.metric == "mission_success" else relative_resolution
    return tuple(
        Resolution(tasks=n, trials=k, smallest=visible(variance.w, n, k)) for n in _TASKS for k in _TRIALS
    )


def _needed(metric: str, w: float, effect: float, tasks: int | None) -> Needed:
    runs = (trials_for if metric == "mission_success" else trials_for_rise)(effect, w)
    return Needed(metric=metric, effect=effect, runs=runs, trials=-(-runs // tasks) if tasks else None)


def within_task_variance(tasks: Sequence[Sequence[float]]) -> float | None:
    """The mean, weighted by what each task can say, of the variances inside tasks run at least twice.

    None where no task was run twice.
    """
    repeated = [values for values in tasks if len(values) >= 2]
    degrees = sum(len(values) - 1 for values in repeated)
    if not degrees:
        return None
    return math.fsum(variance(values) * (len(values) - 1) for values in repeated) / degrees


def log_variance(tasks: Sequence[Sequence[float]]) -> float | None:
    """The variance inside tasks of a metric's logarithm; values of zero and below are left out."""
    return within_task_variance([[math.log(value) for value in values if value > 0] for values in tasks])


def _reach() -> float:
    return normal_quantile(1 - ALPHA) + normal_quantile(POWER)
