"""Which missions several recordings tell of, and so have to be put together from all of them.

Recordings belong together where they tell of the same mission, where one holds entries that another can
place (by assignment or trace), and where one says that a mission is a part of another. They are read in
the order of their names, one after the other, as an ingest of their folder would.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from quartermaster.batch.evaluation import Evaluated, Merge, Part
from quartermaster.batch.sources import Unit


class Recorded(NamedTuple):
    """One recording in the order of all, and what it says that others may speak of."""

    unit: Unit
    member: str | None
    digest: str
    missions: tuple[str, ...]
    homeless: tuple[tuple[int, ...], ...]
    links: Mapping[int, str]
    absorbed: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return name_of(self.unit, self.member)


def recorded(unit: Unit, evaluated: Evaluated) -> Recorded:
    ties = evaluated.ties
    missions = tuple(one.mission_id for one in evaluated.missions)
    return Recorded(
        unit, evaluated.member, evaluated.digest, missions, ties.homeless, ties.links, ties.absorbed
    )


def name_of(unit: Unit, member: str | None) -> str:
    """How the tables call a recording; that of an archive by its place inside."""
    return unit.name if member is None else f"{unit.name}!{member}"


class _Groups:
    """Names that belong together."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (above := self._above.get(name, name)) != name:
            self._above[name] = self._above.get(above, above)
            name = above
        return name

    def join(self, one: str, other: str) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._above[second] = first


def merges(recordings: Sequence[Recorded]) -> list[Merge]:
    """The work that is left: missions by the recordings that they have in common, in order of these."""
    groups = _Groups()
    known: dict[int, str] = {}
    for one in recordings:
        for absorbed, into in one.absorbed:
            groups.join(absorbed, into)
        for link, mission in one.links.items():
            known.setdefault(link, mission)
    tellers: dict[str, set[int]] = {}
    for place, one in enumerate(recordings):
        placed = (_placed(links, known) for links in one.homeless)
        spoken = (name for pair in one.absorbed for name in pair)
        for name in {*one.missions, *spoken, *(name for name in placed if name is not None)}:
            tellers.setdefault(groups.root(name), set()).add(place)
    members: dict[str, set[str]] = {}
    for one in recordings:
        for name in {*one.missions, *(into for _, into in one.absorbed)}:
            members.setdefault(groups.root(name), set()).add(name)
    together: dict[tuple[int, ...], set[str]] = {}
    for root, places in tellers.items():
        if len(places) > 1:
            together.setdefault(tuple(sorted(places)), set()).update(members.get(root, ()))
    return [
        _merge([recordings[place] for place in places], names) for places, names in sorted(together.items())
    ]


def _placed(links: Iterable[int], known: Mapping[int, str]) -> str | None:
    return next((known[link] for link in links if link in known), None)


def _merge(recordings: Sequence[Recorded], missions: Iterable[str]) -> Merge:
    names = tuple(sorted(missions))
    key = sha256()
    for text in (*(one.digest for one in recordings), "", *names):
        key.update(text.encode() + b"\0")
    parts = tuple(Part(one.unit, one.member, one.digest) for one in recordings)
    return Merge(key.hexdigest(), names, parts)
