"""Processor time and memory of alignments: `python tests/benchmarks/alignment.py [STEPS]`.

Four cases of two missions with that many steps each (100,000 unless told otherwise), every one in a process
of its own; then one of 5,000 steps with everything that a diff shows.
"""

import random
import resource
import subprocess
import sys
import time

from quartermaster.core.alignment import align, align_keys, similarity
from quartermaster.core.transcript import Event, EventKind

STEPS = 100_000
SMALL = "5,000 steps in words"


def similar(chance: random.Random, steps: int) -> tuple[list[int], list[int]]:
    """One step in twenty is another one, missing or new, of 40 keys."""
    before = chance.choices(range(40), k=steps)
    after: list[int] = []
    for key in before:
        fate = chance.random()
        if fate > 0.03:
            after.append(key)
        if fate > 0.98 or fate < 0.015:
            after.append(chance.randrange(40))
    return before, after


def loops(chance: random.Random, steps: int) -> tuple[list[int], list[int]]:
    """One loop of two steps against one of three, with a step in between now and then."""
    sides = []
    for period in (2, 3):
        keys: list[int] = []
        while len(keys) < steps:
            keys += [*range(period)] * chance.randrange(3, 40) + [10 + chance.randrange(30)]
        sides.append(keys[:steps])
    return sides[0], sides[1]


def unlike(keys: int, chance: random.Random, steps: int) -> tuple[list[int], list[int]]:
    """Nothing in common but the alphabet."""
    return chance.choices(range(keys), k=steps), chance.choices(range(keys), k=steps)


CASES = {
    "similar, 40 keys": similar,
    "random, 40 keys": lambda chance, steps: unlike(40, chance, steps),
    "loop against loop": loops,
    "random, 20,000 keys": lambda chance, steps: unlike(20_000, chance, steps),
}


def events(keys: list[int]) -> list[Event]:
    """A model call and a tool call in turn."""
    return [
        Event(
            position=position,
            entry_id=f"j_{position:016x}",
            instant=position * 10**9,
            kind=EventKind.TOOL_CALL if position % 2 else EventKind.MODEL_CALL,
            name=f"tool-{key % 8}" if position % 2 else "model",
            entry_type="exec.command" if position % 2 else "llm.call",
            arguments={"path": f"file-{key}.py", "line": key % 5},
            succeeded=key % 11 != 0,
        )
        for position, key in enumerate(keys)
    ]


def measure(case: str, steps: int) -> None:
    """One case in this process: seconds and the memory it added, in MB."""
    chance = random.Random(4)
    align_keys([1, 2, 3], [1, 4, 3])
    similarity([1], [2])
    if case == SMALL:
        before, after = (events(side) for side in similar(chance, 5_000))
        align(before[:9], after[:8])
        began, held = time.process_time(), _peak()
        align(before, after)
    else:
        keys = CASES[case](chance, steps)
        began, held = time.process_time(), _peak()
        align_keys(*keys)
        similarity(*keys)
    print(f"{case:24}  {time.process_time() - began:7.3f} s  {_peak() - held:6.0f} MB", flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Every case in turn."""
    if len(sys.argv) == 3:
        measure(sys.argv[1], int(sys.argv[2]))
        return
    steps = sys.argv[1] if len(sys.argv) > 1 else str(STEPS)
    for case in [*CASES, SMALL]:
        subprocess.run([sys.executable, __file__, case, steps], check=True)


if __name__ == "__main__":
    main()
