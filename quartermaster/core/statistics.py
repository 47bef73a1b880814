"""Tests on counts and ranks, corrections for asking several questions, and rates over repeated tasks.

All tests are one-sided: their p is the chance, were nothing different, of data at least as extreme in the
named direction.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from quartermaster.core.distributions import binomial_upper_tail, normal_upper_tail

_EXACT_RANKS: Final = 50
"""Up to so many differences the signed-rank distribution is counted out, beyond it is near normal."""


def mcnemar_exact(worse: int, better: int) -> float:
    """Chance that at least `worse` of the discordant pairs fall on that side of a fair coin."""
    return binomial_upper_tail(worse, worse + better)


def mcnemar_mid_p(worse: int, better: int) -> float:
    """As the exact test, with half the weight on the table seen; it keeps its level without being timid."""
    discordant = worse + better
    if not discordant:
        return 1.0
    return _mid(binomial_upper_tail(worse, discordant), binomial_upper_tail(worse + 1, discordant))


def binomial_mid_p(count: int, other: int, share: float) -> float:
    """Conditional test of two counts: of all events, `count` fell where a `share` was expected."""
    total = count + other
    if not total:
        return 1.0
    return _mid(binomial_upper_tail(count, total, share), binomial_upper_tail(count + 1, total, share))


def fisher_exact(events: int, others: int, base_events: int, base_others: int) -> float:
    """Chance of so many `events` or more in the first row, all margins held."""
    at_least, _ = _hypergeometric_tails(events, others, base_events, base_others)
    return at_least


def fisher_mid_p(events: int, others: int, base_events: int, base_others: int) -> float:
    return _mid(*_hypergeometric_tails(events, others, base_events, base_others))


def wilcoxon_pratt(differences: Sequence[float]) -> float:
    """Signed-rank test that the differences lean above zero.

    Zeros keep their ranks and are then left out (Pratt 1959). Exact for up to 50 differences, ties
    included; normal with the correction for ties beyond.
    """
    zeros = sum(1 for difference in differences if not difference)
    if zeros == len(differences):
        return 1.0
    ranks = _doubled_ranks([abs(difference) for difference in differences])
    used = [rank for rank, difference in zip(ranks, differences, strict=True) if difference]
    above = sum(rank for rank, difference in zip(ranks, differences, strict=True) if difference > 0)
    if len(differences) <= _EXACT_RANKS:
        return _share_of_sums_from(used, above)
    return _normal_rank_tail(used, above, len(differences), zeros)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted so that the chance of any false alarm in the family stays at the level (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = reached
    return tuple(adjusted)


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted so that of all findings below a level at most that share is expected to be false."""
    adjusted = [0.0] * len(p_values)
    reached = 1.0
    ascending = sorted(range(len(p_values)), key=p_values.__getitem__)
    for place in range(len(ascending), 0, -1):
        index = ascending[place - 1]
        reached = min(reached, p_values[index] * len(p_values) / place)
        adjusted[index] = reached
    return tuple(adjusted)


def pass_hat_k(tasks: Iterable[tuple[int, int]], k: int) -> float | None:
    """Mean chance that k runs of a task all succeed, from (successes, runs); tasks with fewer than k
    runs are left out."""
    return _mean(math.comb(successes, k) / math.comb(runs, k) for successes, runs in tasks if runs >= k)


def pass_at_k(tasks: Iterable[tuple[int, int]], k: int) -> float | None:
    """Mean chance that at least one of k runs of a task succeeds."""
    return _mean(
        1 - math.comb(runs - successes, k) / math.comb(runs, k) for successes, runs in tasks if runs >= k
    )


def flake_rate(tasks: Iterable[tuple[int, int]]) -> float | None:
    """Share of the tasks run at least twice that neither always nor never succeeded."""
    return _mean(float(0 < successes < runs) for successes, runs in tasks if runs >= 2)


def theil_sen_slope(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Median of the slopes between all pairs of points; None where no two points differ in x."""
    points = list(zip(xs, ys, strict=True))
    slopes = [
        (y_after - y) / (x_after - x)
        for index, (x, y) in enumerate(points)
        for x_after, y_after in points[index + 1 :]
        if x_after != x
    ]
    return median(slopes) if slopes else None


def _mid(at_least: float, more: float) -> float:
    return 0.5 * (at_least + more)


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else None


def _hypergeometric_tails(
    events: int, others: int, base_events: int, base_others: int
) -> tuple[float, float]:
    """P(X >= events) and P(X > events), by the ratios of neighbouring tables from the likeliest one."""
    row, column = events + others, events + base_events
    rest = base_events + base_others
    lowest, highest = max(0, column - rest), min(row, column)
    mode = min(highest, max(lowest, (row + 1) * (column + 1) // (row + rest + 2)))
    weights = {mode: 1.0}
    for x in range(mode, highest):
        weights[x + 1] = weights[x] * (row - x) * (column - x) / ((x + 1) * (rest - column + x + 1))
    for x in range(mode, lowest, -1):
        weights[x - 1] = weights[x] * x * (rest - column + x) / ((row - x + 1) * (column - x + 1))
    total = math.fsum(weights.values())
    at_least = math.fsum(weight for x, weight in weights.items() if x >= events) / total
    more = math.fsum(weight for x, weight in weights.items() if x > events) / total
    return min(1.0, at_least), min(1.0, more)


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the average rank of each value, so that ties stay whole numbers."""
    ranks: dict[float, int] = {}
    before = 0
    for value, count in sorted(Counter(values).items()):
        ranks[value] = 2 * before + count + 1
        before += count
    return [ranks[value] for value in values]


def _share_of_sums_from(ranks: Sequence[int], least: int) -> float:
    """Of all ways to sign the ranks, the share whose positive ranks sum to `least` or more."""
    ways = [1] + [0] * sum(ranks)
    for rank in ranks:
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    share: float = sum(ways[least:]) / 2 ** len(ranks)
    return share


def _normal_rank_tail(ranks: Sequence[int], above: int, count: int, zeros: int) -> float:
    mean = (count * (count + 1) - zeros * (zeros + 1)) / 4
    variance = (count * (count + 1) * (2 * count + 1) - zeros * (zeros + 1) * (2 * zeros + 1)) / 24
    variance -= sum(ties**3 - ties for ties in Counter(ranks).values()) / 48
    return normal_upper_tail((above / 2 - mean) / math.sqrt(variance))
