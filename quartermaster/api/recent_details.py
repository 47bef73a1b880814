"""What was told of long missions a moment ago: who watches one grow does not have it judged all the time."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

from quartermaster.lookout import LONG_ENTRIES
from quartermaster.store.missions import Mission

_ENTRIES_A_SECOND: Final = 1_000
_MOST_SECONDS: Final = 10.0
_MOST_BYTES: Final = 16 << 20


class RecentDetails:
    """Answers about missions of at least 2,000 entries, each of which holds for a second per thousand entries
    and for ten at most. While one is made anew, others get the one before. May be used by several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: OrderedDict[int, tuple[float, bytes]] = OrderedDict()
        self._lock = Lock()

    def find(self, mission: Mission) -> bytes | None:
        """The answer that still holds. None: the one who asks is to make it, and to `keep` it."""
        with self._lock:
            found = self._told.get(mission.key)
            if found is None:
                return None
            ends, answer = found
            if self._clock() < ends:
                return answer
            self._told[mission.key] = (self._clock() + _MOST_SECONDS, answer)
            return None

    def keep(self, mission: Mission, answer: bytes) -> None:
        """Keep an answer of a long mission; the oldest ones make room."""
        if mission.entries < LONG_ENTRIES or len(answer) > _MOST_BYTES:
            return
        ends = self._clock() + min(_MOST_SECONDS, mission.entries / _ENTRIES_A_SECOND)
        with self._lock:
            self._told.pop(mission.key, None)
            self._told[mission.key] = (ends, answer)
            while sum(len(one) for _, one in self._told.values()) > _MOST_BYTES:
                self._told.popitem(last=False)
