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
