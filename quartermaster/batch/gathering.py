"""Entries of recordings joined into missions in memory, by the rules by which the journal keeps them.

The order in which recordings are added counts as it does for an ingest: the first telling of an entry
stays unless its format revises, and the last one that tells a fact of a mission is believed.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from quartermaster.core.journal import JournalEntry
from quartermaster.core.trajectory import key_of
from quartermaster.store.absorption import absorbed_mission
from quartermaster.store.journal import Decoded, EntryKey, entry_id_of, revision_key
from quartermaster.store.missions import Outcome, created_facts, strongest_outcome, told_outcome

_OWN_PREFIX: Final = "eval."
_OF_TRACES: Final = "otel_"


class Added(msgspec.Struct, kw_only=True):
    """What became of entries."""

    accepted: int = 0
    duplicate: int = 0
    conflicting: int = 0


class Gathered:
    """One mission as far as it was told. Instants are nanoseconds since 1970."""

    def __init__(self, mission_id: str | None, format_name: str | None) -> None:
        self.mission_id = mission_id
        self.format = format_name
        self.facts: dict[str, Any] = {}
        self._entries: dict[EntryKey, Decoded] = {}
        self._outcomes: dict[str, tuple[int, Outcome]] = {}
        self._first: int | None = None
        self._last: int | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def outcome(self) -> Outcome | None:
        """The strongest word on how it ended."""
        told = (one for _, one in self._outcomes.values())
        return strongest_outcome(one for one in told if one.outcome is not None or one.reward is not None)

    @property
    def span(self) -> tuple[int | None, int | None]:
        """When it began and ended; None where the recording has an order and no clock."""
        return (None, None) if self.facts.get("ordinal") else (self._first, self._last)

    def in_order(self) -> list[Decoded]:
        """Its entries as a replay walks them."""
        return sorted(self._entries.values(), key=lambda one: (one.entry.instant, entry_id_of(one.key)))

    def put(self, one: Decoded) -> None:
        self._entries[one.key] = one
        if not one.entry.entry_type.startswith(_OWN_PREFIX):
            self._reach(one.entry.instant, one.entry.instant)

    def take(self, key: EntryKey) -> Decoded | None:
        return self._entries.pop(key, None)

    def learn(self, one: Decoded) -> None:
        """What an entry tells of the mission as a whole."""
        if one.entry.entry_type == "mission.created":
            self.facts |= created_facts(one.raw)
        elif one.entry.entry_type == "mission.outcome":
            told = told_outcome(one.raw)
            known = self._outcomes.get(told.origin)
            if known is None or one.entry.instant >= known[0]:
                self._outcomes[told.origin] = (one.entry.instant, told)

    def absorb(self, other: "Gathered") -> list[Decoded]:
        """Takes in the entries of traces of another mission; what was told of it as a whole ends with it."""
        moved = [one for one in other._entries.values() if one.entry.trace_id is not None]
        for one in moved:
            self._entries[one.key] = one
        if other._first is not None and other._last is not None:
            self._reach(other._first, other._last)
        other._entries.clear()
        return moved

    def _reach(self, first: int, last: int) -> None:
        self._first = first if self._first is None else min(self._first, first)
        self._last = last if self._last is None else max(self._last, last)


class Gathering:
    """Missions of a few recordings. `absorbed` tells which mission went into which."""

    def __init__(self) -> None:
        self._missions: dict[str | None, Gathered] = {}
        self._told: dict[EntryKey, Decoded] = {}
        self._current: dict[EntryKey, EntryKey] = {}
        self._places: dict[EntryKey, Gathered] = {}
        self._links: dict[int, Gathered] = {}
        self._waiting: dict[int, list[EntryKey]] = {}
        self.absorbed: list[tuple[str, str]] = []

    def missions(self) -> dict[str, Gathered]:
        """By id; entries that belong to no mission are in none."""
        return {name: one for name, one in self._missions.items() if name is not None}

    def homeless(self) -> list[tuple[int, ...]]:
        """Of each entry whose mission nobody has told, the assignments and traces that would tell it."""
        room = self._missions.get(None)
        return [] if room is None else [tuple(_links_of(one.entry)) for one in room.in_order()]

    def links(self) -> dict[int, str]:
        """Which mission an assignment or a trace belongs to."""
        return {link: one.mission_id for link, one in self._links.items() if one.mission_id is not None}

    def add(self, decoded: Sequence[Decoded], *, revisable: bool, format_name: str | None) -> Added:
        """Adds entries that were read together; each is kept once."""
        added = Added()
        fresh = [one for one in decoded for one in self._sorted_out(one, added, revisable=revisable)]
        homes = self._find_homes(fresh)
        for one, home in zip(fresh, homes, strict=True):
            self._keep(one, self._opened(home, format_name))
        for one, home in zip(fresh, homes, strict=True):
            if home is not None:
                self._missions[home].learn(one)
        self._learn_links(fresh, homes)
        for one, home in zip(fresh, homes, strict=True):
            if one.entry.entry_type == "mission.absorbed" and home in self._missions:
                self._absorb(one, self._missions[home])
        added.accepted = len(fresh)
        return added

    def _sorted_out(self, one: Decoded, added: Added, *, revisable: bool) -> Iterable[Decoded]:
        """The entry where it is new, its revision where it says more than before, else nothing."""
        earlier = self._told.get(one.key)
        if earlier is None:
            self._told[one.key] = one
            return (one,)
        replaced = one.key in self._current
        if earlier.checksum == one.checksum or (not replaced and _says_the_same(earlier, one)):
            added.duplicate += 1
            return ()
        if not revisable:
            added.conflicting += 1
            return ()
        revision = msgspec.structs.replace(one, key=revision_key(entry_id_of(one.key), one.raw))
        if revision.key in self._told:
            added.duplicate += 1
            return ()
        self._told[revision.key] = revision
        outdated = self._current.get(one.key, one.key)
        self._current[one.key] = revision.key
        self._outdate(outdated)
        return (revision,)

    def _outdate(self, key: EntryKey) -> None:
        place = self._places.get(key)
        if place is not None:
            place.take(key)
        else:
            self._places[key] = _NOWHERE

    def _find_homes(self, fresh: Sequence[Decoded]) -> list[str | None]:
        homes = [self._current_home(one.entry.mission_id) for one in fresh]
        if None not in homes:
            return homes
        together: dict[int, str] = {}
        for one in fresh:
            if one.entry.mission_id is not None:
                for link in _links_of(one.entry):
                    together.setdefault(link, one.entry.mission_id)
        for index, home in enumerate(homes):
            if home is None:
                homes[index] = self._linked_home(fresh[index].entry, together)
        return homes

    def _current_home(self, home: str | None) -> str | None:
        if home is None or not home.startswith(_OF_TRACES):
            return home
        into = self._links.get(key_of("mission", home))
        return home if into is None else into.mission_id

    def _linked_home(self, entry: JournalEntry, together: dict[int, str]) -> str | None:
        for link in _links_of(entry):
            if link in self._links:
                return self._links[link].mission_id
            if link in together:
                return together[link]
        return None

    def _opened(self, home: str | None, format_name: str | None) -> Gathered:
        if home not in self._missions:
            self._missions[home] = Gathered(home, format_name)
        return self._missions[home]

    def _keep(self, one: Decoded, mission: Gathered) -> None:
        outdated = self._places.get(one.key) is _NOWHERE
        self._places[one.key] = mission
        mission.put(one)
        if outdated:  # told again, and better, in the same breath
            mission.take(one.key)

    def _learn_links(self, fresh: Sequence[Decoded], homes: Sequence[str | None]) -> None:
        learned: dict[int, str] = {}
        for one, home in zip(fresh, homes, strict=True):
            links = _links_of(one.entry)
            for link in links:
                if home is None:
                    self._waiting.setdefault(link, []).append(one.key)
                else:
                    learned.setdefault(link, home)
        for link, home in learned.items():
            self._links.setdefault(link, self._missions[home])
        for link, home in learned.items() if self._waiting else ():
            self._move_in(link, home)

    def _move_in(self, link: int, home: str) -> None:
        room = self._missions[None]
        waiting = [one for key in self._waiting.pop(link, ()) if (one := room.take(key)) is not None]
        for one in sorted(waiting, key=lambda one: (one.entry.instant, str(one.key))):
            del self._told[one.key], self._places[one.key]
            one.entry.mission_id = home
            self.add([one], revisable=False, format_name=None)

    def _absorb(self, one: Decoded, into: Gathered) -> None:
        name = absorbed_mission(one.raw)
        if name is None or name == into.mission_id or into.mission_id is None:
            return
        self.absorbed.append((name, into.mission_id))
        self._links[key_of("mission", name)] = into
        other = self._missions.pop(name, None)
        if other is None:
            return
        for moved in into.absorb(other):
            self._places[moved.key] = into
            for link in _links_of(moved.entry):
                self._links[link] = into


_NOWHERE: Final = Gathered(None, None)


def _says_the_same(earlier: Decoded, later: Decoded) -> bool:
    """Whether two tellings differ in their bytes only: order of keys, white space."""
    try:
        return bool(msgspec.json.decode(earlier.raw) == msgspec.json.decode(later.raw))
    except (msgspec.DecodeError, RecursionError):  # numbers beyond any type, or nested to the limit
        return False


def _links_of(entry: JournalEntry) -> list[int]:
    assignment = entry.payload.assignment_id
    links = [key_of("assignment", assignment)] if type(assignment) is str and assignment else []
    return links if entry.trace_id is None else [*links, key_of("trace", entry.trace_id)]
