"""Loops put into missions on purpose: which the detectors find, and what else they take for one."""

from collections.abc import Iterator
from typing import Final

from quartermaster.core.failure_modes import find_failure_modes
from quartermaster.core.injection import inject_loop, inject_progress, make_mission
from quartermaster.core.resampling import Rate
from quartermaster.selftest.figures import Bar, Figure, counted
from quartermaster.selftest.work import Extent, Sources, Work, together

PART: Final = "loops"
DETECTORS: Final = ("exact_tool_loop", "periodic_tool_loop", "error_retry_loop", "repeated_call")
PERIODS: Final = range(1, 9)
_STEPS: Final = 80


def figures(work: Work, extent: Extent, sources: Sources) -> Iterator[Figure]:
    repeats = range(3, 21) if extent.full else (3, 4, 5, 8, 12, 20)
    found = work.spread(look, [(period, count, extent.seed) for period in PERIODS for count in repeats])
    precision, recall = (together(rates) for rates in zip(*found, strict=True))
    yield counted(PART, "precision on injected loops, periods 1-8, 3-20 repeats", precision, Bar(least=0.95))
    yield counted(PART, "recall on injected loops, periods 1-8, 3-20 repeats", recall, Bar(least=0.90))


def look(period: int, repeats: int, seed: int) -> tuple[Rate, Rate]:
    """Precision and recall on three missions: a loop that succeeds, one that fails, and rounds that get on.

    A finding is right where it touches an injected call; a loop counts as found when it is called one, not
    only a repetition. Findings of the mission before anything was put into it are not counted.
    """
    mission = make_mission(_STEPS, seed * 1_000 + period * 50 + repeats)
    before = len(find_failure_modes(mission, names=DETECTORS))
    right = wrong = hits = 0
    for failing in (False, True):
        looped = inject_loop(mission, period, repeats, seed, failing=failing)
        found = find_failure_modes(looped.transcript, names=DETECTORS)
        touching = [one for one in found if set(one.steps) & set(looped.positions)]
        right += len(touching)
        wrong += max(0, len(found) - len(touching) - before)
        hits += any(one.name != "repeated_call" for one in touching)
    going_on = inject_progress(mission, period, repeats, seed)
    wrong += max(0, len(find_failure_modes(going_on.transcript, names=DETECTORS)) - before)
    return Rate(right, right + wrong), Rate(hits, 2)
