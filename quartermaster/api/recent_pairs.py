"""Pairs that were aligned a moment ago: whoever scrolls through a difference asks for it window by window."""

from collections import OrderedDict
from threading import Lock
from typing import Final

from quartermaster.core.difference import Compared
from quartermaster.store.missions import Mission

_MOST_STEPS: Final = 40_000
"""Of all pairs that are kept together; about a kibibyte a step."""

_Key = tuple[tuple[int, int, int, int], ...]


class RecentPairs:
    """The last pairs by the state that their missions were in. May be used by several threads."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[_Key, Compared] = OrderedDict()
        self._lock = Lock()

    def find(self, baseline: Mission, candidate: Mission) -> Compared | None:
        """The pair, unless one of its missions has changed since."""
        key = _key(baseline, candidate)
        with self._lock:
            found = self._pairs.get(key)
            if found is not None:
                self._pairs.move_to_end(key)
            return found

    def keep(self, baseline: Mission, candidate: Mission, pair: Compared) -> None:
        """Keep it for the next window; the oldest ones make room. What is too long alone is never kept."""
        if pair.steps > _MOST_STEPS:
            return
        with self._lock:
            self._pairs[_key(baseline, candidate)] = pair
            while sum(one.steps for one in self._pairs.values()) > _MOST_STEPS:
                self._pairs.popitem(last=False)


def _key(*both: Mission) -> _Key:
    return tuple((one.key, one.revision, one.entries, one.changed_at) for one in both)
