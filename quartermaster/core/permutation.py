"""Permutation tests inside tasks: which mission belonged to which arm is shuffled, never the task.

With one run in each arm a shuffle of the two labels is a sign flip of their difference. The statistic is
the mean over tasks of the candidate's mean minus the baseline's. The seed is made from the data's names,
so the same data always give the same p.
"""

import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
    Dealt = numpy.ndarray[Any, numpy.dtype[numpy.bool_]]

DRAWS: Final = 9_999
_LISTED: Final = 1_000
"""A task with more ways than this to deal its runs to the arms is dealt at random, not from a list."""

Arms = tuple[Sequence[float], Sequence[float]]
"""The baseline's and the candidate's values of one task, at least one each."""


class Tails(msgspec.Struct, frozen=True):
    """The chances, were the arms alike, of a difference as high and as low as the one seen."""

    higher: float
    lower: float
    exact: bool


def seed_of(tasks: Iterable[str], name: str, version: int) -> int:
    """The seed of a metric's draws: a hash of the sorted task ids, the metric and the rules' version."""
    parts = [*sorted(tasks), name, str(version)]
    digest = sha256("\0".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest()[:16], "little")


def permute(tasks: Sequence[Arms], seed: int, draws: int = DRAWS) -> Tails:
    """Tests the mean difference over tasks; exact where all arrangements are no more than the draws."""
    import numpy as np  # noqa: PLC0415 - a fifth of a second that only a comparison of sets needs

    moving = [arms for arms in tasks if len({*arms[0], *arms[1]}) > 1]
    if not moving:
        return Tails(1.0, 1.0, exact=True)
    observed = math.fsum(_mean(candidate) - _mean(baseline) for baseline, candidate in moving)
    slack = 1e-10 * math.fsum(max(map(abs, (*arms[0], *arms[1]))) for arms in moving)
    if _arrangements(moving, draws) <= draws:
        sums = _all_sums(moving)
        higher, lower = _counts(sums, observed, slack)
        return Tails(higher / len(sums), lower / len(sums), exact=True)
    higher, lower = _counts(_drawn_sums(moving, np.random.PCG64(seed), draws), observed, slack)
    return Tails((1 + higher) / (1 + draws), (1 + lower) / (1 + draws), exact=False)


def sign_flip(differences: Sequence[float], seed: int, draws: int = DRAWS) -> Tails:
    """The same for one difference per task, whose sign is as good as a coin's were the arms alike."""
    return permute([((0.0,), (difference,)) for difference in differences], seed, draws)


def two_samples(baseline: Sequence[float], candidate: Sequence[float], seed: int) -> Tails:
    """The same without tasks: the labels are shuffled over all missions."""
    return permute([(baseline, candidate)], seed)


def deal_missions(sizes: Sequence[tuple[int, int]], seed: int, draws: int) -> "Dealt":
    """Who is a candidate in each draw: a row a draw, a column a mission.

    For what is not a mean over tasks, such as the distance between two profiles of behaviour. `sizes` are
    each task's missions of the baseline and of the candidate; columns come task by task, the baseline's
    first. The first row is the truth, in all others the arms are shuffled inside each task.
    """
    import numpy as np  # noqa: PLC0415 - see permute

    bits = np.random.PCG64(seed)
    columns = []
    for baseline, candidate in sizes:
        missions = baseline + candidate
        keys = bits.random_raw(draws * missions).reshape(draws, missions)
        truth = np.arange(missions) >= baseline
        columns.append(np.vstack([truth, keys.argsort(axis=1, kind="stable") >= baseline]))
    return np.hstack(columns)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _counts(sums: "Numbers", observed: float, slack: float) -> tuple[int, int]:
    return int((sums >= observed - slack).sum()), int((sums <= observed + slack).sum())


def _arrangements(tasks: Sequence[Arms], enough: int) -> int:
    total = 1
    for baseline, candidate in tasks:
        total *= math.comb(len(baseline) + len(candidate), len(candidate))
        if total > enough:
            break
    return total


def _all_sums(tasks: Sequence[Arms]) -> "Numbers":
    import numpy as np  # noqa: PLC0415 - see permute

    sums = np.zeros(1)
    for arms in tasks:
        sums = (sums[:, None] + _differences(arms)[None, :]).ravel()
    return sums


def _drawn_sums(tasks: Sequence[Arms], bits: "numpy.random.PCG64", draws: int) -> "Numbers":
    import numpy as np  # noqa: PLC0415 - see permute

    sums = np.zeros(draws)
    for arms in tasks:
        baseline, candidate = arms
        ways = math.comb(len(baseline) + len(candidate), len(candidate))
        if ways > _LISTED:
            sums += _dealt_differences(arms, bits, draws)
            continue
        raw = bits.random_raw((draws + 1) // 2).view(np.uint32)[:draws]
        sums += _differences(arms)[(raw.astype(np.uint64) * np.uint64(ways)) >> np.uint64(32)]
    return sums


def _differences(arms: Arms) -> "Numbers":
    """The difference of means for every choice of the candidate's runs among a task's runs."""
    import numpy as np  # noqa: PLC0415 - see permute

    baseline, candidate = arms
    values = (*baseline, *candidate)
    chosen = np.array([math.fsum(choice) for choice in combinations(values, len(candidate))])
    return _difference_of_means(chosen, arms)


def _dealt_differences(arms: Arms, bits: "numpy.random.PCG64", draws: int) -> "Numbers":
    import numpy as np  # noqa: PLC0415 - see permute

    baseline, candidate = arms
    values = np.array((*baseline, *candidate), dtype=float)
    block = max(1, 2_000_000 // len(values))
    chosen: list[Numbers] = []
    for start in range(0, draws, block):
        deals = min(block, draws - start)
        keys = bits.random_raw(deals * len(values)).reshape(deals, len(values))
        picked = np.argpartition(keys, len(candidate) - 1, axis=1)[:, : len(candidate)]
        chosen.append(values[picked].sum(axis=1))
    return _difference_of_means(np.concatenate(chosen), arms)


def _difference_of_means(chosen: "Numbers", arms: Arms) -> "Numbers":
    baseline, candidate = arms
    rest = math.fsum((*baseline, *candidate)) - chosen
    differences: Numbers = chosen / len(candidate) - rest / len(baseline)
    return differences
