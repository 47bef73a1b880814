"""A test that may be looked at after every task, for watching a batch that is still running.

On a finished set it costs power against the tests for a fixed number of tasks and is not used there.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

from quartermaster.core.distributions import log_beta, log_incomplete_beta


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running batch stands: `log_evidence` is the logarithm of the e-value, an alarm is
    due from `alarm_at`, the logarithm of 1 / alpha."""

    worse: int
    better: int
    log_evidence: float
    alarm_at: float
    state: Literal["watching", "alarm"]


def log_e_value(worse: int, better: int) -> float:
    """Logarithm of the evidence that tasks get worse more often than better.

    A uniform mixture over chances above one half; valid at every moment of stopping by Ville's
    inequality. Counts tasks whose outcome differs between the arms.
    """
    return (
        math.log(2)
        + log_beta(worse + 1, better + 1)
        + log_incomplete_beta(better + 1, worse + 1, 0.5)
        + (worse + better) * math.log(2)
    )


def watch(worse: int, better: int, alpha: float = 0.05) -> Watch:
    evidence, alarm_at = log_e_value(worse, better), -math.log(alpha)
    return Watch(
        worse=worse,
        better=better,
        log_evidence=evidence,
        alarm_at=alarm_at,
        state="alarm" if evidence >= alarm_at else "watching",
    )


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the candidate beside the run of the same task in the baseline, and where the batch stands."""

    task: str
    baseline_succeeded: bool
    candidate_succeeded: bool
    watch: Watch


class Batch:
    """A candidate that is still running, against a baseline that has ended.

    The first run of a task to arrive is held against the baseline's first run of it, and so on: what is
    paired with what must not depend on how anything ended.
    """

    def __init__(self, baseline: Iterable[tuple[str, bool]], alpha: float = 0.05) -> None:
        self._waiting: dict[str, list[bool]] = {}
        for task, succeeded in baseline:
            self._waiting.setdefault(task, []).append(succeeded)
        self._alpha = alpha
        self._counts: Counter[str] = Counter()

    def add(self, task: str, succeeded: bool) -> Paired | None:
        """One more run of the candidate; None where the baseline has no run left to hold it against."""
        waiting = self._waiting.get(task)
        if not waiting:
            return None
        before = waiting.pop(0)
        self._counts["worse"] += before and not succeeded
        self._counts["better"] += succeeded and not before
        return Paired(task=task, baseline_succeeded=before, candidate_succeeded=succeeded, watch=self.watch)

    @property
    def watch(self) -> Watch:
        return watch(self._counts["worse"], self._counts["better"], self._alpha)

    @property
    def missing(self) -> int:
        """Runs of the baseline that the candidate has yet to make."""
        return sum(map(len, self._waiting.values()))
