"""Two missions of 100,000 steps each, laid side by side: seconds of one processor, and memory."""

import time
from collections.abc import Iterator
from random import Random
from typing import Final

from quartermaster.core.alignment import align_keys, similarity
from quartermaster.selftest.figures import Bar, Figure
from quartermaster.selftest.work import Extent, Sources, Work, peak_megabytes

PART: Final = "alignment"
STEPS: Final = 100_000
CASES: Final = ("nearly alike", "unlike, 40 kinds of steps", "loop against loop", "unlike, 20,000 kinds")

_Keys = tuple[list[int], list[int]]


def figures(work: Work, extent: Extent, sources: Sources) -> Iterator[Figure]:
    measured = work.spread(measure, [(case, STEPS, extent.seed) for case in CASES])
    for case, (seconds, megabytes) in zip(CASES, measured, strict=True):
        what = f"{STEPS:,} steps against {STEPS:,}, {case}"
        yield Figure(part=PART, what=what, value=seconds, unit="seconds", bar=Bar(most=15.0))
        yield Figure(part=PART, what=what, value=megabytes, unit="megabytes", bar=Bar(most=200.0))


def measure(case: str, steps: int, seed: int) -> tuple[float, float]:
    """Seconds and the memory that was added, in a process that did nothing before."""
    before, after = keys_of(case, steps, seed)
    align_keys([1, 2, 3], [1, 4, 3])
    similarity([1], [2])
    held, began = peak_megabytes(), time.process_time()
    align_keys(before, after)
    similarity(before, after)
    return time.process_time() - began, peak_megabytes() - held


def keys_of(case: str, steps: int, seed: int) -> _Keys:
    random = Random(seed)  # noqa: S311 - a simulation
    if case == CASES[0]:
        return _nearly_alike(random, steps)
    if case == CASES[2]:
        return _looping(random, steps, 2), _looping(random, steps, 3)
    kinds = range(40 if case == CASES[1] else 20_000)
    return random.choices(kinds, k=steps), random.choices(kinds, k=steps)


def _nearly_alike(random: Random, steps: int) -> _Keys:
    """One step in twenty is another one, missing or new."""
    before = random.choices(range(40), k=steps)
    after: list[int] = []
    for key in before:
        fate = random.random()
        if fate > 0.03:
            after.append(key)
        if fate > 0.98 or fate < 0.015:
            after.append(random.randrange(40))
    return before, after


def _looping(random: Random, steps: int, period: int) -> list[int]:
    """Rounds of the same steps, with another step in between now and then."""
    keys: list[int] = []
    while len(keys) < steps:
        keys += [*range(period)] * random.randrange(3, 40) + [10 + random.randrange(30)]
    return keys[:steps]
