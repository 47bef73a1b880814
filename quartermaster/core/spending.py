"""What the missions of a set cost, failed ones among them, for each that succeeded."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from quartermaster.core.comparison import TOLERANCE
from quartermaster.core.measures import value
from quartermaster.core.trials import Pair, Trial

_tokens: Final = value("total_tokens")
_cost: Final = value("total_cost_usd")


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """One arm's compared missions. `cost_usd` is the sum of what is known, `coverage` the share of tokens
    that it is the price of; `reason` says why `cost_per_success` is undefined or a part of the whole."""

    missions: int
    successes: int
    cost_usd: float | None
    coverage: float
    cost_per_success: float | None
    reason: str | None = None


class CostPerSuccess(msgspec.Struct, frozen=True, kw_only=True):
    baseline: Spending
    candidate: Spending


def cost_per_success(pairs: Sequence[Pair]) -> CostPerSuccess | None:
    """Of both arms; None where nothing was compared."""
    baseline = [trial for pair in pairs for trial in pair.baseline]
    candidate = [trial for pair in pairs for trial in pair.candidate]
    if not baseline or not candidate:
        return None
    return CostPerSuccess(baseline=_spending(baseline), candidate=_spending(candidate))


def priced_share(trials: Sequence[Trial]) -> float:
    """Priced tokens over all tokens; a share of missions where some mission's tokens are unknown."""
    tokens = [_tokens(trial) for trial in trials]
    known = [count for count in tokens if count is not None]
    weights = known if len(known) == len(trials) else [1.0] * len(trials)
    total = math.fsum(weights)
    if not total:
        return 1.0
    return math.fsum(weight * _priced(trial) for trial, weight in zip(trials, weights, strict=True)) / total


def _priced(trial: Trial) -> float:
    if _cost(trial) is None:
        return 0.0
    return 1.0 if trial.cost_coverage is None else trial.cost_coverage


def _spending(trials: Sequence[Trial]) -> Spending:
    costs = [cost for trial in trials if (cost := _cost(trial)) is not None]
    successes = sum(trial.succeeded for trial in trials)
    share = priced_share(trials)
    unpriced = share < 1 - TOLERANCE
    total: float | None = math.fsum(costs)
    if not costs or (unpriced and not total):  # missions that called no model cost nothing
        total = None
    reason = None
    if total is None:
        reason = "no cost is known"
    elif not successes:
        reason = "no success bought"
    elif unpriced:
        reason = f"at least: a price is known for {100 * share:.3g} % of the tokens"
    return Spending(
        missions=len(trials),
        successes=successes,
        cost_usd=total,
        coverage=share,
        cost_per_success=total / successes if total is not None and successes else None,
        reason=reason,
    )
