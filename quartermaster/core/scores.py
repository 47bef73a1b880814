"""Scores that a recording carries from judges, people or checks of its own, compared between two sets.

Nobody has held those judges against people here, so their scores are shown and gate nothing. The same judge
errs alike on both sides; where somebody else judged, there is nothing to compare.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

import msgspec

from quartermaster.core.intervals import Interval, bca_bootstrap
from quartermaster.core.permutation import seed_of, sign_flip
from quartermaster.core.statistics import benjamini_hochberg, wilcoxon_pratt
from quartermaster.core.trials import Pair, Score, Trial

_FEWEST_TASKS: Final = 6
_LEVEL: Final = 0.95


class ScoreComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One score, by its name. Values are means over tasks of each task's median; `p` is two-sided, and
    `adjusted_p` after Benjamini-Hochberg over all scores. `reason` says why nothing was tested."""

    score: str
    origin: str | None
    sentence: str
    reason: str | None = None
    tasks: int = 0
    baseline: float | None = None
    candidate: float | None = None
    change: float | None = None
    interval: Interval | None = None
    lower: int = 0
    higher: int = 0
    test: str | None = None
    p: float | None = None
    adjusted_p: float | None = None


class _Medians(NamedTuple):
    task: str
    baseline: float
    candidate: float


def compare_scores(pairs: Sequence[Pair], version: int) -> tuple[ScoreComparison, ...]:
    """Every score that both arms have, by name."""
    arms = [
        [trial for pair in pairs for trial in pair.baseline],
        [trial for pair in pairs for trial in pair.candidate],
    ]
    before, after = ({name for trial in arm for name in trial.scores} for arm in arms)
    found = [_compared(name, pairs, arms, version) for name in sorted(before & after)]
    tested = [one for one in found if one.p is not None]
    adjusted = dict(
        zip((one.score for one in tested), benjamini_hochberg([one.p or 0.0 for one in tested]), strict=True)
    )
    told = (msgspec.structs.replace(one, adjusted_p=adjusted.get(one.score)) for one in found)
    return tuple(msgspec.structs.replace(one, sentence=_sentence(one)) for one in told)


def _compared(
    name: str, pairs: Sequence[Pair], arms: Sequence[Sequence[Trial]], version: int
) -> ScoreComparison:
    before, after = (sorted({one.origin for one in _scores(arm, name)}) for arm in arms)
    if before != after:
        reason = f"the baseline was judged by {', '.join(before)}, the candidate by {', '.join(after)}"
        return ScoreComparison(score=name, origin=None, sentence="", reason=reason)
    origin = ", ".join(before)
    medians = [one for pair in pairs if (one := _medians(name, pair)) is not None]
    if len(medians) < _FEWEST_TASKS:
        reason = f"{len(medians)} tasks have it in both sets, {_FEWEST_TASKS} are needed"
        return ScoreComparison(score=name, origin=origin, sentence="", reason=reason, tasks=len(medians))
    differences = [one.candidate - one.baseline for one in medians]
    seed = seed_of((one.task for one in medians), f"score:{name}", version)
    p, test = _tested(medians, differences, seed)
    bounds = bca_bootstrap([differences], lambda means: means[..., 0], (_LEVEL,), seed)
    return ScoreComparison(
        score=name,
        origin=origin,
        sentence="",
        tasks=len(medians),
        baseline=math.fsum(one.baseline for one in medians) / len(medians),
        candidate=math.fsum(one.candidate for one in medians) / len(medians),
        change=math.fsum(differences) / len(differences),
        interval=bounds[0] if bounds else None,
        lower=sum(one < 0 for one in differences),
        higher=sum(one > 0 for one in differences),
        test=test,
        p=p,
    )


def _tested(medians: Sequence[_Medians], differences: Sequence[float], seed: int) -> tuple[float, str]:
    """Whole numbers are places on a scale, and only their order is believed."""
    if all(one.baseline.is_integer() and one.candidate.is_integer() for one in medians):
        tails = wilcoxon_pratt(differences), wilcoxon_pratt([-one for one in differences])
        return min(1.0, 2 * min(tails)), "signed ranks, zeros kept"
    flipped = sign_flip(differences, seed)
    return min(1.0, 2 * min(flipped.higher, flipped.lower)), "sign flip"


def _scores(trials: Sequence[Trial], name: str) -> list[Score]:
    return [trial.scores[name] for trial in trials if name in trial.scores]


def _medians(name: str, pair: Pair) -> _Medians | None:
    before, after = ([one.value for one in _scores(arm, name)] for arm in (pair.baseline, pair.candidate))
    return _Medians(pair.task, median(before), median(after)) if before and after else None


def _sentence(found: ScoreComparison) -> str:
    by = f" (by {found.origin})" if found.origin else ""
    if found.change is None:
        return f"{found.score}{by} is not comparable: {found.reason}."
    moved = "fell" if found.change < 0 else "rose" if found.change > 0 else "did not change"
    amount = f" {abs(found.change):.2g}" if found.change else ""
    parts = [f"{found.baseline:.3g} -> {found.candidate:.3g}, {found.tasks} tasks"]
    if found.interval is not None:
        parts.append(f"95 % interval {found.interval.low:.2g} to {found.interval.high:.2g}")
    parts.append(f"lower in {found.lower}, higher in {found.higher}")
    parts.append(f"p {found.p:.2g}, {found.adjusted_p:.2g} among all scores")
    return f"{found.score}{by} {moved}{amount} ({'; '.join(parts)})."
