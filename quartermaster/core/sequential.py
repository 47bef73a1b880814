"""A test that may be looked at after every task, for watching a batch that is still running.

On a finished set it costs power against the tests for a fixed number of tasks and is not used there.
"""

import math
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
