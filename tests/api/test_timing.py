"""An id of another workspace takes as long as one that does not exist.

The long run of 1,000 pairs: python tests/api/test_timing.py 1000
"""

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from api_world import FOREIGN_MISSION, OWNER, World

ALPHA = 0.001
"""Chance with which equal times are called different; the order of each pair is drawn."""


def foreign_was_slower(pairs: int, seed: int) -> int:
    """In how many of so many pairs the foreign id took longer than the unknown one."""
    order = random.Random(seed)
    slower = 0
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        with world.client(OWNER) as client:

            def seconds(mission_id: str) -> float:
                began = time.perf_counter()
                assert client.get(f"/api/v1/missions/{mission_id}").status_code == 404
                return time.perf_counter() - began

            for _ in range(20):
                seconds(FOREIGN_MISSION)
            for _ in range(pairs):
                if order.random() < 0.5:
                    foreign, unknown = seconds(FOREIGN_MISSION), seconds("f-9")
                else:
                    unknown, foreign = seconds("f-9"), seconds(FOREIGN_MISSION)
                slower += foreign > unknown
        world.database.close()
    return slower


def is_noise(slower: int, pairs: int) -> bool:
    """Whether a fair coin could have said so (two-sided sign test)."""
    from scipy.stats import binomtest

    return bool(binomtest(slower, pairs).pvalue >= ALPHA)


def test_a_foreign_id_is_not_the_slower_one_nearly_always_or_nearly_never() -> None:
    pairs = 60
    assert 6 <= foreign_was_slower(pairs, seed=1) <= 54  # a fair coin misses this once in 10^10 times


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    found = foreign_was_slower(count, seed=1)
    print(f"the foreign id was slower in {found} of {count} pairs; noise: {is_noise(found, count)}")
    sys.exit(0 if is_noise(found, count) else 1)
